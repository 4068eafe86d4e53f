"""From a folder to a manifest: read, check, hash, group, split, and say aloud what was found."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.progress import Progress

from deploy.command import console, say
from pipeline.data.duplicates import group_near_duplicates
from pipeline.data.layouts import check_any, check_classes, read_dataset
from pipeline.data.manifest import Manifest, Skipped, hash_readable
from pipeline.data.sample import SPLITS, Sample
from pipeline.data.split import carve_validation, check_split, split_by_group


def prepare(source: Path, seed: int = 0, resplit: bool = False) -> Manifest:
    """Read a dataset into a manifest that is ready to train on.

    A split the dataset brings is kept unless `resplit`; validation groups are taken from its training part where it has none.
    Raises DatasetError for data that cannot be trained on, a split that leaks among them.
    """
    samples, name = read_samples(source)
    split = split_samples(samples, seed, resplit)
    manifest = Manifest(name, split)
    pictures, groups = manifest.pictures(), manifest.groups()
    say(
        "split by group: " + ", ".join(f"{part} {pictures[part]} pictures of {groups[part]} groups" for part in SPLITS),
    )
    return manifest


def read_samples(source: Path, both_classes: bool = True) -> tuple[tuple[Sample, ...], str]:
    """Read, check, hash and group the pictures of a dataset, without splitting them; returns them and the dataset's name."""
    dataset = read_dataset(source)
    check = check_classes if both_classes else check_any
    check(dataset.samples, source)
    with counting("reading pictures") as progress:
        samples, skipped = hash_readable(dataset.samples, progress)
    tell_skipped(skipped, len(dataset.samples))
    check(samples, source)
    groups_from: str = dataset.groups_from
    if groups_from == "nothing":
        with counting("grouping near-duplicates") as progress:
            samples = group_near_duplicates(samples, progress)
        groups_from = "near-duplicates, since none are named"
    kinds = Counter(sample.defect_type or "good" for sample in samples)
    say(
        f"{dataset.name}: {len(samples)} pictures ({', '.join(f'{count} {kind}' for kind, count in kinds.most_common())}), "
        f"{len({sample.group for sample in samples})} groups from {groups_from}",
    )
    return samples, dataset.name


def split_samples(samples: Sequence[Sample], seed: int, resplit: bool) -> tuple[Sample, ...]:
    """Keep the split the dataset brings where it can be used, or make one by group."""
    brought = {sample.split for sample in samples} - {""}
    if not brought or resplit:
        samples = split_by_group(samples, seed)
    elif not any(sample.split == "train" and sample.label == "defective" for sample in samples):
        say("the dataset's own training part has no defective pictures (as in MVTec AD): splitting afresh by group")
        samples = split_by_group(samples, seed)
    elif "validation" not in brought:
        say("the dataset brings no validation part: taking validation groups from its training part")
        samples = carve_validation(samples, seed)
    check_split(samples)
    return tuple(samples)


def tell_skipped(skipped: Sequence[Skipped], total: int) -> None:
    """List the pictures that were left out, and why."""
    if skipped:
        say(f"left out {len(skipped)} of {total} pictures that cannot be read:", style="yellow")
        for one in skipped[:20]:
            say(f"  {one.reason}")
        if len(skipped) > 20:
            say(f"  ... and {len(skipped) - 20} more")


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar for a callback of (done, total)."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

"""From a folder to a manifest: read, check, hash, group, split, and say aloud what was found."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import get_args

from rich.progress import Progress

from deploy.command import console, say
from deploy.errors import DatasetError
from pipeline.data.groups import cells_at_hand, group_by_look
from pipeline.data.layouts import Layout, check_any, check_classes, read_dataset
from pipeline.data.manifest import Manifest, check_unchanged, holds_manifest, read_manifest
from pipeline.data.sample import SPLITS, Sample
from pipeline.data.split import SPLIT_AFRESH, carve_validation, check_split, split_by_group
from pipeline.data.split.leaks import leakage_warning
from pipeline.data.split.rules import describe_rule
from pipeline.data.survey import Skipped, survey

LAYOUTS: tuple[Layout, ...] = get_args(Layout)


def prepare(
    source: Path, seed: int = 0, resplit: bool = False, allow_leakage: bool = False, layout: Layout | None = None
) -> Manifest:
    """Read a dataset, or a manifest version made by `pipeline split`, into a manifest that is ready to train on.

    A split the dataset brings is kept unless `resplit`; validation groups are taken from its training part where it has none. A
    version is taken exactly as it is. Raises DatasetError for data that cannot be trained on: a version whose pictures changed
    among them, and a split that leaks unless that is allowed; then the manifest's `leakage` says how much.
    """
    if holds_manifest(source):
        manifest = take_version(source, resplit, layout)
        advice = "make a version that does not (pipeline split DATASET --fresh), or train on it all the same with --allow-leakage"
    else:
        samples, name = read_samples(source, layout=layout)
        split, rule = split_samples(samples, seed, resplit)
        manifest, advice = Manifest(name, split, rule=rule, seed=seed), SPLIT_AFRESH
    check_split(manifest.samples, allow_leakage, advice)
    manifest = replace(manifest, leakage=manifest.leakage or leakage_warning(manifest.samples))
    pictures, groups = manifest.pictures(), manifest.groups()
    say(
        f"split {describe_rule(manifest.rule)}: "
        + ", ".join(f"{part} {pictures[part]} pictures of {groups[part]} groups" for part in SPLITS),
    )
    if manifest.leakage:
        say(manifest.leakage, style="bold red")
    return manifest


def take_version(folder: Path, resplit: bool = False, layout: Layout | None = None) -> Manifest:
    """Read a manifest version and check that its pictures are still the same; raises DatasetError when they are not."""
    if resplit:
        raise DatasetError(
            f"{folder} is a manifest version, which is there to train on exactly its split; leave --resplit out, "
            "or make a new version: pipeline split DATASET --fresh"
        )
    if layout is not None:
        raise DatasetError(f"{folder} is a manifest version, whose pictures were read when it was made; leave --layout out")
    manifest = read_manifest(folder)
    with console.status("checking that the pictures are unchanged"):
        check_unchanged(manifest.samples)
    say(f"{manifest.name} (sha256 {manifest.sha256()[:12]}): {len(manifest.samples)} pictures, unchanged")
    return manifest


def named_layout(name: str | None) -> Layout | None:
    """The layout a user asked for; raises DatasetError when there is none of that name."""
    for layout in LAYOUTS:
        if name == layout:
            return layout
    if name is not None:
        raise DatasetError(f"no layout is called {name!r}; expected one of: {', '.join(LAYOUTS)}")
    return None


def read_samples(source: Path, both_classes: bool = True, layout: Layout | None = None) -> tuple[tuple[Sample, ...], str]:
    """Read, check, hash and group the pictures of a dataset, without splitting them; returns them and the dataset's name."""
    dataset = read_dataset(source, layout)
    for note in dataset.notes:
        say(note, style="yellow")
    check = check_classes if both_classes else check_any
    check(dataset.samples, source)
    with counting("reading pictures") as progress:
        surveyed = survey(dataset.samples, progress)
    tell_skipped(surveyed.skipped, len(dataset.samples))
    if surveyed.bad_masks:
        raise DatasetError(f"{len(surveyed.bad_masks)} masks cannot be used; first: {surveyed.bad_masks[0].reason}")
    samples = surveyed.samples
    check(samples, source)
    groups_from: str = dataset.groups_from
    if groups_from == "nothing":
        with console.status("grouping look-alikes"):
            samples, _ = group_by_look(surveyed, cells_at_hand(samples))
        groups_from = "look-alikes, since none are named"
    kinds = Counter(sample.defect_type or "good" for sample in samples)
    say(
        f"{dataset.name}: {len(samples)} pictures ({', '.join(f'{count} {kind}' for kind, count in kinds.most_common())}), "
        f"{len({sample.group for sample in samples})} groups from {groups_from}",
    )
    return samples, dataset.name


def split_samples(samples: Sequence[Sample], seed: int, resplit: bool) -> tuple[tuple[Sample, ...], str]:
    """Keep the split the dataset brings where it can be used, or make one by group; returns it and its rule's name."""
    brought = {sample.split for sample in samples} - {""}
    if not brought or resplit:
        return split_by_group(samples, seed), "group"
    if not any(sample.split == "train" and sample.label == "defective" for sample in samples):
        say("the dataset's own training part has no defective pictures (as in MVTec AD): splitting afresh by group")
        return split_by_group(samples, seed), "group"
    if "validation" not in brought:
        say("the dataset brings no validation part: taking validation groups from its training part")
        return carve_validation(samples, seed), "brought"
    return tuple(samples), "brought"


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

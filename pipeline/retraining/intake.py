"""Takes newly collected pictures into a new version of the manifest, without touching what the old one is tested on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from deploy.errors import DatasetError
from pipeline.data.groups import is_guessed, met_before
from pipeline.data.leaks import leakage_warning
from pipeline.data.manifest import Manifest
from pipeline.data.sample import SPLITS, Sample, Split
from pipeline.data.split import group_units, split_by_group


@dataclass(frozen=True)
class Intake:
    """The new manifest, which of its test pictures are new, and what was refused."""

    manifest: Manifest
    held_out: tuple[Sample, ...]
    duplicates: tuple[Sample, ...]
    """New pictures that show the very same as an old one; of a test picture among them nothing may be learned."""
    tested: tuple[Sample, ...]
    """New pictures of groups the old run is tested on."""


def take_in(old: Manifest, new: Sequence[Sample], seed: int = 0) -> Intake:
    """Join old and new samples: known groups stay where they are, new groups are split; the old test part is left as it is.

    Raises DatasetError when nothing new remains.
    """
    duplicates, fresh = [], []
    tests = {sample.group for sample in old.samples if sample.split == "test"}
    for sample, met in zip(new, met_before(new, old.samples), strict=True):
        if met.repeats:
            duplicates.append(sample)
        elif is_guessed(sample) and met.groups:  # looks like an old picture, so it is of that one's group; a tested one first
            fresh.append(replace(sample, group=min(met.groups, key=lambda group: group not in tests)))
        else:
            fresh.append(sample)
    home = _homes(old.samples, fresh)
    tested = [sample for sample in fresh if home.get(sample.group) == "test"]
    known = [replace(sample, split=home[sample.group]) for sample in fresh if home.get(sample.group) in ("train", "validation")]
    unknown = split_by_group([sample for sample in fresh if sample.group not in home], seed)
    if not known and not any(sample.split == "train" for sample in unknown):
        raise DatasetError(
            f"of {len(new)} new pictures, {len(duplicates)} repeat old ones and {len(tested)} are of groups the run is tested "
            "on: nothing is left to learn from; collect pictures of other parts"
        )
    samples = (*old.samples, *known, *unknown)
    manifest = replace(
        old,
        samples=samples,
        version=old.version + 1,
        parent=old.sha256(),
        seed=seed,
        leakage=leakage_warning(samples) if old.leakage else "",
    )
    held_out = tuple(sample for sample in unknown if sample.split == "test")
    return Intake(manifest, held_out, tuple(duplicates), tuple(tested))


def _homes(old: Sequence[Sample], new: Sequence[Sample]) -> dict[str, Split]:
    """Group -> the part it belongs to; a new group that shares a file with a known one belongs where that is."""
    home = {sample.group: sample.split for sample in old if sample.split}
    unit = group_units([*old, *new])
    of_unit: dict[str, Split] = {}
    for part in SPLITS:  # test comes last: what is tested on in any of its groups is not learned from
        of_unit |= {unit[group]: part for group, split in home.items() if split == part}
    return {group: home.get(group) or of_unit[unit[group]] for group in unit if unit[group] in of_unit}

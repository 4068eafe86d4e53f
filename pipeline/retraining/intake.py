"""Takes newly collected pictures into a new version of the manifest, without touching what the old one is tested on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from deploy.errors import DatasetError
from pipeline.data.duplicates import NEAR, SAME, is_guessed, nearest_known
from pipeline.data.manifest import Manifest
from pipeline.data.sample import Sample
from pipeline.data.split import split_by_group


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
    for sample, (distance, twin) in zip(new, nearest_known(new, old.samples), strict=True):
        if distance <= SAME:
            duplicates.append(sample)
        elif is_guessed(sample) and distance <= NEAR:  # looks like an old picture, so it is of that one's group
            fresh.append(replace(sample, group=twin.group))
        else:
            fresh.append(sample)
    home = {sample.group: sample.split for sample in old.samples}
    tested = [sample for sample in fresh if home.get(sample.group) == "test"]
    known = [replace(sample, split=home[sample.group]) for sample in fresh if home.get(sample.group) in ("train", "validation")]
    unknown = split_by_group([sample for sample in fresh if sample.group not in home], seed)
    if not known and not any(sample.split == "train" for sample in unknown):
        raise DatasetError(
            f"of {len(new)} new pictures, {len(duplicates)} repeat old ones and {len(tested)} are of groups the run is tested "
            "on: nothing is left to learn from; collect pictures of other parts"
        )
    manifest = Manifest(old.dataset, (*old.samples, *known, *unknown), old.version + 1, old.sha256())
    held_out = tuple(sample for sample in unknown if sample.split == "test")
    return Intake(manifest, held_out, tuple(duplicates), tuple(tested))

"""From what is marked in a picture to its label: what all annotation layouts share."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pipeline.data.annotations.shapes import Mark
from pipeline.data.card import Card
from pipeline.data.layouts.found import SPLIT_NAMES, some
from pipeline.data.sample import Sample, Split

MaybeSplit = Split | Literal[""]


def sample_of(root: Path, picture: Path, marks: Sequence[Mark], place: str, split: MaybeSplit, card: Card) -> Sample:
    """A picture with marks is defective, of the type that covers most of it; marks with a good name are none.

    `place` tells where the marks are read from again.
    """
    areas: dict[str, float] = defaultdict(float)
    defects = [mark for mark in marks if not card.is_good(mark.name)]
    for mark in defects:
        areas[mark.name] += mark.area
    kind = max(sorted(areas), key=lambda name: areas[name]) if areas else ""
    mask = place if any(mark.shape is not None for mark in defects) else ""
    path = picture.relative_to(root).as_posix()
    return Sample(str(root.resolve()), path, "defective" if kind else "good", kind, mask=mask, split=split)


def split_of(path: Path) -> MaybeSplit:
    """The split that a relative path's first folder names, or an empty text."""
    return SPLIT_NAMES.get(path.parts[0].lower(), "") if len(path.parts) > 1 else ""


def placed_only(samples: Sequence[Sample], where: str) -> tuple[tuple[Sample, ...], tuple[str, ...]]:
    """Where some pictures have a split, leave out those that have none, and say so; `where` names what tells the split."""
    outside = [sample.path for sample in samples if not sample.split]
    if not outside or len(outside) == len(samples):
        return tuple(samples), ()
    note = some(outside, f"picture is in none of {where} and is left out", f"pictures are in none of {where} and are left out")
    return tuple(sample for sample in samples if sample.split), (note,)

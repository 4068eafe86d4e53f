"""An annotation file for each picture: beside it, or under the same name in a folder of its own."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import DatasetError
from pipeline.data.annotations.annotated import Annotated
from pipeline.data.card import Card
from pipeline.data.layouts.found import files_below, pictures_below, some
from pipeline.data.layouts.marked import MaybeSplit, sample_of
from pipeline.data.sample import Sample


@dataclass(frozen=True)
class Homes:
    """Where pictures and their annotation files lie; the same folder twice when they lie side by side."""

    pictures: Path
    annotations: Path
    suffix: str
    """Of the annotation files."""


def read_beside(
    root: Path, homes: Homes, read: Callable[[Path], Annotated], split: Callable[[Path], MaybeSplit], card: Card
) -> tuple[list[Sample], list[str]]:
    """The pictures with what their annotation files, parsed by `read`, say of them; `split` is asked about each picture.

    A picture without an annotation file counts as good, and a note tells how many do; another one tells of annotation files
    without a picture. Raises DatasetError for an annotation file that is none, or that two pictures could be meant by.
    """
    by_name: dict[Path, list[Path]] = defaultdict(list)
    for picture in pictures_below(homes.pictures):
        by_name[picture.relative_to(homes.pictures).with_suffix("")].append(picture)
    samples: list[Sample] = []
    orphans: list[str] = []
    annotated: set[Path] = set()
    for file in files_below(homes.annotations, homes.suffix):
        candidates = by_name.get(file.relative_to(homes.annotations).with_suffix(""), [])
        if not candidates:
            orphans.append(file.relative_to(root).as_posix())
            continue
        told = read(file)
        picture = _meant(file, told, candidates)
        place = file.relative_to(root).as_posix()
        samples.append(sample_of(root, picture, told.marks, place, split(picture), card))
        annotated.add(picture)
    bare = [picture for pictures in by_name.values() for picture in pictures if picture not in annotated]
    samples += [sample_of(root, picture, (), "", split(picture), card) for picture in bare]
    return sorted(samples, key=lambda sample: sample.path), _notes(root, bare, orphans)


def _meant(file: Path, told: Annotated, candidates: Sequence[Path]) -> Path:
    if len(candidates) == 1:
        return candidates[0]
    if named := [picture for picture in candidates if picture.name == told.picture]:
        return named[0]
    raise DatasetError(
        f"{file} could be of {' or '.join(picture.name for picture in candidates)}, and names {told.picture or 'neither'}; "
        "rename one of the pictures, or delete it"
    )


def _notes(root: Path, bare: Sequence[Path], orphans: Sequence[str]) -> list[str]:
    notes = []
    if bare:
        names = [picture.relative_to(root).as_posix() for picture in bare]
        without = "no annotation file and"
        notes.append(some(names, f"picture has {without} counts as good", f"pictures have {without} count as good"))
    if orphans:
        notes.append(some(orphans, "annotation file has no picture", "annotation files have no picture"))
    return notes

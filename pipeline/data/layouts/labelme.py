"""LabelMe: a JSON beside each picture, in train/val/test folders or not."""

from dataclasses import replace
from pathlib import Path

from deploy.errors import DatasetError
from pipeline.data.annotations.annotated import Annotated
from pipeline.data.annotations.fields import load_json
from pipeline.data.annotations.labelme import read_labelme
from pipeline.data.annotations.shapes import Mark
from pipeline.data.card import Card
from pipeline.data.layouts.beside import Homes, read_beside
from pipeline.data.layouts.found import files_below, pictures_below
from pipeline.data.layouts.marked import placed_only, split_of
from pipeline.data.sample import Sample

LOOKED_FOR = "X.json with `shapes` beside a picture X"
_TRIES = 20


def is_labelme(root: Path) -> bool:
    """Has one of the first pictures a LabelMe file beside it? Cameras write JSON of their own, so it is looked into."""
    pictures = {picture.with_suffix("") for picture in pictures_below(root)}
    beside = (file for file in files_below(root, ".json") if file.with_suffix("") in pictures)
    return any(_has_shapes(file) for file, _ in zip(beside, range(_TRIES), strict=False))


def read_labelme_folder(root: Path, card: Card) -> tuple[tuple[Sample, ...], tuple[str, ...]]:
    """All pictures below the root with what their LabelMe files say of them, and notes. Raises DatasetError for a broken file."""
    homes = Homes(root, root, ".json")
    samples, notes = read_beside(
        root, homes, lambda file: _read(file, card), lambda picture: split_of(picture.relative_to(root)), card
    )
    kept, left_out = placed_only(samples, "train, val and test")
    return kept, (*notes, *left_out)


def _read(file: Path, card: Card) -> Annotated:
    """With flags as marks where nothing is drawn: what is drawn tells the type. Raises DatasetError where the two disagree."""
    told = read_labelme(file)
    good = [flag for flag in told.flags if card.is_good(flag)]
    bad = [flag for flag in told.flags if not card.is_good(flag)]
    drawn = [mark.name for mark in told.marks if not card.is_good(mark.name)]
    if good and (drawn or bad):
        raise DatasetError(
            f"{file} has the flag {good[0]!r}, and {(drawn or bad)[0]!r} {'drawn' if drawn else 'as another one'}; "
            "a picture is good or defective: clear the flag that is wrong, or delete the shape"
        )
    return told if drawn else replace(told, marks=(*told.marks, *(Mark(flag, None, 0.0) for flag in bad)))


def _has_shapes(file: Path) -> bool:
    try:
        content = load_json(file)
    except DatasetError:
        return False
    return isinstance(content, dict) and "shapes" in content

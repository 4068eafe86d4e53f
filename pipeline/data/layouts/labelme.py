"""LabelMe: a JSON beside each picture, in train/val/test folders or not."""

from pathlib import Path

from deploy.errors import DatasetError
from pipeline.data.annotations.fields import load_json
from pipeline.data.annotations.labelme import read_labelme
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
    samples, notes = read_beside(root, homes, read_labelme, lambda picture: split_of(picture.relative_to(root)), card)
    kept, left_out = placed_only(samples, "train, val and test")
    return kept, (*notes, *left_out)


def _has_shapes(file: Path) -> bool:
    try:
        content = load_json(file)
    except DatasetError:
        return False
    return isinstance(content, dict) and "shapes" in content

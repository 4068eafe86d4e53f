"""COCO detection sets: annotations/*.json, pictures in folders beside it, or Roboflow's <split>/_annotations.coco.json."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from deploy.errors import DatasetError
from pipeline.data.annotations.coco import Coco, marks_of, read_coco
from pipeline.data.card import Card
from pipeline.data.layouts.found import SPLIT_NAMES, folders_of, is_file, is_text, some
from pipeline.data.layouts.marked import MaybeSplit, sample_of
from pipeline.data.sample import Sample

LOOKED_FOR = "annotations/*.json, or _annotations.coco.json in the folder or its train, valid and test folders"
_ROBOFLOW = "_annotations.coco.json"


def is_coco(root: Path) -> bool:
    """Are there files where COCO sets keep their annotations?"""
    return bool(_annotation_files(root))


def read_coco_folder(root: Path, card: Card) -> tuple[tuple[Sample, ...], tuple[str, ...]]:
    """All pictures the COCO files list, with what they say of them, and notes.

    Raises DatasetError for a broken file, a picture that is listed twice, or files of which only some name a part of the split.
    """
    files = _annotation_files(root)
    splits = {file: _split_named(root, file) for file in files}
    if any(splits.values()) and not all(splits.values()):
        unnamed = next(file for file in files if not splits[file])
        raise DatasetError(
            f"{unnamed} names neither train, val nor test, as the other annotation files do; rename it, or move it elsewhere"
        )
    samples: dict[str, Sample] = {}
    missing: list[str] = []
    strays = 0
    for file in files:
        coco = read_coco(file)
        strays += coco.strays
        for sample in _pictures(root, coco, splits[file], card, missing):
            if sample.path in samples:
                raise DatasetError(f"{file} lists {sample.path}, which is listed before; list each picture once")
            samples[sample.path] = sample
    notes = []
    if missing:
        notes.append(some(missing, "listed picture is missing", "listed pictures are missing"))
    if strays:
        verb = "annotation is of a picture" if strays == 1 else "annotations are of pictures"
        notes.append(f"{strays} {verb} that the annotation files do not list")
    return tuple(samples[path] for path in sorted(samples)), tuple(notes)


def _pictures(root: Path, coco: Coco, split: MaybeSplit, card: Card, missing: list[str]) -> Iterator[Sample]:
    folders = _picture_folders(root, coco.file)
    home = coco.file.relative_to(root).as_posix()
    for image_id, image in coco.images.items():
        marks = marks_of(coco, image_id)  # before the picture is looked for: a broken file is a broken file
        picture = next((folder / image.file_name for folder in folders if is_file(folder / image.file_name)), None)
        if picture is None:
            missing.append(image.file_name)
        else:
            yield sample_of(root, picture, marks, f"{home}#{image_id}", split, card)


def _annotation_files(root: Path) -> list[Path]:
    home = next((folder for folder in folders_of(root) if folder.name.lower() == "annotations"), None)
    files = sorted(file for file in home.glob("*.json") if is_text(file.name)) if home else []
    # Beside instances_train.json, COCO's own sets keep captions and key points of the same pictures.
    files = [file for file in files if file.name.startswith("instances")] or files
    roboflow = [folder / _ROBOFLOW for folder in (root, *folders_of(root))]
    return files or [file for file in roboflow if file.is_file()]


def _split_named(root: Path, file: Path) -> MaybeSplit:
    """The part of the split that the file's name tells (instances_train2017.json), or its folder (valid/)."""
    words = [file.parent.name] if file.name == _ROBOFLOW and file.parent != root else re.split(r"[^a-z]+", file.stem.lower())
    return next((SPLIT_NAMES[word.lower()] for word in words if word.lower() in SPLIT_NAMES), "")


def _picture_folders(root: Path, file: Path) -> Sequence[Path]:
    """Where the file names of a COCO file may start, the likeliest first."""
    if file.name == _ROBOFLOW:
        return (file.parent, file.parent / "images")
    called = file.stem.removeprefix("instances_")
    words = dict.fromkeys((called, *(word for word in re.split(r"[^a-zA-Z]+", called) if word.lower() in SPLIT_NAMES)))
    own = [folder / word for word in words for folder in (root, root / "images")]
    return (*own, root, root / "images", root / "JPEGImages")

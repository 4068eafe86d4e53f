"""What every layout gives: samples, and what the user should hear of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deploy.preprocess import PICTURE_SUFFIXES
from pipeline.data.sample import Sample, Split

Layout = Literal["folders", "csv", "coco", "voc", "labelme"]

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
NOT_CLASSES = frozenset({"masks", "ground_truth"})


@dataclass(frozen=True)
class Dataset:
    """The samples of one folder, before they are hashed and split."""

    name: str
    samples: tuple[Sample, ...]
    groups_from: Literal["groups.csv", "group_regex", "csv", "nothing"]
    notes: tuple[str, ...] = ()
    """What a user should know of how it was read: pictures without annotations, annotations without pictures."""


def folders_of(folder: Path) -> list[Path]:
    """The folders directly below a folder, sorted, hidden ones left out."""
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def files_below(folder: Path, *suffixes: str) -> Iterator[Path]:
    """Files below a folder with one of these endings, in small letters, sorted; hidden and mask folders are left out."""
    for file in sorted(folder.rglob("*")):
        folders = file.relative_to(folder).parts[:-1]
        skipped = any(name.startswith(".") or name.lower() in NOT_CLASSES for name in folders)
        if file.suffix.lower() in suffixes and not skipped and not file.name.startswith(".") and file.is_file():
            yield file


def pictures_below(folder: Path) -> Iterator[Path]:
    """Picture files below a folder, sorted; hidden and mask folders are left out."""
    return files_below(folder, *PICTURE_SUFFIXES)


def is_file(file: Path) -> bool:
    """Is there such a file? A name no file can have is no error: some annotation made it up."""
    try:
        return file.is_file()
    except (OSError, ValueError):
        return False


def some(found: Sequence[object], one: str, many: str) -> str:
    """A note of how many were found, and the first of them: "3 pictures are missing (first: a.png)"."""
    return f"1 {one} ({found[0]})" if len(found) == 1 else f"{len(found)} {many} (first: {found[0]})"

"""What every layout gives: samples, and what the user should hear of them."""

import os
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
    """What a user should know of how it was read: pictures without annotations, files that were left out."""


def folders_of(folder: Path) -> list[Path]:
    """The folders directly below a folder, sorted; hidden ones and those without a name in UTF-8 left out."""
    return sorted(child for child in folder.iterdir() if _is_shown(child.name) and child.is_dir())


def files_below(folder: Path, *suffixes: str) -> Iterator[Path]:
    """Files below a folder with one of these endings, in small letters, sorted.

    What is hidden, mask folders and names that are not in UTF-8 are left out; links to folders are not followed.
    """
    try:
        children = sorted(child for child in folder.iterdir() if _is_shown(child.name))
    except PermissionError:
        return
    for child in children:
        if child.suffix.lower() in suffixes and child.is_file():
            yield child
        elif child.name.lower() not in NOT_CLASSES and child.is_dir() and not child.is_symlink():
            yield from files_below(child, *suffixes)


def pictures_below(folder: Path) -> Iterator[Path]:
    """Picture files below a folder, sorted; hidden and mask folders are left out."""
    return files_below(folder, *PICTURE_SUFFIXES)


def is_text(name: str) -> bool:
    """Is it in UTF-8, so that it can be written into a manifest or a report?"""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def misnamed_below(folder: Path) -> list[str]:
    """Pictures that are left out because their path is not in UTF-8, written so that it can be shown, sorted."""
    found = []
    for home, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name.lower() not in NOT_CLASSES]
        for name in files:
            path = os.path.relpath(os.path.join(home, name), folder)
            if not is_text(path) and not name.startswith(".") and Path(name).suffix.lower() in PICTURE_SUFFIXES:
                found.append(shown(path))
    return sorted(found)


def shown(name: str) -> str:
    """A file name with its bytes that are not UTF-8 in hexadecimal digits."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def is_file(file: Path) -> bool:
    """Is there such a file? A name no file can have is no error: some annotation made it up."""
    try:
        return file.is_file()
    except (OSError, ValueError):
        return False


def some(found: Sequence[object], one: str, many: str) -> str:
    """A note of how many were found, and the first of them: "3 pictures are missing (first: a.png)"."""
    return f"1 {one} ({found[0]})" if len(found) == 1 else f"{len(found)} {many} (first: {found[0]})"


def _is_shown(name: str) -> bool:
    return not name.startswith(".") and is_text(name)

"""Folders name the classes: our own layout, class folders, either of them inside train/val/test folders, MVTec AD."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from deploy.errors import DatasetError
from pipeline.data.card import DEFECTIVE_NAMES, Card
from pipeline.data.layouts.found import NOT_CLASSES, SPLIT_NAMES, folders_of, pictures_below
from pipeline.data.sample import Label, Sample

LOOKED_FOR = "good/ and defective/<type>/, or a folder for each class, with pictures in them"


def name_classes(root: Path, card: Card) -> bool:
    """Is there a folder called good or defective, or another of these names, with a picture in it?"""
    return any(
        (card.is_good(child.name) or child.name.lower() in DEFECTIVE_NAMES) and any(pictures_below(child))
        for folder in (root, *_split_folders(root))
        for child in folders_of(folder)
    )


def read_folders(root: Path, card: Card) -> tuple[Sample, ...]:
    """The pictures of all class folders. Raises DatasetError when several would share one mask, or lie outside of the split."""
    samples: list[Sample] = []
    splits = _split_folders(root)
    if splits:
        _check_beside(root, splits)
    for folder in splits:
        split = SPLIT_NAMES[folder.name.lower()]
        samples += [replace(sample, split=split) for sample in _from_classes(root, folder, card)]
    if not splits:
        samples += _from_classes(root, root, card)
    _check_masks(samples)
    return tuple(sorted(samples, key=lambda sample: sample.path))


def _split_folders(root: Path) -> list[Path]:
    """Train, validation and test folders that hold pictures."""
    return [child for child in folders_of(root) if child.name.lower() in SPLIT_NAMES and any(pictures_below(child))]


def _check_beside(root: Path, splits: list[Path]) -> None:
    """Raise DatasetError for class folders beside train, val and test, which would be passed over."""
    for child in folders_of(root):
        name = child.name.lower()
        if name not in NOT_CLASSES and name not in SPLIT_NAMES and any(pictures_below(child)):
            raise DatasetError(
                f"{root} holds pictures both in {splits[0].name}/ and in {child.name}/ beside it; put all of them into "
                "train, val and test folders, or none, or move what is no part of the dataset elsewhere"
            )


def _from_classes(root: Path, folder: Path, card: Card) -> Iterator[Sample]:
    for child in folders_of(folder):
        name = child.name.lower()
        if name in NOT_CLASSES:
            continue
        if card.is_good(name):
            yield from _pictures(root, folder, child, "good", "")
        elif name in DEFECTIVE_NAMES:
            types = [one for one in folders_of(child) if one.name.lower() not in NOT_CLASSES]
            for one in types:
                yield from _pictures(root, folder, one, "defective", one.name)
            yield from _pictures(root, folder, child, "defective", "defective", recursive=not types)
        else:
            yield from _pictures(root, folder, child, "defective", child.name)


def _pictures(
    root: Path, classes: Path, folder: Path, label: Label, defect_type: str, recursive: bool = True
) -> Iterator[Sample]:
    """The pictures of a class folder; `classes` is the folder of all class folders: the root, or train, val or test."""
    origin = str(root.resolve())
    homes = _mask_homes(root, classes, folder, defect_type) if label == "defective" else []
    for file in pictures_below(folder):
        if recursive or file.parent == folder:
            mask = _find_mask(root, homes, file.relative_to(folder))
            yield Sample(origin, file.relative_to(root).as_posix(), label, defect_type, mask=mask)


def _mask_homes(root: Path, classes: Path, folder: Path, defect_type: str) -> list[Path]:
    """The folders that may hold masks of a class folder's pictures, the nearest first."""
    homes = [root / "masks", root / "ground_truth"]
    if classes != root:
        homes = [
            root / "masks" / classes.name,
            root / "ground_truth" / classes.name,
            classes / "masks",
            classes / "ground_truth",
            *homes,
        ]
    homes += [folder.parent / "masks", folder.parent / "ground_truth"]
    of_type = [folder / "masks", folder / "ground_truth", *(home / defect_type for home in homes)]
    return [home for home in dict.fromkeys(of_type) if home.is_dir()]


def _find_mask(root: Path, homes: list[Path], picture: Path) -> str:
    """The mask of a picture, told by its path in its class folder."""
    for home in homes:
        ending = "_mask.png" if "ground_truth" in home.relative_to(root).parts else ".png"  # MVTec AD
        for name in dict.fromkeys((picture.with_suffix("").as_posix(), picture.stem)):
            mask = home / f"{name}{ending}"
            if mask.is_file():
                return mask.relative_to(root).as_posix()
    return ""


def _check_masks(samples: list[Sample]) -> None:
    sharing: dict[str, list[str]] = defaultdict(list)
    for sample in samples:
        if sample.mask:
            sharing[sample.mask].append(sample.path)
    for mask, paths in sharing.items():
        if len(paths) > 1:
            raise DatasetError(
                f"{mask} would be the mask of {len(paths)} pictures: {', '.join(sorted(paths)[:3])}; give each a mask of its "
                "own, in masks/<split>/<type>/ when they lie in train, val and test, in masks/<type>/<folder>/ when in other "
                "folders, or under another name"
            )

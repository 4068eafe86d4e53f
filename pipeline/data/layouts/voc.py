"""Pascal VOC: Annotations/ and JPEGImages/, or an XML beside each picture; ImageSets/Main may tell the split."""

from pathlib import Path

from deploy.errors import DatasetError
from pipeline.data.annotations.voc import read_voc
from pipeline.data.card import Card
from pipeline.data.layouts.beside import Homes, read_beside
from pipeline.data.layouts.found import SPLIT_NAMES, files_below, folders_of, pictures_below, some
from pipeline.data.layouts.marked import MaybeSplit, placed_only, split_of
from pipeline.data.sample import Sample, Split

LOOKED_FOR = "Annotations/X.xml and JPEGImages/X, or X.xml beside a picture X"
_PICTURE_FOLDERS = ("jpegimages", "images")


def is_voc(root: Path) -> bool:
    """Are there XML files in Annotations/, or beside pictures?"""
    homes = _homes(root)
    if homes.annotations != root:
        return True
    pictures = {picture.with_suffix("") for picture in pictures_below(root)}
    return any(file.with_suffix("") in pictures for file in files_below(root, ".xml"))


def read_voc_folder(root: Path, card: Card) -> tuple[tuple[Sample, ...], tuple[str, ...]]:
    """All pictures with what their XML files say of them, and notes. Raises DatasetError for a broken file or list."""
    homes = _homes(root)
    listed = _listed(root)

    def name_of(picture: Path) -> str:
        return picture.relative_to(homes.pictures).with_suffix("").as_posix()

    def split(picture: Path) -> MaybeSplit:
        return listed.get(name_of(picture), "") if listed else split_of(picture.relative_to(homes.pictures))

    samples, notes = read_beside(root, homes, read_voc, split, card)
    if listed:
        names = {name_of(picture) for picture in pictures_below(homes.pictures)}
        if missing := [name for name in listed if name not in names]:
            listing = "listed in ImageSets/Main"
            notes.append(some(missing, f"picture {listing} is missing", f"pictures {listing} are missing"))
    kept, left_out = placed_only(samples, "the lists in ImageSets/Main" if listed else "train, val and test")
    return kept, (*notes, *left_out)


def _homes(root: Path) -> Homes:
    folders = {folder.name.lower(): folder for folder in folders_of(root)}
    annotations = folders.get("annotations")
    if annotations is None or not any(files_below(annotations, ".xml")):
        return Homes(root, root, ".xml")
    pictures = next((folders[name] for name in _PICTURE_FOLDERS if name in folders), root)
    return Homes(pictures, annotations, ".xml")


def _listed(root: Path) -> dict[str, Split]:
    """Picture without its ending -> its split, as ImageSets/Main/train.txt, val.txt and test.txt tell."""
    listed: dict[str, Split] = {}
    for file in sorted((root / "ImageSets" / "Main").glob("*.txt")):
        split = SPLIT_NAMES.get(file.stem.lower())
        if split is None:  # trainval, or a class of its own
            continue
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f"{file} is no list of picture names in UTF-8 ({error}); write one name a line") from error
        for line in lines:
            name = line.split()[0] if line.split() else ""
            if name and listed.setdefault(name, split) != split:
                raise DatasetError(f"{file}: {name} is in the list of another part, too; delete it from one of them")
    return listed

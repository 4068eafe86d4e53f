"""Where the defect is: `Sample.mask` names a mask picture, a LabelMe or VOC file, or `annotations/instances.json#17` of COCO.

Annotation tools tell places in pixels of the picture as they showed it. Here that is the picture as `read_picture` gives it,
rotated as its EXIF says: so does LabelMe; tools that ignore EXIF tell places on the picture as it lies in the file. Where the
annotation states the picture's size, the two cannot be confused unless the picture is square or stands on its head: a size that
is not the decoded picture's is refused.
"""

import hashlib
from pathlib import Path

import numpy as np

from deploy.bundle import sha256_of
from deploy.errors import DatasetError
from deploy.preprocess import Picture, read_picture
from pipeline.data.annotations.annotated import Annotated
from pipeline.data.annotations.coco import Coco, canonical, marks_of, read_coco
from pipeline.data.annotations.labelme import read_labelme
from pipeline.data.annotations.shapes import Box, draw
from pipeline.data.annotations.voc import read_voc
from pipeline.data.card import read_card
from pipeline.data.sample import Sample

INSIDE = 96
"""Values of a mask picture above this one are the defect."""


def read_place(sample: Sample, size: tuple[int, int]) -> Picture:
    """Where the sample's defect is in its picture of `size` (height, width): H x W, 1 inside, all 0 when nothing tells.

    Raises DatasetError for what cannot be read, or is of another size.
    """
    return np.asarray(np.maximum(*read_shades(sample, size))[..., 0] > INSIDE, np.uint8)


def read_shades(sample: Sample, size: tuple[int, int]) -> tuple[Picture, Picture]:
    """What tells the place exactly, with the shades of its edges, and the boxes it is somewhere in: each H x W x 3, 0..255.

    Raises DatasetError as `read_place` does.
    """
    exact, boxed = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    file = sample.mask_file
    if file is not None and file.suffix.lower() not in (".json", ".xml"):
        mask = read_picture(file)
        _check_size(file, mask.shape[:2], sample, size, "a mask must have its picture's size")
        return mask * 255 if mask.max() == 1 else mask, _shaded(boxed)  # some tools write 0 and 1
    if file is not None:
        annotated = _annotated(sample, file)
        stated = annotated.height or size[0], annotated.width or size[1]
        _check_size(file, stated, sample, size, "annotate the picture as it is, rotated as its EXIF says")
        card = read_card(Path(sample.origin))
        for mark in annotated.marks:
            if not card.is_good(mark.name):
                try:
                    draw(mark.shape, boxed if isinstance(mark.shape, Box) else exact)
                except ValueError as error:
                    raise DatasetError(f"{file}: {mark.name!r} of {sample.path} is {error}; draw it again") from error
    return _shaded(exact), _shaded(boxed)


def _shaded(plane: Picture) -> Picture:
    return np.repeat(plane[..., None] * np.uint8(255), 3, axis=2)


def hash_place(sample: Sample) -> str:
    """The sha256 of what tells the place, empty where nothing does; of a COCO file only what it says of this picture counts."""
    file = sample.mask_file
    if file is None:
        return ""
    if sample.mask_entry:
        return hashlib.sha256(canonical(_coco(sample, file), sample.mask_entry).encode()).hexdigest()
    if not file.is_file():
        raise DatasetError(f"{file} is gone, and tells where the defect in {sample.path} is; put it back")
    return sha256_of(file)


def _annotated(sample: Sample, file: Path) -> Annotated:
    if not sample.mask_entry:
        return read_voc(file) if file.suffix.lower() == ".xml" else read_labelme(file)
    coco = _coco(sample, file)
    image = coco.images[sample.mask_entry]
    return Annotated(image.file_name, image.width, image.height, marks_of(coco, sample.mask_entry))


def _coco(sample: Sample, file: Path) -> Coco:
    coco = read_coco(file)
    if sample.mask_entry not in coco.images:
        raise DatasetError(f"{file} no longer lists a picture {sample.mask_entry}, which was {sample.path}; restore the file")
    return coco


def _check_size(file: Path, found: tuple[int, ...], sample: Sample, size: tuple[int, int], advice: str) -> None:
    if found != tuple(size):
        raise DatasetError(f"{file} is {found[1]} x {found[0]}, its picture {sample.path} is {size[1]} x {size[0]}; {advice}")

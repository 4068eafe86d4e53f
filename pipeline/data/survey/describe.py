"""What a picture file holds before it is scaled to 8 bit: for the audit, which tells of pictures that come out nearly black."""

from dataclasses import dataclass
from pathlib import Path

import cv2

from deploy.preprocess import decode, read_whole
from deploy.tiff import decodable, is_tiff


@dataclass(frozen=True)
class Described:
    """A picture as its file stores it, EXIF rotation applied, alpha left out."""

    width: int
    height: int
    channels: int
    """1 is grey, 3 is colour."""
    bits: int
    """Of one value as stored: 8 or 16."""
    highest: int
    """The largest value in it."""

    @property
    def used_bits(self) -> int:
        """Bits its largest value needs. 12 of 16 is a 12 bit camera whose values were not shifted: 16 times too dark at 8 bit."""
        return self.highest.bit_length()


def describe_picture(path: Path) -> Described:
    """Read what kind of picture a file holds. Raises DatasetError where `read_picture` does."""
    data = read_whole(path)
    if is_tiff(data):
        data, _ = decodable(path, data)
    picture = decode(path, data, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
    height, width = picture.shape[:2]
    channels = picture.shape[2] if picture.ndim == 3 else 1
    return Described(width, height, channels, picture.dtype.itemsize * 8, int(picture.max()))

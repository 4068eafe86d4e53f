"""What one decoded picture tells: its size, light and sharpness, and the small planes that look-alikes are found with."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deploy.preprocess import Picture, read_picture
from deploy.sharpness import sharpness
from deploy.tiff import is_tiff
from pipeline.data.survey.describe import describe_picture
from pipeline.data.survey.descriptors import ANGLES, PLANE_SIDE, RADII, difference_hash, high_pass_plane, polar_plane

THUMBNAIL = 32
"""Side of the grey thumbnail in pixels."""

Plane = npt.NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class Facts:
    """One picture, measured."""

    width: int
    height: int
    grey: bool
    bits: int
    """Of one value as stored: 8 or 16."""
    used_bits: int
    """Bits that the largest value needs; 12 of 16 comes out 16 times too dark."""
    brightness: float
    """Mean grey value, 0..1."""
    sharpness: float
    """See `deploy.sharpness`: the figure that `inspector capture --min-sharpness` goes by, too."""
    colour: tuple[float, float, float]
    """Mean blue, green and red, 0..1."""
    format: str
    """What the file's first bytes say: JPEG, PNG, BMP, TIFF, WEBP."""
    hash: npt.NDArray[np.uint8]
    """Difference hash, 32 bytes."""
    plane: Plane
    """High-pass picture, see `high_pass_plane`."""
    polar: Plane
    """High-pass picture unrolled around its centre, see `polar_plane`."""
    thumbnail: Picture
    """THUMBNAIL x THUMBNAIL, grey."""


def measure(path: Path) -> Facts:
    """Decode a picture and measure it; raises DatasetError where it cannot be read."""
    picture = read_picture(path)
    height, width = picture.shape[:2]
    grey: Picture = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8)
    kind, bits, used_bits = _format(path)
    blue, green, red = (float(mean) / 255 for mean in cv2.mean(picture)[:3])
    return Facts(
        width,
        height,
        bool((picture[..., 0] == picture[..., 1]).all() and (picture[..., 0] == picture[..., 2]).all()),
        bits,
        used_bits,
        float(cv2.mean(grey)[0]) / 255,
        sharpness(picture),
        (blue, green, red),
        kind,
        difference_hash(grey),
        high_pass_plane(grey),
        polar_plane(grey),
        np.asarray(cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA), np.uint8),
    )


def _format(path: Path) -> tuple[str, int, int]:
    """What the first bytes say the file is, the bits of one value, and those that the largest needs."""
    with path.open("rb") as stream:
        head = stream.read(32)
    tiff = is_tiff(head)
    if tiff or (head.startswith(b"\x89PNG") and head[24] == 16):
        described = describe_picture(path)
        return "TIFF" if tiff else "PNG", described.bits, described.used_bits if described.bits == 16 else described.bits
    for start, name in ((b"\xff\xd8", "JPEG"), (b"\x89PNG", "PNG"), (b"BM", "BMP"), (b"RIFF", "WEBP")):
        if head.startswith(start):
            return name, 8, 8
    return "unknown", 8, 8


ARRAYS: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
    "hash": (np.uint8, (32,)),
    "plane": (np.int8, (PLANE_SIDE, PLANE_SIDE)),
    "polar": (np.int8, (ANGLES, RADII)),
    "thumbnail": (np.uint8, (THUMBNAIL, THUMBNAIL)),
}


def pack(sha256: str, facts: Facts) -> bytes:
    """A file's hash and facts as bytes for the cache."""
    plain = {field.name: getattr(facts, field.name) for field in fields(facts) if field.name not in ARRAYS}
    head = json.dumps([sha256, plain]).encode()
    return b"".join([len(head).to_bytes(4, "big"), head, *(getattr(facts, name).tobytes() for name in ARRAYS)])


def unpack(packed: bytes) -> tuple[str, Facts]:
    """What `pack` packed."""
    start = 4 + int.from_bytes(packed[:4], "big")
    sha256, plain = json.loads(packed[4:start])
    values: dict[str, Any] = {**plain, "colour": tuple(plain["colour"])}
    for name, (kind, shape) in ARRAYS.items():
        values[name] = np.frombuffer(packed, kind, int(np.prod(shape)), start).reshape(shape)
        start += values[name].nbytes
    return sha256, Facts(**values)

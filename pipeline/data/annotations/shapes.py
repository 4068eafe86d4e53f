"""Shapes somebody drew around a defect, and how they are filled. Coordinates are pixels; (0, 0) is the first pixel's corner."""

import base64
import binascii
import math
from dataclasses import dataclass

import cv2
import numpy as np

from deploy.preprocess import Picture

Point = tuple[float, float]

FARTHEST = 1e6
"""No picture is larger; a coordinate beyond it is a fault of the file, and would overflow the drawing."""
_SHIFT = 4  # bits of a pixel that OpenCV draws with
_STROKE = 3  # pixels: what a line without a width stands for, as drawn along a crack


@dataclass(frozen=True)
class Box:
    """A rectangle from (left, top) to (right, bottom)."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class Outline:
    """Polygons of one thing, each filled."""

    polygons: tuple[tuple[Point, ...], ...]


@dataclass(frozen=True)
class Line:
    """An open line, or a single point."""

    points: tuple[Point, ...]


@dataclass(frozen=True)
class Runs:
    """COCO's run lengths: outside, inside, outside, ... down the columns of a height x width picture."""

    height: int
    width: int
    lengths: tuple[int, ...]


@dataclass(frozen=True)
class Stencil:
    """A small mask picture laid at (left, top), as LabelMe keeps what its AI tools find: a PNG in base 64."""

    left: int
    top: int
    right: int
    bottom: int
    png: str


Shape = Box | Outline | Line | Runs | Stencil


@dataclass(frozen=True)
class Mark:
    """One thing somebody marked in a picture."""

    name: str
    shape: Shape | None
    """None where only its name is told."""
    area: float
    """Pixels, to tell which of several is the largest."""


def area_of(shape: Shape | None) -> float:
    """Pixels the shape covers, roughly."""
    match shape:
        case None:
            return 0.0
        case Outline():
            return sum(abs(_signed_area(polygon)) for polygon in shape.polygons)
        case Line():
            return _STROKE * sum(math.dist(*pair) for pair in zip(shape.points, shape.points[1:], strict=False))
        case Runs():
            return float(sum(shape.lengths[1::2]))
        case Box() | Stencil():
            return (shape.right - shape.left) * (shape.bottom - shape.top)


def draw(shape: Shape | None, plane: Picture) -> None:
    """Set the shape's pixels in `plane` (H x W, changed in place) to 1; what lies outside is cut off.

    Raises ValueError for run lengths of another picture size, and for a stencil that is no picture.
    """
    match shape:
        case Box():
            top, left = max(0, math.floor(shape.top)), max(0, math.floor(shape.left))
            plane[top : max(0, math.ceil(shape.bottom)), left : max(0, math.ceil(shape.right))] = 1
        case Outline():
            for polygon in shape.polygons:
                cv2.fillPoly(plane, [_fixed(polygon)], 1, shift=_SHIFT)
        case Line():
            thin = np.zeros_like(plane)
            through = np.floor((*shape.points, shape.points[-1])).astype(np.int32)  # the last one twice: it may be the only one
            cv2.polylines(thin, [through], False, 1)
            plane |= cv2.dilate(thin, np.ones((_STROKE, _STROKE), np.uint8)).astype(np.uint8)  # OpenCV's own width is not exact
        case Runs():
            if (shape.height, shape.width) != plane.shape:
                raise ValueError(f"run lengths of {shape.width} x {shape.height} pixels")
            inside = np.arange(len(shape.lengths)) % 2
            plane |= np.repeat(inside.astype(np.uint8), shape.lengths).reshape(shape.width, shape.height).T
        case Stencil():
            bits = _decoded(shape.png)
            top, left = max(0, shape.top), max(0, shape.left)
            room = plane[top : shape.top + bits.shape[0], left : shape.left + bits.shape[1]]
            room |= bits[top - shape.top :, left - shape.left :][: room.shape[0], : room.shape[1]]


def unpack_runs(text: str) -> tuple[int, ...]:
    """COCO's compressed run lengths as numbers; raises ValueError for text that is none.

    Five bits a character from "0" on, a sixth says that more follow, the last one's fifth is the sign; from the fourth number on
    they are differences to the number before last: rleFrString in github.com/cocodataset/cocoapi, common/maskApi.c.
    """
    lengths: list[int] = []
    value = bits = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or bits > 60:
            raise ValueError("compressed run lengths that are none")
        value |= (code & 31) << bits
        bits += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << bits
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value = bits = 0
    if bits:
        raise ValueError("compressed run lengths that end too early")
    return tuple(lengths)


def _signed_area(polygon: tuple[Point, ...]) -> float:
    following = (*polygon[1:], *polygon[:1])
    return sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in zip(polygon, following, strict=True)) / 2


def _fixed(points: tuple[Point, ...]) -> np.typing.NDArray[np.int32]:
    # OpenCV means pixels' middles where annotation tools mean their corners.
    return np.rint((np.array(points) - 0.5) * (1 << _SHIFT)).astype(np.int32)


def _decoded(png: str) -> Picture:
    try:
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(png), np.uint8), cv2.IMREAD_GRAYSCALE)
    except (cv2.error, binascii.Error, ValueError):
        picture = None
    if picture is None:
        raise ValueError("a mask that is no PNG in base 64")
    return (np.asarray(picture) > 0).astype(np.uint8)

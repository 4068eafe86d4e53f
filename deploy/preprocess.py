"""From a file or a camera frame to the graph's input. The ONLY preprocessing: training, calibration and the line all call it."""

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from deploy.errors import DatasetError
from deploy.tiff import decodable, is_tiff

Picture = npt.NDArray[np.uint8]
"""H x W x 3, BGR, 8 bit."""

# What is wrong with a file is told by us, in one sentence. OpenCV 4 and 5 keep the switch in different places.
_set_log_level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel
_set_log_level(0)

PICTURE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


class Preprocessing(BaseModel):
    """What the graph expects: a picture letterboxed to height x width."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: int = Field(ge=32, le=4096, description="input height in pixels")
    width: int = Field(ge=32, le=4096, description="input width in pixels")
    pad_bgr: tuple[int, int, int] = Field(description="colour of the letterbox bars, BGR, 0..255")


def read_picture(path: Path) -> Picture:
    """Decode a picture file to H x W x 3 BGR uint8: rotated as its EXIF says, alpha dropped, 16 bit scaled to 8 (value // 256).

    Raises DatasetError for a file that is missing, empty, truncated or no picture, and for one whose pixels have no plain
    brightness (floating point or signed TIFF).
    """
    data = read_whole(path)
    flags = cv2.IMREAD_COLOR
    if is_tiff(data):
        data, flags = decodable(path, data)
    picture = decode(path, data, flags)
    return np.asarray(picture >> 8 if picture.dtype == np.uint16 else picture, np.uint8)


def read_whole(path: Path) -> bytes:
    """The bytes of a picture file. Raises DatasetError for a file that is missing, empty, or cut off."""
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DatasetError(f"{path}: cannot be read ({reason}); check the path and its permissions") from error
    if not data:
        raise DatasetError(f"{path}: the file is empty (0 bytes); copy it again from the camera or delete it")
    # Decoders fill the missing rows of a truncated file with grey and report success.
    if (data.startswith(b"\xff\xd8") and b"\xff\xd9" not in data[-4096:]) or (
        data.startswith(b"\x89PNG") and b"IEND" not in data[-64:]
    ):
        raise DatasetError(f"{path}: the file is truncated (no end marker); copy it again from the camera or delete it")
    if len(data) < (expected := _said_length(data)):
        raise DatasetError(
            f"{path}: the file is truncated ({len(data)} of {expected} bytes); copy it again from the camera or delete it"
        )
    return data


def decode(path: Path, data: bytes, flags: int) -> npt.NDArray[Any]:
    """What cv2.imdecode makes of a picture file's bytes; DatasetError where that is nothing."""
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        picture = None
    if picture is None:
        raise DatasetError(f"{path}: not a readable picture (starts with {data[:8]!r}); export it as PNG or JPEG, or delete it")
    return picture


def _said_length(data: bytes) -> int:
    """How long the file says it is, where its format says so at its head; else 0."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return int.from_bytes(data[4:8], "little") + 8
    if data.startswith(b"BM") and len(data) >= 26:
        # Some writers leave the file's size empty or wrong: what counts is that the pixels are there, when they are not packed.
        offset, header = int.from_bytes(data[10:14], "little"), int.from_bytes(data[14:18], "little")
        if header < 40 or int.from_bytes(data[30:34], "little") not in (0, 3):
            return offset
        width, height = (int.from_bytes(data[at : at + 4], "little", signed=True) for at in (18, 22))
        return offset + (width * int.from_bytes(data[28:30], "little") + 31) // 32 * 4 * abs(height)
    return 0


def letterbox_placement(height: int, width: int, spec: Preprocessing) -> tuple[int, int, int, int]:
    """Where a height x width picture lands in the input: (top, left, height, width), aspect ratio kept, centred."""
    scale = min(spec.height / height, spec.width / width)
    new_height = min(spec.height, max(1, round(height * scale)))
    new_width = min(spec.width, max(1, round(width * scale)))
    return (spec.height - new_height) // 2, (spec.width - new_width) // 2, new_height, new_width


def fitted(picture: npt.NDArray[Any], spec: Preprocessing) -> npt.NDArray[Any]:
    """H x W x 3 at the size that it has within the input, in its own type of numbers.

    Shrinking averages: every pixel has about the same weight, so that a scratch of one pixel does not fall between two samples.
    INTER_AREA alone does that with scalar code for all but whole ratios; halves are exact and fast. So the picture is brought to
    2, 4, ... times its size by interpolation in steps of 0.75 to 1.5 pixels, and halved: a third of the time from 640 x 480 to
    224 x 168, with a mean difference of 0.2 grey levels. A very large one is halved before, too.
    """
    _, _, height, width = letterbox_placement(picture.shape[0], picture.shape[1], spec)
    while picture.shape[0] >= 6 * height and picture.shape[0] % 2 == picture.shape[1] % 2 == 0:
        picture = _halved(picture)
    ratio = max(picture.shape[0] / height, picture.shape[1] / width)
    if ratio <= 1:
        return cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
    if ratio <= 1.5 or picture.shape[0] % height == picture.shape[1] % width == 0:
        return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    halvings = math.ceil(math.log2(ratio / 1.5))
    picture = cv2.resize(picture, (width << halvings, height << halvings), interpolation=cv2.INTER_LINEAR)
    for _ in range(halvings):
        picture = _halved(picture)
    return picture


def _halved(picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Of a picture of even height and width: the mean of each four pixels."""
    return cv2.resize(picture, (picture.shape[1] // 2, picture.shape[0] // 2), interpolation=cv2.INTER_AREA)


def letterbox(picture: Picture, spec: Preprocessing) -> Picture:
    """Resize H x W x 3 with its aspect ratio kept and pad to the input size: squashing would change the part's geometry."""
    top, left, height, width = letterbox_placement(picture.shape[0], picture.shape[1], spec)
    resized = fitted(picture, spec)
    borders = (top, spec.height - top - height, left, spec.width - left - width)
    return np.asarray(cv2.copyMakeBorder(resized, *borders, cv2.BORDER_CONSTANT, value=spec.pad_bgr), np.uint8)


def unletterbox(plane: npt.NDArray[np.float32], height: int, width: int, spec: Preprocessing) -> npt.NDArray[np.float32]:
    """Map an h x w plane of the graph (the heatmap) back onto the height x width picture it was computed from."""
    full = cv2.resize(plane, (spec.width, spec.height), interpolation=cv2.INTER_LINEAR)
    top, left, inner_height, inner_width = letterbox_placement(height, width, spec)
    inner = full[top : top + inner_height, left : left + inner_width]
    return np.asarray(cv2.resize(inner, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)

"""What an industrial camera sends, by its GenICam name (Mono12p, BayerRG8, RGB8), as a BGR picture of 8 bits.

Deeper pixels keep their upper 8 bits, as in picture files: value // 4 of 10 bits, // 16 of 12, // 256 of 16.
"""

import re
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deploy.errors import CameraError
from deploy.preprocess import Picture

_PLANE = re.compile(r"(Mono|Bayer(?:RG|GR|GB|BG))(8|10|12|14|16)(p|Packed)?$")
_COLOURS = re.compile(r"(RGB|BGR)(a|A)?(8|10|12|16)(?:Packed)?$")  # of colours, the older name's Packed only means interleaved
_DEMOSAIC = {
    # cv2 names the first two rows, GenICam the first row.
    "BayerRG": cv2.COLOR_BayerRGGB2BGR,
    "BayerGR": cv2.COLOR_BayerGRBG2BGR,
    "BayerGB": cv2.COLOR_BayerGBRG2BGR,
    "BayerBG": cv2.COLOR_BayerBGGR2BGR,
}
_ORDER = {
    ("BGR", 3): None,
    ("RGB", 3): cv2.COLOR_RGB2BGR,
    ("BGR", 4): cv2.COLOR_BGRA2BGR,
    ("RGB", 4): cv2.COLOR_RGBA2BGR,
}
Bytes = npt.NDArray[np.uint8]


def is_readable(pixel_format: str) -> bool:
    """Can `to_bgr` make a picture of this?"""
    plane = _PLANE.match(pixel_format)
    if plane is None:
        return _COLOURS.match(pixel_format) is not None
    return plane[3] is None or (plane[2] in ("10", "12"))


def to_bgr(data: Any, height: int, width: int, pixel_format: str, padding: int = 0) -> Picture:
    """Pixels as they came (a buffer; what follows the last row is left out) as height x width x 3.

    `padding` is the number of bytes behind each row. Raises CameraError for a format that is not known here, for odd paddings,
    and when the pixels are not all there.
    """
    plane, colours = _PLANE.match(pixel_format), _COLOURS.match(pixel_format)
    if not is_readable(pixel_format) or ((bits := _bits(pixel_format)) * width % 8 and padding):
        raise CameraError(f"pixels come as {pixel_format}; set pixel_format to Mono8, a Bayer format of 8 bits, RGB8 or BGR8")
    raw: Bytes = np.frombuffer(data, np.uint8)
    row = bits * width // 8 + padding
    needed = row * height if padding else (bits * width * height + 7) // 8
    if raw.size < needed:
        raise CameraError(f"a picture of {width} x {height} {pixel_format} has {needed} bytes, but {raw.size} came")
    raw = raw[:needed]
    if padding:
        raw = np.ascontiguousarray(raw.reshape(height, row)[:, : row - padding]).ravel()
    if plane is not None:
        grey = _upper_bits(raw, plane[2], plane[3] or "", height * width).reshape(height, width)
        code = cv2.COLOR_GRAY2BGR if plane[1] == "Mono" else _DEMOSAIC[plane[1]]
        return np.asarray(cv2.cvtColor(grey, code), np.uint8)
    assert colours is not None
    channels = 4 if colours[2] else 3
    values = _upper_bits(raw, colours[3], "", height * width * channels).reshape(height, width, channels)
    order = _ORDER[colours[1], channels]
    return values.copy() if order is None else np.asarray(cv2.cvtColor(values, order), np.uint8)


def _bits(pixel_format: str) -> int:
    """Bits that one pixel takes, those without meaning included."""
    plane, colours = _PLANE.match(pixel_format), _COLOURS.match(pixel_format)
    if plane is not None:
        # GigE Vision's own 10 bit packing puts two pixels into three bytes, as for 12 bits.
        packed = {"p": int(plane[2]), "Packed": 12}.get(plane[3] or "")
        return packed or (8 if plane[2] == "8" else 16)
    assert colours is not None
    return (4 if colours[2] else 3) * (8 if colours[3] == "8" else 16)


def _upper_bits(raw: Bytes, depth: str, packing: str, count: int) -> Bytes:
    """The upper 8 bits of each value."""
    if depth == "8":
        return raw
    if not packing:
        return (raw.view("<u2") >> (int(depth) - 8)).astype(np.uint8)
    size = 5 if (depth, packing) == ("10", "p") else 3
    groups = np.pad(raw, (0, -raw.size % size)).reshape(-1, size)
    if packing == "Packed":
        values = groups[:, [0, 2]]
    elif depth == "12":
        values = np.stack([groups[:, 0] >> 4 | groups[:, 1] << 4, groups[:, 2]], axis=1)
    else:
        shifted = [groups[:, index] >> 2 * (index + 1) | groups[:, index + 1] << (6 - 2 * index) for index in range(3)]
        values = np.stack([*shifted, groups[:, 4]], axis=1)
    return np.ascontiguousarray(values).ravel()[:count]

"""What OpenCV's TIFF decoder gets wrong is seen to here, from the first page's tags, before it decodes.

Found by experiment with OpenCV 4.10, 4.12 and 5.0 (the tests hold them to it): a file cut off behind its pixels comes out in
wrong colours, colours are multiplied by their transparency, signed brightness wraps round, and 16 bit colours are rounded where
those of a PNG are cut. Everything else comes out as it should: strips and tiles, LZW and deflate, palettes, CMYK, both byte
orders, all eight rotations. Of a file with several pages the first one is read.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import cv2

from deploy.errors import DatasetError

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of each field type."""
_WHOLE_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_BITS, _PHOTOMETRIC, _OFFSETS, _COUNTS, _PLANAR = 258, 262, 273, 279, 284
_TILE_OFFSETS, _TILE_COUNTS, _EXTRA, _FORMAT = 324, 325, 338, 339
_RGB, _CIELAB = 2, (8, 9, 10)
_READ = (_BITS, _PHOTOMETRIC, _OFFSETS, _COUNTS, _PLANAR, _TILE_OFFSETS, _TILE_COUNTS, _EXTRA, _FORMAT)
_NEEDED = (*_READ, 320, 347)
"""The tags a decoder needs, the palette and the JPEG tables among them: a maker's own tag may point anywhere."""


@dataclass(frozen=True)
class _Tag:
    at: int
    """Where its first value lies in the file."""
    size: int
    """Bytes of one value."""
    values: tuple[int, ...]


def is_tiff(data: bytes) -> bool:
    """Do the first bytes say TIFF, or BigTIFF?"""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def decodable(path: Path, data: bytes) -> tuple[bytes, int]:
    """The bytes and the flags with which cv2.imdecode gets a TIFF file's pixels right.

    Raises DatasetError for a truncated file, and for brightness stored as anything but 1 to 16 bits without sign: where black
    and white lie in it, the file does not say.
    """
    try:
        tags = _first_page(data)
    except (struct.error, IndexError) as error:
        raise DatasetError(f"{path}: the file is truncated; copy it again from the camera or delete it") from error
    bits = max(_values(tags, _BITS, 1))
    number = max(_values(tags, _FORMAT, 1))
    if number in (2, 3) or bits > 16:
        kind = {2: "signed", 3: "floating point"}.get(number, "whole")
        raise DatasetError(
            f"{path}: its brightness is stored as {bits} bit {kind} numbers; "
            "save it with 8 or 16 bit unsigned brightness, so that black and white are known"
        )
    if _values(tags, _PHOTOMETRIC, 0)[0] in _CIELAB:
        raise DatasetError(f"{path}: its colours are stored as CIELab; save it as RGB or grey")
    if 2 in _values(tags, _EXTRA, 0):
        # Transparency is dropped, not applied, as in a PNG: the colours are to come out as they are stored.
        tag = tags[_EXTRA]
        data = data[: tag.at] + bytes(tag.size * len(tag.values)) + data[tag.at + tag.size * len(tag.values) :]
    colours = _values(tags, _PHOTOMETRIC, 0)[0] == _RGB and _values(tags, _PLANAR, 1)[0] == 1
    deep = colours and bits == 16
    return data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH if deep else cv2.IMREAD_COLOR


def _values(tags: dict[int, _Tag], tag: int, default: int) -> tuple[int, ...]:
    return tags[tag].values if tag in tags and tags[tag].values else (default,)


def _first_page(data: bytes) -> dict[int, _Tag]:
    """The tags of the first page; raises struct.error or IndexError when they, or the pixels they point to, are not all there."""
    order = "<" if data[:2] == b"II" else ">"
    big = 43 in data[2:4]
    pointer, count_of, step, inline = ("Q", "Q", 20, 8) if big else ("I", "H", 12, 4)

    def number(kind: str, at: int) -> int:
        return int(struct.unpack_from(order + kind, data, at)[0])

    start = number(pointer, 8 if big else 4)
    first = start + struct.calcsize("=" + count_of)
    tags: dict[int, _Tag] = {}
    for entry in range(number(count_of, start)):
        at = first + entry * step
        name, kind = number("H", at), number("H", at + 2)
        if name not in _NEEDED:
            continue
        count = number(pointer, at + 4)
        size = _SIZES.get(kind, 1)
        where = at + 4 + struct.calcsize("=" + pointer)
        if size * count > inline:
            where = number(pointer, where)
        if where + size * count > len(data):
            raise IndexError
        whole = _WHOLE_NUMBERS.get(kind) if name in _READ else None
        tags[name] = _Tag(where, size, struct.unpack_from(f"{order}{count}{whole}", data, where) if whole else ())
    for offsets, counts in ((_OFFSETS, _COUNTS), (_TILE_OFFSETS, _TILE_COUNTS)):
        for offset, length in zip(_values(tags, offsets, 0), _values(tags, counts, 0), strict=False):
            if offset + length > len(data):
                raise IndexError
    return tags

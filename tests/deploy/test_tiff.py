"""TIFF in the layouts OpenCV gets wrong, and some it gets right: written here byte by byte, for no library writes them all."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from deploy.errors import DatasetError
from deploy.preprocess import read_picture

RNG = np.random.default_rng(3)
RGB = RNG.integers(0, 255, (40, 50, 3), np.uint8)
GREY = RGB[..., :1]
DEEP = RNG.integers(0, 65535, (40, 50, 3), np.uint16)
VEIL = np.full((40, 50, 1), 90, np.uint8)


def tiff(
    pixels: npt.NDArray[Any], photometric: int, order: str = "<", tile: int = 0, kind: int = 1, extra: int | None = None
) -> bytes:
    """H x W x C as a TIFF file: photometric 0 white is zero, 1 black is zero, 2 RGB; kind 2 signed, 3 float; extra 2 is alpha."""
    height, width, channels = pixels.shape
    stored = pixels.astype(pixels.dtype.newbyteorder(order))  # type: ignore[arg-type]
    corners = [(y, x) for y in range(0, height, tile) for x in range(0, width, tile)] if tile else [(0, 0)]
    pad = ((0, -height % tile), (0, -width % tile), (0, 0)) if tile else ((0, 0), (0, 0), (0, 0))
    stored = np.pad(stored, pad)
    chunks = [stored[y : y + tile, x : x + tile].tobytes() if tile else stored.tobytes() for y, x in corners]
    offsets = [8 + sum(map(len, chunks[:index])) for index in range(len(chunks))]
    lengths = [len(chunk) for chunk in chunks]
    bits = pixels.dtype.itemsize * 8
    tags: list[tuple[int, str, list[int]]] = [(256, "I", [width]), (257, "I", [height]), (258, "H", [bits] * channels)]
    tags += [(259, "H", [1]), (262, "H", [photometric]), (277, "H", [channels]), (284, "H", [1])]
    tags += [(339, "H", [kind] * channels)] + ([(338, "H", [extra])] if extra is not None else [])
    if tile:
        tags += [(322, "H", [tile]), (323, "H", [tile]), (324, "I", offsets), (325, "I", lengths)]
    else:
        tags += [(273, "I", offsets), (278, "I", [height]), (279, "I", lengths)]
    body = b"".join(chunks)
    entries, far = b"", b""
    for tag, code, values in sorted(tags):
        raw = struct.pack(f"{order}{len(values)}{code}", *values)
        if len(raw) > 4:
            where = 8 + len(body) + 2 + 12 * len(tags) + 4 + len(far)
            raw, far = struct.pack(f"{order}I", where), far + raw
        entries += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[code], len(values)) + raw.ljust(4, b"\0")
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(body))
    return head + body + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + far


READ = {
    "strip": (tiff(RGB, 2), RGB),
    "tiles": (tiff(RGB, 2, tile=32), RGB),
    "16 bit": (tiff(DEEP, 2), DEEP // 256),
    "16 bit tiles, big endian": (tiff(DEEP, 2, ">", tile=32), DEEP // 256),
    "16 bit grey": (tiff(DEEP[..., :1], 1), DEEP[..., :1].repeat(3, 2) // 256),
    "white is zero": (tiff(255 - GREY, 0), GREY.repeat(3, 2)),
    "alpha is dropped": (tiff(np.dstack([RGB, VEIL]), 2, extra=2), RGB),
    "alpha is dropped, big endian": (tiff(np.dstack([RGB, VEIL]), 2, ">", extra=2), RGB),
    "16 bit alpha is dropped": (tiff(np.dstack([DEEP, VEIL.astype(np.uint16) * 256]), 2, extra=2), DEEP // 256),
    "grey and alpha": (tiff(np.dstack([GREY, VEIL]), 1, extra=2), GREY.repeat(3, 2)),
}
REFUSED = {
    "float": (tiff(GREY.astype(np.float32) / 255, 1, kind=3), "stored as 32 bit floating point"),
    "float colours": (tiff(RGB.astype(np.float32), 2, kind=3), "stored as 32 bit floating point"),
    "signed": (tiff(DEEP[..., :1].astype(np.int16), 1, kind=2), "stored as 16 bit signed"),
    "32 bit": (tiff(GREY.astype(np.uint32), 1), "stored as 32 bit whole"),
    "CIELab": (tiff(RGB, 8), "stored as CIELab"),
    "header only": (tiff(RGB, 2)[:9], "truncated"),
}


@pytest.mark.parametrize("case", READ)
def test_pixels_come_out_as_they_are_stored(case: str, tmp_path: Path) -> None:
    data, expected = READ[case]
    (tmp_path / "a.tif").write_bytes(data)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif")[..., ::-1], expected)


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_plain_brightness_is_refused(case: str, tmp_path: Path) -> None:
    data, message = REFUSED[case]
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(DatasetError, match=rf"a\.tif: .*{message}"):
        read_picture(tmp_path / "a.tif")


@pytest.mark.parametrize("case", READ)
def test_a_tiff_that_is_cut_off_is_refused(case: str, tmp_path: Path) -> None:
    data, _ = READ[case]
    for left in range(8, len(data), len(data) // 20):
        (tmp_path / "a.tif").write_bytes(data[:left])
        with pytest.raises(DatasetError, match="truncated"):
            read_picture(tmp_path / "a.tif")

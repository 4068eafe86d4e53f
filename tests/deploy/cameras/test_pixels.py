"""Every way in which an industrial camera packs its pixels, packed here by the book and read back."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.cameras.pixels import is_readable, to_bgr
from deploy.errors import CameraError

Values = npt.NDArray[np.uint16]


def pack(values: Values, depth: int, packing: str) -> bytes:
    """As GenICam's Pixel Format Naming Convention says, bit by bit; `Packed` as GigE Vision 1.2 does."""
    if depth == 8:
        return values.astype(np.uint8).tobytes()
    if packing == "":
        return values.astype("<u2").tobytes()
    if packing == "p":
        total = sum(int(value) << (depth * index) for index, value in enumerate(values))
        return total.to_bytes((depth * len(values) + 7) // 8, "little")
    low = (1 << (depth - 8)) - 1
    padded = [*values.tolist(), *[0] * (len(values) % 2)]
    packed = bytearray()
    for first, second in zip(padded[::2], padded[1::2], strict=True):
        packed += bytes([first >> (depth - 8), (second & low) << 4 | first & low, second >> (depth - 8)])
    return bytes(packed)


FORMATS = [
    ("8", ""),
    ("10", ""),
    ("12", ""),
    ("14", ""),
    ("16", ""),
    ("10", "p"),
    ("12", "p"),
    ("10", "Packed"),
    ("12", "Packed"),
]


@pytest.mark.parametrize(("depth", "packing"), FORMATS)
@given(data=st.data())
def test_the_upper_eight_bits_of_every_pixel_come_out(depth: str, packing: str, data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 9))
    numbers = st.lists(st.integers(0, (1 << int(depth)) - 1), min_size=height * width, max_size=height * width)
    values = np.array(data.draw(numbers), np.uint16)
    picture = to_bgr(pack(values, int(depth), packing) + b"chunk data", height, width, f"Mono{depth}{packing}")
    expected = (values >> (int(depth) - 8)).reshape(height, width)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, np.dstack([expected] * 3))


@pytest.mark.parametrize(("depth", "packing"), [each for each in FORMATS if each[0] != "14"])
@pytest.mark.parametrize(
    ("name", "rows"), [("RG", ("RG", "GB")), ("GR", ("GR", "BG")), ("GB", ("GB", "RG")), ("BG", ("BG", "GR"))]
)
def test_a_colour_is_the_same_through_every_mosaic(name: str, rows: tuple[str, str], depth: str, packing: str) -> None:
    shift = int(depth) - 8
    colour = {"B": 40, "G": 90, "R": 200}
    tile = np.array([[colour[letter] << shift for letter in row] for row in rows], np.uint16)
    mosaic = np.tile(tile, (4, 4))
    picture = to_bgr(pack(mosaic.ravel(), int(depth), packing), 8, 8, f"Bayer{name}{depth}{packing}")
    assert (picture == (40, 90, 200)).all()


@pytest.mark.parametrize(
    ("pixel_format", "values"),
    [
        ("RGB8", [200, 90, 40]),
        ("RGB8Packed", [200, 90, 40]),
        ("BGR8", [40, 90, 200]),
        ("BGR8Packed", [40, 90, 200]),
        ("RGBa8", [200, 90, 40, 7]),
        ("BGRa8", [40, 90, 200, 7]),
        ("BGRA8Packed", [40, 90, 200, 7]),
        ("RGB10", [200 << 2, 90 << 2, 40 << 2]),
        ("RGB12", [200 << 4, 90 << 4, 40 << 4]),
        ("BGR16", [40 << 8, 90 << 8, 200 << 8]),
        ("RGB16Packed", [200 << 8, 90 << 8, 40 << 8]),
    ],
)
def test_colours_come_out_in_opencvs_order(pixel_format: str, values: list[int]) -> None:
    kind = np.uint8 if "8" in pixel_format else "<u2"
    picture = to_bgr(np.array(values * 6, kind).tobytes(), 2, 3, pixel_format)
    assert picture.shape == (2, 3, 3)
    assert (picture == (40, 90, 200)).all()


@pytest.mark.parametrize(("pixel_format", "width", "row"), [("Mono8", 3, 3), ("Mono12p", 4, 6), ("RGB8", 1, 3), ("Mono16", 2, 4)])
def test_padding_behind_rows_is_left_out(pixel_format: str, width: int, row: int) -> None:
    rows = np.arange(4 * row, dtype=np.uint8).reshape(4, row)
    padded = np.pad(rows, ((0, 0), (0, 5)), constant_values=255)
    assert np.array_equal(to_bgr(padded.tobytes(), 4, width, pixel_format, 5), to_bgr(rows.tobytes(), 4, width, pixel_format))


@pytest.mark.parametrize("pixel_format", ["YUV422_8", "Mono8s", "Coord3D_C16", "RGB10p", "Mono14p", "BayerRG", "", "JPEG"])
def test_what_cannot_be_read_is_refused(pixel_format: str) -> None:
    assert not is_readable(pixel_format)
    with pytest.raises(CameraError, match="set pixel_format to Mono8"):
        to_bgr(bytes(1000), 2, 2, pixel_format)


def test_pixels_that_did_not_arrive_are_no_picture() -> None:
    with pytest.raises(CameraError, match=r"4 x 2 Mono12p has 12 bytes, but 11 came"):
        to_bgr(bytes(11), 2, 4, "Mono12p")


def test_the_names_are_those_of_the_standard() -> None:
    standard = pytest.importorskip("harvesters.util._pfnc", reason="pip install 'line-inspector[genicam]'").symbolics
    readable = {name for name in standard.values() if is_readable(name)}
    for plane in ("Mono", "BayerRG", "BayerGR", "BayerGB", "BayerBG"):
        for rest in ("8", "10", "12", "16", "10p", "12p", "10Packed", "12Packed"):
            assert f"{plane}{rest}" in readable
    assert {"RGB8", "BGR8", "RGBa8", "BGRa8", "RGB16", "BGR12"} <= readable
    assert not {name for name in readable if "YUV" in name or "Coord" in name or name.endswith("s")}

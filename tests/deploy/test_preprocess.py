import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.errors import DatasetError
from deploy.preprocess import Preprocessing, fitted, letterbox, letterbox_placement, read_picture, unletterbox

SIDES = st.integers(1, 900)
SPECS = st.builds(Preprocessing, height=st.integers(32, 400), width=st.integers(32, 400), pad_bgr=st.just((7, 8, 9)))
SCENE = np.zeros((20, 30, 3), np.uint8)
SCENE[:, :10], SCENE[:, 10:] = (250, 10, 10), (10, 10, 250)


@settings(max_examples=50, deadline=None)
@given(height=SIDES, width=SIDES, spec=SPECS)
def test_letterbox_fills_the_input_and_keeps_the_aspect_ratio(height: int, width: int, spec: Preprocessing) -> None:
    framed = letterbox(np.full((height, width, 3), 200, np.uint8), spec)
    top, left, inner_height, inner_width = letterbox_placement(height, width, spec)
    assert framed.shape == (spec.height, spec.width, 3)
    assert (framed[top : top + inner_height, left : left + inner_width] == 200).all()
    assert (framed == 200).all(axis=2).sum() == inner_height * inner_width
    assert inner_height == spec.height or inner_width == spec.width
    scale = min(spec.height / height, spec.width / width)
    assert abs(inner_height - height * scale) <= 1
    assert abs(inner_width - width * scale) <= 1
    assert abs(top - (spec.height - inner_height - top)) <= 1


@settings(max_examples=50, deadline=None)
@given(data=st.data(), height=st.integers(60, 600), width=st.integers(60, 600), spec=SPECS)
def test_a_rectangle_comes_back_to_where_it_was(data: st.DataObject, height: int, width: int, spec: Preprocessing) -> None:
    left, top = data.draw(st.integers(0, width // 2)), data.draw(st.integers(0, height // 2))
    picture = np.zeros((height, width, 3), np.uint8)
    picture[top : top + height // 3, left : left + width // 3] = 255
    plane = (letterbox(picture, spec)[..., 0] / 255).astype(np.float32)
    back = unletterbox(plane, height, width, spec)
    assert back.shape == (height, width)
    rows, columns = np.nonzero(back > 0.5)
    coarse = 2 * max(height / spec.height, width / spec.width, 1)  # two pixels of the smaller picture
    found = (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)
    np.testing.assert_allclose(found, (top, top + height // 3, left, left + width // 3), atol=coarse)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), height=SIDES, width=SIDES, spec=SPECS)
def test_no_pixel_falls_between_two_samples(data: st.DataObject, height: int, width: int, spec: Preprocessing) -> None:
    _, _, new_height, new_width = letterbox_placement(height, width, spec)
    row, column = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    picture = np.zeros((height, width, 1), np.float32)
    picture[row, column] = height * width / (new_height * new_width)
    weight = fitted(picture, spec).sum()
    assert weight > 0.25
    if min(row, column, height - 1 - row, width - 1 - column) > 4 and new_height > 4 < new_width:
        assert 0.4 < weight < 2.25


@pytest.mark.parametrize(("height", "width"), [(480, 640), (720, 1280), (1080, 1920), (517, 333), (101, 97)])
def test_shrinking_is_nearly_the_mean_of_the_pixels_covered(height: int, width: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    picture = np.asarray(cv2.resize(noise, (width, height)), np.uint8)
    spec = Preprocessing(height=96, width=96, pad_bgr=(0, 0, 0))
    _, _, new_height, new_width = letterbox_placement(height, width, spec)
    mean = cv2.resize(picture, (new_width, new_height), interpolation=cv2.INTER_AREA)
    difference = fitted(picture, spec).astype(float) - mean
    assert abs(difference.mean()) < 0.6  # each half rounds up at a tie
    assert difference.std() < 0.1 * mean.std()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("empty.png", b"", "the file is empty"),
        ("text.png", b"hello", "not a readable picture"),
        ("cut.jpg", cv2.imencode(".jpg", SCENE)[1].tobytes()[:-200], "truncated"),
        ("cut.png", cv2.imencode(".png", SCENE)[1].tobytes()[:-20], "truncated"),
    ],
)
def test_what_is_no_whole_picture_is_refused_with_its_name(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DatasetError, match=rf"{name}: .*{message}"):
        read_picture(tmp_path / name)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        read_picture(tmp_path / "nothing.png")


def test_grey_alpha_and_16_bit_become_8_bit_bgr(tmp_path: Path) -> None:
    grey = SCENE[..., 0]
    alpha = np.dstack([SCENE, np.full((20, 30), 100, np.uint8)])
    deep = SCENE.astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    cv2.imwrite(str(tmp_path / "alpha.png"), alpha)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    np.testing.assert_array_equal(read_picture(tmp_path / "grey.png"), np.dstack([grey] * 3))
    np.testing.assert_array_equal(read_picture(tmp_path / "alpha.png"), SCENE)
    np.testing.assert_array_equal(read_picture(tmp_path / "deep.png"), SCENE)


def test_a_camera_held_upright_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    plain = cv2.imencode(".jpg", SCENE)[1].tobytes()
    orientation = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)  # turn by 90 degrees clockwise
    tiff = b"Exif\0\0MM\0\x2a" + struct.pack(">IH", 8, 1) + orientation + struct.pack(">I", 0)
    exif = b"\xff\xe1" + struct.pack(">H", len(tiff) + 2) + tiff
    (tmp_path / "turned.jpg").write_bytes(plain[:2] + exif + plain[2:])
    picture = read_picture(tmp_path / "turned.jpg")
    assert picture.shape == (30, 20, 3)
    assert picture[3, 10, 0] > 200  # what was on the left is on top

"""The same picture gives the same pixels to training, to calibration and to the edge, whatever file it comes in."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from deploy.cameras.folder import PictureFolder
from deploy.errors import DatasetError
from deploy.preprocess import Picture, Preprocessing, letterbox, read_picture
from pipeline.data.pictures import Pictures
from pipeline.data.sample import Sample
from pipeline.data.survey.describe import Described, describe_picture
from pipeline.export.candidates import frame_of
from tests.formats import HEIGHT, WIDTH, colour_files, grey_files, scene, two_level_files

SPEC = Preprocessing(height=48, width=48, pad_bgr=(1, 2, 3))
COLOUR, GREY, TWO_LEVEL = colour_files(), grey_files(), two_level_files()
GREY_SCENE = np.repeat(np.asarray(Image.fromarray(scene()).convert("L"))[..., None], 3, axis=2)


def _read(folder: Path, name: str, data: bytes) -> Picture:
    (folder / name).write_bytes(data)
    return read_picture(folder / name)


@pytest.mark.parametrize("name", COLOUR)
def test_a_scene_is_the_same_in_every_file(name: str, tmp_path: Path) -> None:
    data, tolerance = COLOUR[name]
    picture = _read(tmp_path, name, data)
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(picture[..., ::-1].astype(int) - scene()).mean() <= tolerance


@pytest.mark.parametrize("name", GREY)
def test_a_grey_scene_is_the_same_in_every_file(name: str, tmp_path: Path) -> None:
    data, tolerance = GREY[name]
    assert np.abs(_read(tmp_path, name, data).astype(int) - GREY_SCENE).mean() <= tolerance


@pytest.mark.parametrize("name", TWO_LEVEL)
def test_one_bit_is_black_and_white(name: str, tmp_path: Path) -> None:
    assert np.array_equal(_read(tmp_path, name, TWO_LEVEL[name]), 255 * (GREY_SCENE > 90))


def test_training_calibration_and_the_edge_get_one_array(tmp_path: Path) -> None:
    for name, (data, _) in {**COLOUR, **GREY}.items():
        (tmp_path / name).write_bytes(data)
    camera = PictureFolder(tmp_path)
    samples = [Sample(str(tmp_path), file.name, "good") for file in sorted(tmp_path.iterdir())]
    training = Pictures(samples, SPEC)
    for index, sample in enumerate(samples):
        frame = camera.read()
        assert frame is not None
        assert frame.name == sample.path
        seen = letterbox(frame.picture, SPEC)
        assert np.array_equal(frame_of(sample, SPEC), seen), sample.path
        assert np.array_equal(training[index].picture.permute(1, 2, 0).numpy(), seen[..., ::-1]), sample.path


@pytest.mark.parametrize("name", [*COLOUR, *GREY])
def test_what_is_cut_off_is_refused(name: str, tmp_path: Path) -> None:
    data = {**COLOUR, **GREY}[name][0]
    for left in (len(data) // 3, len(data) * 9 // 10, len(data) - 3):
        try:
            cut = _read(tmp_path, name, data[:left])
        except DatasetError:
            continue
        # A byte that fills up to an even length, or of a second page, may be missing: then nothing is lost.
        assert np.array_equal(cut, _read(tmp_path, name, data)), f"{name} after {left} of {len(data)} bytes"


def test_what_a_file_holds_is_told_before_it_is_scaled(tmp_path: Path) -> None:
    dark = np.full((4, 6), 3000, np.uint16)
    cv2.imwrite(str(tmp_path / "twelve.png"), dark)
    (tmp_path / "rgb.jpg").write_bytes(COLOUR["turned6.jpg"][0])
    assert describe_picture(tmp_path / "twelve.png") == Described(6, 4, 1, 16, 3000)
    assert describe_picture(tmp_path / "twelve.png").used_bits == 12
    about = describe_picture(tmp_path / "rgb.jpg")
    assert (about.width, about.height, about.channels, about.bits) == (WIDTH, HEIGHT, 3, 8)

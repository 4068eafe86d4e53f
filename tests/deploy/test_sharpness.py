import cv2
import numpy as np
import pytest

from deploy.preprocess import Picture
from deploy.sharpness import LONGER_SIDE, sharpness


@pytest.fixture
def picture() -> Picture:
    noise = np.random.default_rng(0).integers(0, 255, (384, LONGER_SIDE, 3), np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 2), np.uint8)


def test_it_falls_as_the_picture_blurs(picture: Picture) -> None:
    blurred = [np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8) for sigma in (1, 2, 4)]
    values = [sharpness(one) for one in (picture, *blurred)]
    assert values == sorted(values, reverse=True)


def test_grey_and_colour_are_the_same_measure(picture: Picture) -> None:
    grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8)
    expected = float(cv2.Laplacian(grey, cv2.CV_32F).var())
    assert sharpness(grey) == sharpness(picture) == expected > 0


@pytest.mark.parametrize("factor", [2, 3, 8])
def test_a_larger_camera_gets_the_same_number(factor: int, picture: Picture) -> None:
    larger = np.kron(picture, np.ones((factor, factor, 1), np.uint8))
    assert sharpness(larger) == pytest.approx(sharpness(picture), rel=0.02)


def test_a_small_picture_is_not_enlarged() -> None:
    checks = (np.indices((8, 8)).sum(0) % 2 * 255).astype(np.uint8)
    assert sharpness(checks) == float(cv2.Laplacian(checks, cv2.CV_32F).var())


@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (4000, 1, 3), (1, 513, 3)])
def test_any_shape_has_a_number(shape: tuple[int, ...]) -> None:
    assert sharpness(np.full(shape, 7, np.uint8)) == 0

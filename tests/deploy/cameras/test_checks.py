import time

import numpy as np
import pytest

from deploy.cameras import Frame
from deploy.cameras.checks import BLUR_EVERY_S, Checks, PictureCheck, black, blurred, decimated, glaring
from deploy.preprocess import Picture
from deploy.sharpness import sharpness

RNG = np.random.default_rng(0)
EVERYTHING = Checks(black_below=16, glare_above=0.5, blurred_below=5, frozen_s=3)


def noisy(mean: float, shape: tuple[int, ...] = (480, 640, 3)) -> Picture:
    return np.clip(RNG.normal(mean, mean / 20 + 1, shape), 0, 255).astype(np.uint8)


def frame(picture: Picture, at: float = 0) -> Frame:
    return Frame(picture, at, 1, "frame 1")


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (noisy(120), None),
        (noisy(120, (480, 640)), None),  # grey
        (noisy(30), None),  # a dark scene
        (np.zeros((480, 640, 3), np.uint8), "is black: 100% of it is darker than 16 of 255"),
        (noisy(2, (1080, 1920, 3)), "is black"),
        (np.full((480, 640, 3), 255, np.uint8), "100% of the picture is over-exposed, at most 50%"),
        (np.full((480, 640, 3), 120, np.uint8), "is blurred: sharpness 0, at least 5"),
        (np.zeros((1, 1, 3), np.uint8), "is black"),
    ],
)
def test_what_is_no_picture_is_told(picture: Picture, expected: str | None) -> None:
    trouble = PictureCheck(EVERYTHING).trouble(frame(picture))
    if expected is None:
        assert trouble is None
    else:
        assert trouble is not None
        assert expected in trouble
        assert ";" in trouble  # what to do


def test_a_black_picture_with_a_lamp_in_it_is_black_and_one_with_a_part_in_it_is_not() -> None:
    picture = noisy(3)
    picture[:20, :20] = 255
    assert black(decimated(picture), 16)
    picture[100:300, 100:300] = 90
    assert black(decimated(picture), 16) is None


def test_glare_counts_the_share_that_is_saturated() -> None:
    picture = noisy(120)
    picture[:192] = 255  # 40 %
    assert glaring(decimated(picture), 0.5) is None
    assert glaring(decimated(picture), 0.3) is not None


def test_nothing_is_checked_unless_it_is_asked_for() -> None:
    check = PictureCheck(Checks())
    for picture in (np.zeros((48, 64, 3), np.uint8), np.full((48, 64, 3), 255, np.uint8)):
        assert [check.trouble(frame(picture, at)) for at in range(20)] == [None] * 20


def test_identical_pictures_are_a_frozen_camera_and_a_changed_pixel_is_not() -> None:
    picture = noisy(120)
    check = PictureCheck(Checks(frozen_s=3))
    assert [check.trouble(frame(picture, at)) is not None for at in (0, 1, 2.9, 3, 4)] == [False, False, False, True, True]
    assert "has not changed for 5.0 s, at most 3.0 s" in str(check.trouble(frame(picture, 5)))
    assert check.trouble(frame(noisy(120), 6)) is None
    assert check.trouble(frame(noisy(120), 60)) is None


def test_blur_is_found_and_gone_within_a_second() -> None:
    sharp, flat = noisy(120), np.full((480, 640, 3), 120, np.uint8)
    assert blurred(sharp, sharpness(sharp) / 2) is None
    check = PictureCheck(Checks(blurred_below=20))
    assert check.trouble(frame(sharp, 10)) is None
    assert check.trouble(frame(flat, 10 + BLUR_EVERY_S)) is not None
    assert check.trouble(frame(sharp, 10.5 + BLUR_EVERY_S)) is not None
    assert check.trouble(frame(sharp, 10 + 2 * BLUR_EVERY_S)) is None


def test_checks_cost_little() -> None:
    check = PictureCheck(Checks(black_below=16, glare_above=0.5, frozen_s=3))
    pictures = [noisy(120, (1080, 1920, 3)) for _ in range(2)]
    took = []
    for at in range(50):
        started = time.perf_counter()
        assert check.trouble(frame(pictures[at % 2], at)) is None
        took.append(time.perf_counter() - started)
    assert np.median(took) < 0.005  # 0.4 ms on a quiet machine

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from deploy.inspector.locate import Belt, Box, WholePicture, cut
from deploy.inspector.track import OnBelt
from deploy.preprocess import Picture

BeltFrames = Callable[..., list[Picture]]


def test_whole_takes_every_frame_as_one_part() -> None:
    (one,) = WholePicture().find(np.zeros((30, 40, 3), np.uint8))
    assert one.box == one.window == Box(0, 0, 40, 30)
    assert one.whole


def test_a_window_beyond_the_frame_repeats_its_border() -> None:
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    square = cut(picture, Box(-2, 1, 4, 6))
    assert square.shape == (6, 4, 3)
    np.testing.assert_array_equal(square[0], picture[1, [0, 0, 0, 1]])
    np.testing.assert_array_equal(square[-1], picture[3, [0, 0, 0, 1]])


def test_parts_are_found_where_they_are(belt_frames: BeltFrames) -> None:
    belt = Belt(crop=120)
    for step, frame in enumerate(belt_frames([200, 320], {1})):
        lefts = [left for left in (12 * step - 200, 12 * step - 320) if -80 < left < 480]
        visible = {(max(0, left), min(480, left + 80)) for left in lefts if min(480, left + 80) - max(0, left) > 12}
        found = [sighting for sighting in belt.find(frame) if sighting.box.width > 14]  # slivers may be seen or not
        assert len(found) == len(visible), f"frame {step}"
        for sighting in found:
            begin, end = min(visible, key=lambda edges: abs(edges[0] - sighting.box.left))
            assert sighting.whole == (begin > 0 and end < 480)
            np.testing.assert_allclose(sighting.box, (begin, 80, end - begin, 80), atol=3)
            assert sighting.window[2:] == (120, 120)
            assert abs(sighting.window.left + 60 - (begin + end) / 2) <= 3


def test_an_empty_belt_shows_nothing_even_when_the_lamp_jumps(belt_frames: BeltFrames) -> None:
    belt, empty = Belt(crop=120), belt_frames([], set())[0]
    for gain in (1.0, 1.0, 2.5, 2.5, 0.4, 0.4):
        assert belt.find(np.clip(empty * gain, 0, 255).astype(np.uint8)) == []


def test_a_part_is_found_again_in_the_very_frame_in_which_the_lamp_jumps(belt_frames: BeltFrames) -> None:
    belt = Belt(crop=120)
    frames = belt_frames([200], set())
    belt.find(frames[20])
    (found,) = belt.find(np.clip(frames[25] * 2.0, 0, 255).astype(np.uint8))
    assert found.whole


def test_specks_are_no_parts_and_a_dark_part_is_one(belt_frames: BeltFrames) -> None:
    belt = Belt(crop=120)
    bright = 255 - belt_frames([200], set())[25]
    cv2.rectangle(bright, (20, 20), (28, 28), (0, 0, 0), cv2.FILLED)
    assert len(belt.find(bright)) == 1


def test_a_belt_lit_from_one_side(belt_frames: BeltFrames) -> None:
    belt = Belt(crop=120)
    gain = np.linspace(0.6, 1.6, 240)[:, None, None]
    for frame in belt_frames([200], set())[:60]:
        assert len(belt.find(np.clip(frame * gain, 0, 255).astype(np.uint8))) <= 1


def test_something_larger_than_the_crop_does_not_fit(belt_frames: BeltFrames) -> None:
    belt = Belt(crop=64)
    (found,) = belt.find(belt_frames([200], set())[30])
    assert not found.fits


@pytest.mark.parametrize(
    ("offsets", "parts"),
    [
        pytest.param([], 0, id="empty belt"),
        pytest.param([100], 1, id="one"),
        pytest.param([100, 220, 340, 460], 4, id="40 px apart"),
        pytest.param([100, 900], 2, id="far apart"),
    ],
)
def test_parts_of_a_film_are_counted_once(offsets: list[int], parts: int, belt_frames: BeltFrames) -> None:
    belt, tracker, left = Belt(crop=120), OnBelt(), []
    for sequence, frame in enumerate(belt_frames(offsets, set()), start=1):
        left += tracker.follow(sequence, frame, belt.find(frame)).left
    assert sum(one.counts for one in [*left, *tracker.end()]) == parts

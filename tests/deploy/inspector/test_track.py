from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.inspector.locate import Box, Sighting
from deploy.inspector.track import EveryFrame, Left, OnBelt

WIDTH, HEIGHT = 640, 360
PICTURE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)


def sighting(left: float, size: int, upright: bool = False) -> Sighting | None:
    """The visible piece of a part, or None when it is out of sight."""
    length = HEIGHT if upright else WIDTH
    begin, end = max(0, round(left)), min(length, round(left) + size)
    if end - begin < 8:
        return None
    box = Box(100, begin, size, end - begin) if upright else Box(begin, 100, end - begin, size)
    return Sighting(box, box, whole=begin > 0 and end < length)


def watch(frames: list[list[Sighting | None]]) -> tuple[list[dict[int, int]], list[Left]]:
    """Track frames whose rows are (one sighting per physical part); for each frame which part got which number."""
    tracker = OnBelt()
    numbered, left = [], []
    for sequence, row in enumerate(frames, start=1):
        present = [i for i, one in enumerate(row) if one is not None]
        followed = tracker.follow(sequence, PICTURE, [one for one in row if one is not None])
        numbered.append(dict(zip(present, followed.parts, strict=True)))
        left += followed.left
    return numbered, left + tracker.end()


def travel(lefts: list[float], size: int, speed: float, upright: bool = False) -> list[list[Sighting | None]]:
    """Frames from before the first part has come until after the last has gone."""
    steps = int((-min(lefts) + WIDTH) / abs(speed)) + 2
    return [[sighting(left + speed * step, size, upright) for left in lefts] for step in range(steps)]


@pytest.mark.parametrize(
    ("lefts", "upright"),
    [
        pytest.param([], False, id="empty belt"),
        pytest.param([-200], False, id="one part"),
        pytest.param([-200, -420], False, id="two parts 40 px apart"),
        pytest.param([-200, -1500], False, id="an empty belt between them"),
        pytest.param([-200, -420, -640], True, id="from top to bottom"),
    ],
)
def test_each_part_is_counted_once(lefts: list[float], upright: bool) -> None:
    _, left = watch(travel(lefts, 180, 14, upright) if lefts else [[]] * 20)
    assert [one.counts for one in left] == [True] * len(lefts)


def test_parts_may_come_from_the_right() -> None:
    frames = [[sighting(640 + offset - 14 * step, 180) for offset in (0, 220)] for step in range(70)]
    _, left = watch(frames)
    assert [one.counts for one in left] == [True, True]


def test_a_part_missing_in_one_frame_stays_the_same_part() -> None:
    frames = travel([-200, -420], 180, 14)
    frames[25] = [None, frames[25][1]]
    numbered, left = watch(frames)
    assert {row[0] for row in numbered if 0 in row} == {1}
    assert len(left) == 2


def test_a_belt_that_stops_and_goes_on() -> None:
    position = np.cumsum([14.0] * 30 + [0.0] * 40 + [14.0] * 50)
    _, left = watch([[sighting(-200 + x, 180), sighting(-420 + x, 180)] for x in position])
    assert [one.counts for one in left] == [True, True]


def test_frames_dropped_by_a_slow_loop() -> None:
    frames = travel([-200, -420, -640], 180, 14)
    tracker = OnBelt()
    left = []
    for index, row in enumerate(frames):
        if index < 20 or index % 6 == 0:
            left += tracker.follow(index + 1, PICTURE, [one for one in row if one is not None]).left
    assert [one.counts for one in [*left, *tracker.end()]] == [True] * 3


def test_a_part_that_was_leaving_as_we_began_does_not_count() -> None:
    _, left = watch([[sighting(500 + 14 * step, 180)] for step in range(20)])
    assert [one.counts for one in left] == [False]


def test_a_part_that_is_never_whole_counts() -> None:
    low = [Sighting(Box(left, 250, 180, 110), Box(left, 200, 256, 256), whole=False) for left in range(1, 455, 14)]
    _, left = watch([[one] for one in low])
    assert [one.counts for one in left] == [True]


def test_every_frame_is_another_part() -> None:
    tracker = EveryFrame()
    box = Box(0, 0, WIDTH, HEIGHT)
    followed = tracker.follow(1, PICTURE, [Sighting(box, box, whole=True)])
    assert (followed.parts, followed.left, tracker.unseen(), tracker.end()) == ([1], [Left(1, counts=True)], 2, [])


@settings(max_examples=100, deadline=None)
@given(data=st.data(), size=st.integers(60, 200), gaps=st.lists(st.floats(40, 900), min_size=1, max_size=7))
def test_parts_are_counted_exactly_whatever_the_gaps_speed_and_lost_detections(
    data: st.DataObject, size: int, gaps: list[float]
) -> None:
    speed = data.draw(st.floats(4, min(size / 2, (WIDTH - size) / 8)), label="speed")
    lefts = [float(left) for left in -np.cumsum([size + gap for gap in gaps])]
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), label="seed"))
    steps = int((WIDTH - lefts[-1]) / speed * 1.2) + 2
    position = np.cumsum(speed * rng.uniform(0.9, 1.1, steps))  # a motor is not quite even
    frames = [[sighting(left + x + rng.normal(0, 1), size) for left in lefts] for x in position]
    known = 2 + [row[0] is not None and row[0].whole for row in frames].index(True)  # from here on the belt's speed is known
    for part in range(len(lefts)):
        was_lost = False
        for row in frames[known:]:
            was_lost = not was_lost and rng.random() < 0.1
            if was_lost:
                row[part] = None

    numbered, left = watch(frames)

    assert sum(one.counts for one in left) == len(lefts)
    names = defaultdict(set)
    for found, row in zip(numbered, frames, strict=True):
        for part, number in found.items():
            one = row[part]
            if one is not None and one.whole:
                names[number].add(part)
    assert all(len(parts) == 1 for parts in names.values()), "two parts under one number"

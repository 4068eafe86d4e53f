"""Streams with a known delay of each frame: their stamps must not make any of them younger than it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.cameras.fresh import DRIFT, EMPTIED_S, SET_BACK_S, Freshness
from deploy.errors import CameraLost

PERIOD_S = 0.04
READ_S = 0.001
OPENED_AT = 100.0
Arrivals = list[tuple[float, float]]


def arrivals(delays_s: list[float], period_s: float = PERIOD_S, buffered: int = 28) -> Arrivals:
    """(captured, read) of each frame: taken at a steady rate, delayed on its way, read in order by one who reads all the time.

    The first `buffered` ones were taken before the first can be read, as with a network camera that takes a second to open.
    """
    frames = []
    read = OPENED_AT + buffered * period_s
    for index, delay_s in enumerate(delays_s):
        captured = OPENED_AT + index * period_s
        read = max(captured + delay_s, read + READ_S)
        frames.append((captured, read))
    return frames


def hidden_s(frames: Arrivals, has_clock: bool, fps: float | None = 25, rate: float = 1.0) -> list[float]:
    """By how much each frame that is handed out was made younger than it is; `rate`: of the camera's clock."""
    fresh = Freshness(OPENED_AT, fps)
    found = []
    for captured, read in frames:
        stamp = fresh.captured_at(read, 7 + rate * (captured - OPENED_AT) if has_clock else None)
        if stamp is not None:
            assert stamp <= read
            found.append(stamp - captured)
    return found


@pytest.mark.parametrize("has_clock", [True, False])
def test_the_old_frames_of_opening_are_passed_over(has_clock: bool) -> None:
    found = hidden_s(arrivals([0.005] * 100), has_clock)
    assert 65 <= len(found) <= 72
    assert max(found) < PERIOD_S


@pytest.mark.parametrize("has_clock", [True, False])
@given(at=st.integers(60, 150), held_s=st.floats(0.15, 5))
def test_what_was_held_up_is_as_old_as_it_is(has_clock: bool, at: int, held_s: float) -> None:
    delays = [0.005] * 300
    for index in range(at, min(300, at + int(held_s / PERIOD_S))):
        delays[index] = held_s - (index - at) * PERIOD_S
    found = hidden_s(arrivals(delays), has_clock)
    assert max(found) < 1.5 * PERIOD_S


@given(st.lists(st.floats(0, 0.03), min_size=100, max_size=300))
def test_jitter_is_no_delay_and_no_delay_is_hidden(jitter: list[float]) -> None:
    assert max(hidden_s(arrivals([0.005 + more for more in jitter]), has_clock=True)) < PERIOD_S + 0.035


@pytest.mark.parametrize("share", [0.9, 0.99])
def test_a_link_that_falls_behind_is_noticed_by_the_stream_clock(share: float) -> None:
    count = int(3 / PERIOD_S / (1 - share))
    frames = [(OPENED_AT + index * PERIOD_S, OPENED_AT + 1.2 + index * PERIOD_S / share) for index in range(count)]
    fresh = Freshness(OPENED_AT, 25)
    stamps = [fresh.captured_at(read, captured) for captured, read in frames]
    assert stamps[-1] is not None
    behind_s = frames[-1][1] - frames[0][1] - (frames[-1][0] - frames[0][0])
    stated_s = frames[-1][1] - stamps[-1]
    assert behind_s > 2.9
    assert stated_s > 0.85 * behind_s


@pytest.mark.parametrize("rate", [1 - DRIFT / 2, 1.0, 1 + DRIFT / 2, 1.05])
def test_a_camera_whose_clock_is_not_quite_ours_does_not_grow_old(rate: float) -> None:
    fresh = Freshness(OPENED_AT, 25)
    for captured, read in arrivals([0.005] * 25 * 600):
        stamp = fresh.captured_at(read, rate * captured)
    assert stamp is not None
    assert read - stamp < 2 * PERIOD_S


@pytest.mark.parametrize("true_fps", [2, 10, 50, 120])
def test_without_a_clock_a_camera_may_be_faster_or_slower_than_it_states(true_fps: int) -> None:
    period_s = 1 / true_fps
    frames = arrivals([0.005] * 20 * true_fps, period_s, buffered=true_fps)
    fresh = Freshness(OPENED_AT, fps=25)
    stamps = [(fresh.captured_at(read, None), captured, read) for captured, read in frames]
    first = next(read for stamp, _, read in stamps if stamp is not None)
    assert first - frames[0][1] < EMPTIED_S + 3 * period_s
    stamp, _, read = stamps[-1]
    assert stamp is not None
    assert read - stamp < 2 * period_s


@pytest.mark.parametrize("back_s", [0.25, 1, 30])
def test_a_clock_that_is_set_back_is_a_loss(back_s: float) -> None:
    fresh = Freshness(OPENED_AT, 25)
    frames = arrivals([0.005] * 101)
    for captured, read in frames[:100]:
        fresh.captured_at(read, captured)
    captured, read = frames[100]
    with pytest.raises(CameraLost, match=rf"was set back by {back_s - PERIOD_S:.1f} s"):
        fresh.captured_at(read, captured - back_s)


def test_a_clock_that_is_corrected_by_a_little_makes_frames_older_and_never_younger() -> None:
    fresh = Freshness(OPENED_AT, 25)
    for index, (captured, read) in enumerate(arrivals([0.005] * 200)):
        stamp = fresh.captured_at(read, captured - (SET_BACK_S if index >= 100 else 0))
        assert stamp is None or stamp < captured + PERIOD_S
    assert stamp is not None
    assert SET_BACK_S / 2 < read - stamp < SET_BACK_S + PERIOD_S

"""Cameras on threads of their own: newest first, in turn, and none waits for another."""

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from deploy.cameras import Camera, Frame, Unreadable
from deploy.cameras.life import NothingYet
from deploy.errors import CameraLost
from deploy.inspector.arrivals import Arrivals

PICTURE = np.zeros((2, 2, 3), np.uint8)


class Told(Camera):
    """Brings what `bring` returns or raises, for the number of its read from 1 on."""

    def __init__(self, bring: Callable[[int], Frame | None], live: bool = True) -> None:
        self.live = live
        self.fps = None
        self.reads = 0
        self.closed = threading.Event()
        self._bring = bring

    def read(self) -> Frame | None:
        self.reads += 1
        return None if self.closed.is_set() else self._bring(self.reads)

    def close(self) -> None:
        self.closed.set()


def frame(number: int) -> Frame:
    return Frame(PICTURE, time.monotonic(), number, f"frame {number}")


def every(seconds: float) -> Callable[[int], Frame]:
    def bring(number: int) -> Frame:
        time.sleep(seconds)
        return frame(number)

    return bring


def only(frames: int) -> Callable[[int], Frame | None]:
    return lambda number: frame(number) if number <= frames else None


def sequence(news: object) -> int:
    assert isinstance(news, Frame)
    return news.sequence


def test_of_a_recording_nothing_is_lost() -> None:
    arrivals = Arrivals([Told(only(50), live=False)])
    try:
        found = [sequence(one[1]) for one in arrivals if one is not None]
    finally:
        arrivals.close()
    assert found == list(range(1, 51))


def test_a_recording_is_read_one_frame_ahead_and_no_further() -> None:
    camera = Told(only(50), live=False)
    arrivals = Arrivals([camera])
    try:
        next(arrivals_of := iter(arrivals))
        end = time.monotonic() + 10
        while camera.reads < 2 and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.1)
        assert camera.reads == 2
        del arrivals_of
    finally:
        arrivals.close()
    assert camera.closed.is_set()


def test_of_a_live_camera_only_the_newest_is_handed_out() -> None:
    arrivals = Arrivals([Told(every(0.005))])
    try:
        stream = (one for one in arrivals if one is not None)
        first = sequence(next(stream)[1])
        time.sleep(0.5)
        second = sequence(next(stream)[1])
    finally:
        arrivals.close()
    assert second > first + 5


def test_cameras_take_turns() -> None:
    fast, slow = Told(every(0.0005)), Told(every(0.02))
    arrivals = Arrivals([fast, slow])
    found: list[int] = []
    try:
        for one in arrivals:
            if one is not None:
                found.append(one[0])
                time.sleep(0.03)  # both have news by then
            if len(found) == 20:
                break
    finally:
        arrivals.close()
    assert found.count(1) >= 7


def test_a_camera_that_hangs_or_is_lost_does_not_delay_another() -> None:
    thawed = threading.Event()

    def hang(_: int) -> Frame | None:
        thawed.wait(60)
        return None

    def lose(_: int) -> Frame | None:
        time.sleep(0.2)
        raise CameraLost("unplugged")

    arrivals = Arrivals([Told(hang), Told(lose), Told(every(0.005))])
    kinds: set[str] = set()
    judged = 0
    began = time.monotonic()
    try:
        for one in arrivals:
            assert one is None or one[0] != 0
            if one is not None:
                kinds.add(type(one[1]).__name__)
                judged += one[0] == 2
            if judged == 50 and "CameraLost" in kinds:
                break
        assert time.monotonic() - began < 30
    finally:
        thawed.set()
        arrivals.close()
    assert kinds == {"Frame", "CameraLost"}


def test_cameras_that_hang_at_the_end_are_waited_for_at_once() -> None:
    class Hanging(Told):
        def close(self) -> None:
            meeting.wait(60)  # passes only when all three are being closed
            super().close()

    meeting = threading.Barrier(3)
    cameras = [Hanging(every(0.005)) for _ in range(3)]
    arrivals = Arrivals(cameras)
    next(iter(arrivals))
    arrivals.close()
    assert not meeting.broken
    assert all(camera.closed.is_set() for camera in cameras)


def test_an_outage_is_told_even_when_the_next_frame_is_there_already() -> None:
    def bring(number: int) -> Frame | None:
        if number == 1:
            return frame(1)
        if number == 2:
            raise CameraLost("unplugged")
        return frame(3) if number == 3 else None

    arrivals = Arrivals([Told(bring)])
    try:
        stream = iter(arrivals)
        first = next(stream)
        time.sleep(0.3)
        found = [first, *stream]
    finally:
        arrivals.close()
    names = [type(one[1]).__name__ for one in found if one is not None]
    assert names in (["Frame", "CameraLost", "Frame"], ["CameraLost", "Frame"])


@pytest.mark.parametrize("live", [True, False])
def test_what_no_camera_should_raise_is_a_lost_camera(live: bool) -> None:
    def bring(number: int) -> Frame | None:
        if number == 1:
            raise RuntimeError("segment missing")
        return None

    arrivals = Arrivals([Told(bring, live)])
    try:
        (found,) = [one for one in arrivals if one is not None]
    finally:
        arrivals.close()
    assert isinstance(found[1], CameraLost)
    assert str(found[1]) == "segment missing"


def test_a_bad_picture_is_passed_on_and_waiting_for_a_trigger_is_no_news() -> None:
    def bring(number: int) -> Frame | None:
        if number == 1:
            raise NothingYet("waits for its trigger")
        if number == 2:
            raise Unreadable("torn", 1, "a.png")
        return None

    arrivals = Arrivals([Told(bring)])
    try:
        (found,) = [one for one in arrivals if one is not None]
    finally:
        arrivals.close()
    assert isinstance(found[1], Unreadable)


def test_a_camera_that_is_back_and_waits_for_its_trigger_is_news_once() -> None:
    def bring(number: int) -> Frame | None:
        time.sleep(0.05)
        if number == 2:
            raise CameraLost("unplugged")
        if number < 6:
            raise NothingYet("waits for its trigger")
        return None

    arrivals = Arrivals([Told(bring)])
    try:
        found = [type(one[1]) for one in arrivals if one is not None]
    finally:
        arrivals.close()
    assert found == [CameraLost, NothingYet]


def test_while_nothing_comes_the_reader_is_told_and_can_end() -> None:
    def bring(_: int) -> Frame | None:
        time.sleep(0.05)
        raise NothingYet("no trigger")

    camera = Told(bring)
    arrivals = Arrivals([camera])
    assert next(iter(arrivals)) is None
    arrivals.close()
    arrivals.close()
    assert camera.closed.is_set()

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from deploy.cameras import Camera, Frame
from deploy.cameras.newest import NewestOnly
from deploy.errors import CameraError, CameraLost

PICTURE = np.zeros((4, 4, 3), np.uint8)
Act = Callable[[], None]


class Scripted(Camera):
    """A live camera that delivers a frame for each permit; an exception among the permits is raised instead."""

    def __init__(self) -> None:
        self.live = True
        self.fps = 25.0
        self.closed = False
        self._permits: list[Exception | None] = []
        self._news = threading.Condition()
        self._sequence = 0

    def permit(self, *what: Exception | None) -> None:
        with self._news:
            self._permits.extend(what)
            self._news.notify_all()

    def read(self) -> Frame | None:
        with self._news:
            if not self._news.wait_for(lambda: self._permits or self.closed, timeout=10) or self.closed:
                return None
            what = self._permits.pop(0)
        if what is not None:
            raise what
        self._sequence += 1
        return Frame(PICTURE, time.monotonic(), self._sequence, "")

    def wait_until_idle(self) -> None:
        with self._news:
            while self._permits:
                self._news.wait(0.005)

    def close(self) -> None:
        with self._news:
            self.closed = True
            self._news.notify_all()


def newest(*cameras: Scripted | CameraError, patience_s: float = 10) -> NewestOnly:
    """NewestOnly that gets these cameras one after the other when it opens; an error among them is raised."""
    waiting = list(cameras)

    def open_again() -> Camera:
        camera = waiting.pop(0)
        if isinstance(camera, CameraError):
            raise camera
        return camera

    return NewestOnly(open_again, back_off_s=(0.01,), patience_s=patience_s)


def sequence_of(frame: Frame | None) -> int:
    assert frame is not None
    return frame.sequence


def test_a_slow_reader_gets_the_newest_frame_and_can_count_the_dropped_ones() -> None:
    camera = Scripted()
    with newest(camera) as live:
        camera.permit(None)
        assert sequence_of(live.read()) == 1
        camera.permit(*[None] * 20)
        camera.wait_until_idle()
        second = sequence_of(live.read())
        assert second >= 20  # the last may still be on its way
        camera.permit(None)
        camera.close()


def test_a_lost_camera_is_reopened_and_frames_count_on() -> None:
    first, second = Scripted(), Scripted()
    with newest(first, CameraError("still unplugged"), second) as live:
        first.permit(None)
        assert sequence_of(live.read()) == 1
        second.permit(None)
        first.permit(CameraLost("unplugged"))
        complaints = []
        while True:
            try:
                frame = live.read()
                break
            except CameraLost as error:
                complaints.append(str(error))
        assert complaints[0] in ("unplugged", "still unplugged")
        assert sequence_of(frame) == 2
        assert first.closed
        second.close()


def test_a_camera_that_hangs_does_not_hang_the_reader() -> None:
    camera = Scripted()
    with newest(camera, patience_s=0.1) as live:
        with pytest.raises(CameraLost, match=r"no frame for 0\.1 s"):
            live.read()
        camera.close()


def test_whatever_a_driver_raises_is_a_lost_camera() -> None:
    camera = Scripted()
    with newest(camera) as live:
        camera.permit(ValueError("a driver's own error"))
        with pytest.raises(CameraLost, match="a driver's own error"):
            live.read()


def test_the_end_of_a_recording_comes_after_its_last_frame() -> None:
    camera = Scripted()
    with newest(camera) as live:
        camera.permit(None)
        camera.wait_until_idle()
        camera.close()
        assert sequence_of(live.read()) == 1
        assert live.read() is None


def test_the_first_opening_fails_at_once() -> None:
    with pytest.raises(CameraError, match="not there"):
        newest(CameraError("not there"))

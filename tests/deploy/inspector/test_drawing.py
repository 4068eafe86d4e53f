"""What is slow stays off the hot path: lanes never hold it up, and what they cannot take is counted."""

import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from deploy.bundle import Bundle
from deploy.cameras import Camera, Frame
from deploy.engines import open_engine
from deploy.inspector import gallery
from deploy.inspector.drawing import WAITING, Drawing, Filming, drawing_of
from deploy.inspector.gallery import Gallery
from deploy.inspector.judge import Judge
from deploy.inspector.lane import Lane
from deploy.inspector.region import Region
from deploy.inspector.settings import CameraWanted, Settings
from deploy.inspector.spot import spot
from deploy.inspector.tally import Tally
from deploy.inspector.watch import Watch
from deploy.preprocess import Picture

PICTURE = np.full((200, 200, 3), 90, np.uint8)


class Slow:
    """A film that waits for leave before each frame."""

    def __init__(self, error: Exception | None = None) -> None:
        self.leave = threading.Event()
        self.names: list[str] = []
        self.closed = False
        self._error = error

    def add(self, frame: Frame, drawn: Picture) -> None:
        assert self.leave.wait(60)
        if self._error is not None:
            raise self._error
        self.names.append(frame.name)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def drawing(bundle: Bundle) -> Drawing:
    judge = Judge(bundle, "fp32", open_engine(bundle), bundle.judged("fp32", "onnxruntime").thresholds, "")
    turn = Watch("", [spot(Region(), None, None)]).turn(Frame(PICTURE, time.monotonic(), 1, "frame 1"), judge)
    found = drawing_of(turn, Tally())
    assert found is not None
    return found


def test_a_full_lane_loses_its_oldest_and_counts() -> None:
    lane: Lane[int] = Lane(3, must_pass=False)
    for item in range(10):
        lane.put(item)
    assert lane.dropped == 7
    assert [lane.get(0) for _ in range(4)] == [7, 8, 9, None]


def test_what_must_pass_waits_for_room_until_the_lane_is_closed() -> None:
    lane: Lane[int] = Lane(2, must_pass=True)

    def give() -> None:
        for item in range(6):
            lane.put(item)

    giver = threading.Thread(target=give, daemon=True)
    giver.start()
    assert [lane.get(10) for _ in range(3)] == [0, 1, 2]
    lane.close()
    giver.join(10)
    assert not giver.is_alive()


def test_a_slow_film_never_holds_up_a_live_camera_and_its_gaps_are_counted(drawing: Drawing) -> None:
    slow = Slow()
    filming = Filming(slow, must_pass=False)
    for _ in range(100):
        filming.add(drawing)  # would wait for ever, were it waited for
    slow.leave.set()
    filming.close()
    assert slow.closed
    assert len(slow.names) + filming.dropped == 100
    assert len(slow.names) <= WAITING + 1


def test_a_film_of_a_recording_is_complete(drawing: Drawing) -> None:
    slow = Slow()
    slow.leave.set()
    filming = Filming(slow, must_pass=True)
    for _ in range(5 * WAITING):
        filming.add(drawing)
    filming.close()
    filming.close()
    assert (len(slow.names), filming.dropped) == (5 * WAITING, 0)


@pytest.mark.parametrize("error", [MemoryError(), cv2.error("no more windows")], ids=["no memory", "OpenCV"])
def test_a_window_that_fails_is_closed_and_told_and_ends_nothing(
    error: Exception, drawing: Drawing, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        def __init__(self, pause_ms: int) -> None:
            self.closed = 0

        def show(self, drawn: Picture | None) -> bool:
            raise error

        def close(self) -> None:
            self.closed += 1
            raise cv2.error("was never there")

    class Recording(Camera):
        live, fps = False, None

        def read(self) -> None:
            return None

        def close(self) -> None:
            pass

    monkeypatch.setattr(gallery, "Window", Failing)
    shown = Gallery(Settings(Path("bundle"), (CameraWanted("belt.mp4"),), show=True), [Recording()])
    window = shown.window
    assert isinstance(window, Failing)
    for _ in range(2):
        giver = threading.Thread(target=lambda: [shown.add("", drawing) for _ in range(5)], daemon=True)
        giver.start()  # a recording waits for the window, but not for one that is no more
        assert shown.show(Tally(), 10)
        giver.join(10)
        assert not giver.is_alive()
    assert (shown.window, shown.is_wanted, shown.is_behind, window.closed) == (None, False, False, 1)
    (complaint,) = shown.complaints()
    assert complaint.startswith("the window was closed, it failed: ")
    shown.let_go()


def test_a_film_that_breaks_off_says_why_and_holds_up_nobody(drawing: Drawing) -> None:
    slow = Slow(OSError("no space left"))
    slow.leave.set()
    filming = Filming(slow, must_pass=True)
    for _ in range(3 * WAITING):
        filming.add(drawing)
    filming.close()
    assert filming.trouble == "no space left"
    assert filming.dropped == 3 * WAITING

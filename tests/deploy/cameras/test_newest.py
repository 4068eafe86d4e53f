import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import deploy
from deploy.cameras import Camera, Frame, Unreadable, state
from deploy.cameras.life import MAX_HUNG, Life, NothingYet
from deploy.cameras.newest import NewestOnly
from deploy.cameras.slot import Slot
from deploy.cameras.state import Change, Figures, History, State
from deploy.errors import CameraError, CameraLost, InspectionError, StaleFrame

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


def newest(*cameras: Scripted | CameraError, limit_s: float = 10) -> NewestOnly:
    """NewestOnly that gets these cameras one after the other when it opens; an error among them is raised."""
    waiting = list(cameras)

    def open_again() -> Camera:
        camera = waiting.pop(0)
        if isinstance(camera, CameraError):
            raise camera
        return camera

    return NewestOnly(open_again, back_off_s=(0.01,), limit_s=limit_s)


class Hanging(Camera):
    """Delivers some frames and then hangs inside read(), as a frozen driver does, until it is let go."""

    def __init__(self, frames: int = 1, age_s: float = 0) -> None:
        self.live = True
        self.fps = 25.0
        self.let_go = threading.Event()
        self.closed = threading.Event()
        self._frames = frames
        self._age_s = age_s
        self._sequence = 0

    def read(self) -> Frame | None:
        if self._sequence == self._frames:
            self.let_go.wait(20)
        self._sequence += 1
        return Frame(PICTURE, time.monotonic() - self._age_s, self._sequence, "late" if self.let_go.is_set() else "")

    def close(self) -> None:
        self.closed.set()


class Steady(Camera):
    """A hundred frames a second; `age_s`: how old each is when it is delivered."""

    def __init__(self, age_s: float = 0) -> None:
        self.live = True
        self.fps = 100.0
        self._age_s = age_s
        self._sequence = 0

    def read(self) -> Frame | None:
        time.sleep(0.01)
        self._sequence += 1
        return Frame(PICTURE, time.monotonic() - self._age_s, self._sequence, f"frame {self._sequence}")

    def close(self) -> None:
        pass


def wait_until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.005)


def outcomes(camera: Camera, until: Callable[[Frame | InspectionError], bool]) -> list[Frame | InspectionError]:
    """What read() brings, up to and with what is waited for."""
    found: list[Frame | InspectionError] = []
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            frame = camera.read()
            assert frame is not None
            found.append(frame)
        except InspectionError as error:
            found.append(error)
        if until(found[-1]):
            return found
    raise AssertionError(f"did not come: {found[-5:]}")


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


def test_a_driver_that_hangs_in_read_is_a_fault_within_the_limit_and_another_is_opened() -> None:
    hanging, steady = Hanging(), Steady()
    cameras = iter([hanging, steady])
    changes: list[Change] = []
    with NewestOnly(lambda: next(cameras), back_off_s=(0.01,), limit_s=0.5, listener=changes.append) as live:
        last = live.read()
        assert last is not None
        with pytest.raises(CameraLost, match=r"no frame for \d+\.\d s"):
            live.read()
        assert time.monotonic() - last.captured_at < 0.5 + 1.5  # and what a loaded machine sleeps too long
        after = outcomes(live, lambda what: isinstance(what, Frame))[-1]
        assert isinstance(after, Frame)
        assert after.sequence == 2
        hanging.let_go.set()  # what it still delivers is not handed out, and it closes itself
        assert hanging.closed.wait(5)
        names = {frame.name for _ in range(20) if (frame := live.read()) is not None}
        assert "late" not in names
        figures = live.figures()
    states = [change.after.value for change in changes if change.after is not State.STALLED]
    assert "".join(states).startswith("streaminglostreopeningstreaming")
    assert [change.before for change in changes[1:]] == [change.after for change in changes[:-1]]
    assert figures.reconnects_last_hour >= 1


def test_a_driver_that_hangs_while_it_opens_is_given_up() -> None:
    told = threading.Event()
    attempts: list[Camera] = []

    def open_again() -> Camera:
        if attempts:
            told.wait(20)
        attempts.append(Hanging())
        return attempts[-1]

    with NewestOnly(open_again, back_off_s=(0.01,), limit_s=0.3, open_limit_s=0.3) as live:
        assert sequence_of(live.read()) == 1
        outcomes(live, lambda what: "did not open within" in str(what))
        told.set()
        outcomes(live, lambda what: isinstance(what, Frame))


def test_a_camera_that_is_lost_again_and_again_leaves_nothing_behind() -> None:
    alive: weakref.WeakSet[Camera] = weakref.WeakSet()

    class Failing(Camera):
        def __init__(self) -> None:
            alive.add(self)
            self.live, self.fps = True, None
            self.frames = iter([Frame(np.zeros((1000, 1000, 3), np.uint8), time.monotonic(), 1, "frame 1")])

        def read(self) -> Frame:
            try:
                return next(self.frames)
            except StopIteration as error:
                raise CameraLost("unplugged") from error

        def close(self) -> None:
            pass

    gc.collect()
    gc.disable()  # what only the collector of cycles finds may stay for minutes, and so may its pictures
    try:
        with NewestOnly(Failing, back_off_s=(0.001,)) as live:
            wait_until(lambda: live.figures().reconnects_last_hour > 20)
            assert len(alive) < 5
    finally:
        gc.enable()


def test_the_first_opening_does_not_hang_either() -> None:
    never = threading.Event()

    def open_again() -> Camera:
        never.wait(20)
        raise CameraError("at last")

    with pytest.raises(CameraError, match="did not open within 0 s"):
        NewestOnly(open_again, open_limit_s=0.2)
    never.set()


def test_only_so_many_drivers_hang_at_once() -> None:
    cameras: list[Hanging] = []

    def open_again() -> Camera:
        cameras.append(Hanging())
        return cameras[-1]

    with NewestOnly(open_again, back_off_s=(0.01,), limit_s=0.1) as live:
        wait_until(lambda: "hang inside the camera's driver" in live.figures().why)
        time.sleep(0.5)
        assert len(cameras) == MAX_HUNG
        assert threading.active_count() < MAX_HUNG + 8
        cameras[0].let_go.set()
        wait_until(lambda: len(cameras) > MAX_HUNG)
        for camera in cameras:
            camera.let_go.set()


def test_a_process_ends_although_a_driver_hangs() -> None:
    code = """
import time
from deploy.cameras import Camera
from deploy.cameras.newest import NewestOnly
class Hangs(Camera):
    live, fps = True, None
    def read(self): time.sleep(600)
    def close(self): pass
camera = NewestOnly(Hangs, limit_s=0.2)
try: camera.read()
except Exception as error: print(error)
"""
    root = Path(deploy.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=root, check=True)
    assert done.stdout.startswith("no frame for")
    assert done.stderr == ""


def test_frames_that_come_too_late_are_stale_and_the_camera_is_opened_anew() -> None:
    cameras = chain([Steady(age_s=5)], repeat(Steady()))
    with NewestOnly(lambda: next(cameras), back_off_s=(0.01,), limit_s=0.3) as live:
        found = outcomes(live, lambda what: isinstance(what, Frame))
        assert any(isinstance(what, StaleFrame) and "5.0 s old" in str(what) for what in found)
        figures = live.figures()
        assert figures.dropped > 10


def test_a_frame_that_lay_too_long_is_not_handed_out() -> None:
    history = History()
    slot = Slot(0.05, history)
    assert slot.put(Life(), Frame(PICTURE, time.monotonic(), 1, "frame 1"))
    time.sleep(0.06)
    with pytest.raises(StaleFrame, match=r"at most 0\.1 s are allowed"):
        slot.take()
    assert (history.captured, history.dropped) == (1, 1)


def test_an_unreadable_picture_is_told_and_the_camera_stays_open() -> None:
    camera = Scripted()
    with newest(camera) as live:
        camera.permit(None)
        assert sequence_of(live.read()) == 1
        camera.permit(Unreadable("torn.png is empty", 2, "torn.png"))
        with pytest.raises(Unreadable, match=r"torn\.png is empty") as caught:
            live.read()
        assert (caught.value.sequence, caught.value.name) == (2, "torn.png")
        camera.permit(None)
        assert sequence_of(live.read()) == 3
        assert not camera.closed
        camera.close()


def test_silence_is_no_fault_where_frames_come_on_an_event() -> None:
    class Triggered(Steady):
        def read(self) -> Frame | None:
            time.sleep(0.05)
            raise NothingYet("no trigger")

    with NewestOnly(Triggered, limit_s=2) as live:
        for _ in range(3):
            with pytest.raises(NothingYet, match="none was due"):
                live.read()
        assert live.figures().state is State.STREAMING
        assert live.figures().age_s is None


def test_a_listener_that_fails_does_not_stop_the_watch() -> None:
    def listener(change: Change) -> None:
        raise RuntimeError(change.why)

    cameras = iter([Hanging(), Steady()])
    with NewestOnly(lambda: next(cameras), back_off_s=(0.01,), limit_s=0.2, listener=listener) as live:
        live.read()
        assert isinstance(outcomes(live, lambda what: isinstance(what, Frame))[-1], Frame)


def test_the_watch_goes_on_when_there_is_no_memory_for_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[State] = []

    def change(*words: Any) -> Change:
        if words[3] in (State.STALLED, State.LOST) and refused.count(words[3]) < 2:
            refused.append(words[3])
            raise MemoryError
        return Change(*words)

    monkeypatch.setattr(state, "Change", change)
    cameras = iter([Hanging(), Steady()])
    with NewestOnly(lambda: next(cameras), back_off_s=(0.01,), limit_s=0.3) as live:
        outcomes(live, lambda what: isinstance(what, Frame) and what.sequence > 1)
    assert refused.count(State.STALLED) == 2
    assert State.LOST in refused


def test_figures_say_the_true_rate_and_age() -> None:
    with NewestOnly(Steady) as live:
        wait_until(lambda: live.figures().captured > 100)
        figures: Figures = live.figures()
        assert 40 < figures.fps < 110  # stated is 100; a busy machine is slower
        assert figures.age_s is not None
        assert figures.age_s < 1
        assert figures.state_for_s > 0.5
        assert figures.reconnects_last_hour == 0
        assert figures.dropped == pytest.approx(figures.captured, abs=1)


@settings(max_examples=100)
@given(st.lists(st.sampled_from(["frame", "late", "torn", "gap", "take", "clear", "reopen"]), max_size=60))
def test_every_frame_is_accounted_for(acts: list[str]) -> None:
    history = History()
    slot, life, taken, sequence = Slot(2.0, history), Life(), 0, 0
    for act in acts:
        if act == "take":
            try:
                taken += slot.take() is not None
            except Unreadable:
                taken += 1
        elif act == "clear":
            slot.clear()
        elif act == "reopen":
            life, sequence = Life(), 0
        else:
            sequence += 3 if act == "gap" else 1
            name = f"frame {sequence}"
            frame = Frame(PICTURE, time.monotonic() - (9 if act == "late" else 0), sequence, name)
            slot.put(life, Unreadable("torn", sequence, name) if act == "torn" else frame)
        lies_here = not slot.is_empty()
        assert history.captured == taken + history.dropped + lies_here


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


@pytest.mark.parametrize("error", [ValueError("a driver's own error"), CameraError("rtsp://anna:secret@cam/belt: no stream")])
def test_what_the_first_opening_raises_is_told_without_its_frames_and_secrets(error: Exception) -> None:
    def open_again() -> Camera:
        raise error

    with pytest.raises(CameraError) as caught:
        NewestOnly(open_again)
    assert str(caught.value) == str(error).replace("secret", "***")
    assert "open_again" not in [entry.name for entry in caught.traceback]  # what stands there would keep the device

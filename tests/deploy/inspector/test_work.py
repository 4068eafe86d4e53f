"""The hot thread: what hangs, and what there is no memory for."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.bundle import Bundle
from deploy.cameras import Camera, Frame
from deploy.engines import Answer, open_engine
from deploy.errors import EngineError
from deploy.inspector import drawing, work
from deploy.inspector.arrivals import Arrivals
from deploy.inspector.drift import Drift, DriftWanted
from deploy.inspector.gallery import Gallery
from deploy.inspector.judge import Judge
from deploy.inspector.region import Region
from deploy.inspector.reload import Reloading
from deploy.inspector.settings import CameraWanted, Settings
from deploy.inspector.spot import Limits, spot
from deploy.inspector.step import Step
from deploy.inspector.tally import Tally
from deploy.inspector.watch import News, Turn, Watch
from deploy.inspector.work import Work
from deploy.preprocess import Picture
from deploy.store import Place, Store
from deploy.store.rows import part_row
from tests.deploy.redness import drawn_part
from tests.deploy.store.feed import SESSION, rows, wait_for


class Endless(Camera):
    """A live camera whose every second frame is one that nobody saw."""

    def __init__(self) -> None:
        self.live, self.fps = True, 100.0
        self.sequence = 0
        self.is_lost = False

    def read(self) -> Frame:
        time.sleep(0.01)
        while self.is_lost:
            time.sleep(0.01)
        self.sequence += 2
        return Frame(drawn_part(True), time.monotonic(), self.sequence, f"frame {self.sequence}")

    def close(self) -> None:
        self.is_lost = False


class Hanging:
    """An engine that does not answer for as long as it is told so."""

    def __init__(self, bundle: Bundle) -> None:
        self._engine = open_engine(bundle)
        self.name = self._engine.name
        self.answers = threading.Event()
        self.answers.set()

    def infer(self, frames: Picture) -> Answer:
        self.answers.wait()
        return self._engine.infer(frames)


class Rig:
    """A session's parts, without its main thread."""

    def __init__(self, bundle: Bundle, folder: Path, gallery: Gallery | None = None, drift: Drift | None = None) -> None:
        self.engine, self.tally, self.camera = Hanging(bundle), Tally(), Endless()
        self.store = Store(folder / "store.sqlite", SESSION)
        self.watch = Watch("top", [spot(Region(), None, Limits(60_000))])
        wanted = Settings(folder, (CameraWanted("0", "top"),))
        self.gallery = gallery or Gallery(wanted, [self.camera])
        thresholds = bundle.judged("fp32", "onnxruntime").thresholds
        reloading = Reloading(Judge(bundle, "fp32", self.engine, thresholds, ""), folder, lambda _: pytest.fail("no reload"))
        arrivals = Arrivals([self.camera])
        self.work = Work(arrivals, [self.watch], reloading, self.store, self.tally, self.gallery, 0.3, lambda _: None, drift)

    def parts(self) -> int:
        return self.tally.parts

    @contextmanager
    def running(self) -> Iterator[None]:
        self.work.start()
        try:
            yield
        finally:
            self.engine.answers.set()
            self.work.end()
            self.store.close()


@pytest.fixture
def rig(bundle: Bundle, tmp_path: Path) -> Rig:
    return Rig(bundle, tmp_path)


def test_an_engine_that_hangs_for_a_while_is_a_fault_and_no_longer_a_complaint_when_it_answers(rig: Rig) -> None:
    with rig.running():
        wait_for(lambda: rig.parts() >= 3)
        rig.work.look()
        assert rig.tally.faults == 0
        rig.engine.answers.clear()
        wait_for(lambda: rig.work.stuck_s() > 0.35)
        before = rig.parts()
        for _ in range(3):
            rig.work.look()
        assert rig.tally.faults == 1, "once for each frame that hangs"
        assert "the engine hangs" in str(rig.tally.complaint)
        assert rig.parts() == before
        rig.engine.answers.set()
        wait_for(lambda: rig.parts() > before + 3)
        assert rig.tally.complaint is None
    assert rig.work.error is None
    ((kind, message, frame),) = rows(rig.store.path, "SELECT kind, message, frame FROM faults WHERE camera = 'top'")
    assert (kind, "has been in hand for 0." in str(message)) == ("engine", True)
    assert frame is not None
    account = rig.tally.cameras["top"]
    assert account.judged + account.dropped + account.faulted == rig.watch.last


def test_an_engine_that_never_answers_again_is_left_behind_with_its_frame_faulted(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "END_S", 0.2)
    with rig.running():
        wait_for(lambda: rig.parts() >= 3)
        rig.engine.answers.clear()
        wait_for(lambda: rig.work.stuck_s() > 0.35)
        rig.work.look()
        before = rig.parts()
        rig.work.end()
        rig.work.end()
        assert isinstance(rig.work.error, EngineError)
        assert "the engine hangs" in str(rig.work.error)
        assert "it was left behind" in str(rig.work.error)
        account = rig.tally.cameras["top"]
        assert account.faulted == 1
        assert account.judged + account.dropped + account.faulted == rig.watch.last
        rig.engine.answers.set()  # whatever it says now is too late
        assert rig.work.done.wait(10)
        assert rig.parts() == before


def test_a_frame_that_hangs_after_it_was_judged_is_told_and_counted_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as where a picture is drawn: the systemd watchdog must not be fed for ever."""
    goes_on, draw = threading.Event(), rig.work._draw
    goes_on.set()

    def drawn(turn: Turn) -> None:
        goes_on.wait()
        draw(turn)

    monkeypatch.setattr(rig.work, "_draw", drawn)
    monkeypatch.setattr(work, "END_S", 0.2)
    with rig.running():
        wait_for(lambda: rig.parts() >= 3)
        goes_on.clear()
        wait_for(lambda: rig.work.stuck_s() > 0.35)
        rig.work.look()
        assert "in hand for" in str(rig.tally.complaint)
        rig.work.end()
        goes_on.set()
        assert rig.work.done.wait(10)
    assert isinstance(rig.work.error, EngineError)
    account = rig.tally.cameras["top"]
    assert (account.faulted, account.judged + account.dropped) == (0, rig.watch.last)


def test_a_frame_is_counted_once_whenever_its_engine_answers(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where it does so after the end has seen that it hangs, and before this is counted."""
    monkeypatch.setattr(work, "END_S", 0.2)
    name_of = Watch.name_of

    def named(watch: Watch, news: News) -> str:
        rig.engine.answers.set()
        time.sleep(0.3)
        return name_of(watch, news)

    with rig.running():
        wait_for(lambda: rig.parts() >= 3)
        rig.engine.answers.clear()
        wait_for(lambda: rig.work.stuck_s() > 0.1)
        monkeypatch.setattr(Watch, "name_of", named)
        rig.work.end()
        assert rig.work.done.wait(10)
    account = rig.tally.cameras["top"]
    assert account.judged + account.dropped + account.faulted == rig.watch.last


def test_no_complaint_stays_about_a_frame_that_was_answered_just_then(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = Watch.hangs

    def answered(watch: Watch, *words: Any) -> Turn:
        turn = hangs(watch, *words)
        rig.camera.is_lost = True  # no next frame would take it back
        rig.engine.answers.set()
        time.sleep(0.3)
        return turn

    monkeypatch.setattr(Watch, "hangs", answered)
    with rig.running():
        wait_for(lambda: rig.parts() >= 3)
        rig.engine.answers.clear()
        wait_for(lambda: rig.work.stuck_s() > 0.35)
        rig.work.look()
        wait_for(lambda: rig.work.stuck_s() == 0)
        wait_for(lambda: rig.tally.complaint is None, 5)


def test_drift_that_fails_is_noted_once_and_judging_goes_on(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ValueError("not a number")

    monkeypatch.setattr(Drift, "add", fails)
    rig = Rig(bundle, tmp_path, drift=Drift([("top", [Region()])], DriftWanted(), tmp_path, pytest.fail))
    with rig.running():
        wait_for(lambda: rig.parts() >= 5)
    assert rig.work.error is None
    told = rows(rig.store.path, "SELECT message FROM events WHERE kind = 'drift'")
    assert told == [("drift is no longer watched (not a number)",)]


def test_the_record_is_handed_frames_that_hold_no_judge(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held of a part in sight would keep the engine of a bundle that is long replaced."""
    given: list[Frame | None] = []
    add = rig.store.add

    def noted(step: Step, place: Place) -> int:
        given.append(step.frame)
        return add(step, place)

    judge = rig.work._reloading.judge
    monkeypatch.setattr(rig.camera, "live", False)  # only a recording's frames are prepared
    monkeypatch.setattr(rig.store, "add", noted)
    monkeypatch.setattr(rig.work._arrivals, "_prepare", lambda _, frame: rig.watch.prepared(frame, judge))
    with rig.running():
        wait_for(lambda: rig.parts() >= 3)
    assert {type(frame) for frame in given if frame is not None} == {Frame}


def test_work_that_never_began_ends(rig: Rig) -> None:
    rig.work.end()
    rig.store.close()
    assert rig.work.error is None


def test_what_there_is_no_memory_for_is_counted_and_judging_goes_on(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera = Endless()
    gallery = Gallery(Settings(tmp_path, (CameraWanted("0", "top"),), annotate=tmp_path / "film"), [camera])
    rig = Rig(bundle, tmp_path, gallery)
    is_full = threading.Event()

    def refuse_when_full(real: Callable[..., Any]) -> Callable[..., Any]:
        def called(*words: Any, **more: Any) -> Any:
            if is_full.is_set():
                raise MemoryError
            return real(*words, **more)

        return called

    monkeypatch.setattr("deploy.store.recorder.part_row", refuse_when_full(part_row))
    monkeypatch.setattr(work, "drawing_of", refuse_when_full(drawing.drawing_of))
    with rig.running():
        wait_for(lambda: rig.parts() >= 3)
        is_full.set()
        seen = rig.parts()
        wait_for(lambda: rig.parts() >= seen + 5)
        is_full.clear()
        seen = rig.parts()
        wait_for(lambda: rig.parts() >= seen + 5)
    gallery.finish()
    assert rig.work.error is None
    assert rig.store.rows_lost >= 4
    assert gallery.dropped >= 4
    ((written,),) = rows(rig.store.path, "SELECT count(*) FROM parts")
    assert written == rig.parts() - rig.store.rows_lost

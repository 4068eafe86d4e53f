"""When a station is not ready: its camera brings nothing, or nothing that could be judged."""

import time
from dataclasses import replace

import pytest

from deploy.bundle import Bundle
from deploy.cameras import Frame
from deploy.cameras.life import NothingYet
from deploy.engines import Answer, Engine, open_engine
from deploy.errors import CameraLost
from deploy.inspector import tally as tally_module
from deploy.inspector.judge import Judge
from deploy.inspector.region import Region
from deploy.inspector.spot import Limits, spot
from deploy.inspector.tally import Tally
from deploy.inspector.watch import Watch
from deploy.preprocess import Picture
from tests.deploy.redness import drawn_part


class Raising(Engine):
    name = "broken"

    def infer(self, frames: Picture) -> Answer:
        raise RuntimeError("the device is gone")


class Line:
    """One camera's frames, counted."""

    def __init__(self, bundle: Bundle) -> None:
        self.judge = Judge(bundle, "fp32", open_engine(bundle), bundle.judged("fp32", "onnxruntime").thresholds, "")
        self.tally = Tally()
        self._watch = Watch("top", [spot(Region(), None, Limits(60_000))])

    def frame(self, is_stale: bool = False, raises: bool = False) -> None:
        captured_at = time.monotonic() - (100 if is_stale else 0)
        frame = Frame(drawn_part(True), captured_at, self._watch.last + 1, "frame")
        judge = replace(self.judge, engine=Raising()) if raises else self.judge
        self.tally.add(self._watch.turn(frame, judge))

    def wait(self) -> None:
        self.tally.add(self._watch.turn(NothingYet("waits for its trigger"), self.judge))

    def lose(self) -> None:
        self.tally.add(self._watch.turn(CameraLost("unplugged"), self.judge))


@pytest.fixture
def line(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.setattr(tally_module, "BAD_S", 0.1)
    return Line(bundle)


@pytest.mark.parametrize(("trouble", "message"), [("raises", "the device is gone"), ("is_stale", "old")])
def test_faults_only_are_a_complaint_until_a_frame_is_judged(trouble: str, message: str, line: Line) -> None:
    line.frame(**{trouble: True})
    assert line.tally.complaint is None, "one frame is none"
    time.sleep(0.11)
    line.frame(**{trouble: True})
    assert str(line.tally.complaint).startswith("top: ")
    assert message in str(line.tally.complaint)
    assert line.tally.lost() == ["top"]
    line.wait()
    assert line.tally.complaint is not None, "that it waits says nothing of the next frame"
    line.frame()
    assert line.tally.complaint is None
    line.frame(**{trouble: True})
    assert line.tally.complaint is None, "it counts from the last frame that was judged"


def test_a_camera_that_is_back_with_faults_only_is_not_ready(line: Line) -> None:
    line.frame()
    line.lose()
    assert line.tally.complaint == "top: unplugged"
    line.frame(raises=True)
    assert line.tally.complaint == "top: unplugged"
    time.sleep(0.11)
    line.frame(raises=True)
    assert "the device is gone" in str(line.tally.complaint)
    line.frame()
    assert line.tally.complaint is None

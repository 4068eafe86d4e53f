import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from deploy.bundle import Bundle
from deploy.cameras import Camera, Frame, Unreadable
from deploy.engines import Answer, Engine, open_engine
from deploy.errors import CameraError, CameraLost, EngineError
from deploy.inspector.judge import Judge
from deploy.inspector.locate import Belt, Locator, WholePicture
from deploy.inspector.loop import inspect
from deploy.inspector.region import Region
from deploy.inspector.spot import Limits, Spot
from deploy.inspector.step import Step
from deploy.inspector.tally import Tally
from deploy.inspector.track import EveryFrame, OnBelt, Tracker
from deploy.inspector.watch import News, Turn, Watch
from deploy.preprocess import Picture
from deploy.verdict import Verdict

DrawPart = Callable[..., Picture]
BeltFrames = Callable[..., list[Picture]]


class Script(Camera):
    """Delivers pictures, raises what is no picture; `age_s` is how old a live frame is when it arrives."""

    def __init__(self, script: Sequence[Picture | Exception | int], live: bool = False, age_s: float = 0) -> None:
        self.live = live
        self.fps = None
        self.age_s = age_s
        self._script = iter(script)
        self._sequence = 0

    def read(self) -> Frame | None:
        what = next(self._script, None)
        if isinstance(what, CameraLost):
            raise what
        self._sequence += 1
        name = f"frame {self._sequence}"
        if isinstance(what, int):  # so many frames were dropped
            self._sequence += what - 1
            return self.read()
        if isinstance(what, Exception):
            raise Unreadable(str(what), self._sequence, name)
        return None if what is None else Frame(what, time.monotonic() - self.age_s, self._sequence, name)

    def close(self) -> None:
        pass


class Flaky:
    """An engine that fails or answers nonsense on some of its calls."""

    def __init__(self, engine: Engine, fails: dict[int, float | None]) -> None:
        self.name = engine.name
        self.calls = 0
        self._engine = engine
        self._fails = fails

    def infer(self, frames: Picture) -> Answer:
        self.calls += 1
        answer = self._engine.infer(frames)
        if self.calls not in self._fails:
            return answer
        nonsense = self._fails[self.calls]
        if nonsense is None:
            raise EngineError("out of memory")
        return replace(answer, probability=np.full((1, 2), nonsense, np.float32))


def in_step(camera: Camera) -> Iterator[tuple[int, News]]:
    """Everything that the camera brings, in order and without threads."""
    while True:
        try:
            news: News | None = camera.read()
        except (CameraError, Unreadable) as error:
            news = error
        if news is None:
            return
        yield 0, news


Turns = Callable[..., list[Turn]]


@pytest.fixture
def turns(bundle: Bundle) -> Turns:
    def turns(
        camera: Camera,
        gate: tuple[Locator, Tracker] | None = None,
        engine: Engine | None = None,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> list[Turn]:
        locator, tracker = gate or (WholePicture(), EveryFrame())
        judge = Judge(bundle, "fp32", engine or open_engine(bundle), bundle.judged("fp32", "onnxruntime").thresholds, "")
        watch = Watch("", [Spot(Region(), locator, tracker, Limits(60_000) if camera.live else None)])
        return [turn for turn in inspect(in_step(camera), [watch], lambda: judge, is_stopping) if turn is not None]

    return turns


Steps = Callable[..., list[Step]]


@pytest.fixture
def watch(turns: Turns) -> Steps:
    """One step for each turn of the only region."""
    return lambda *words, **more: [turn.steps.get("", Step()) for turn in turns(*words, **more)]


def verdicts(steps: list[Step]) -> list[str]:
    return [part.verdict.value for step in steps for part in step.parts]


def faults(steps: list[Step]) -> list[str]:
    return [fault.kind for step in steps for fault in step.faults]


def test_every_picture_gets_its_verdict_and_the_defect_its_place(watch: Steps, draw_part: DrawPart) -> None:
    steps = watch(Script([draw_part(False), draw_part(True, side=400)]))
    assert verdicts(steps) == ["GOOD", "DEFECTIVE"]
    (part,) = steps[1].parts
    assert part.peak == pytest.approx((250, 200), abs=25)
    assert steps[1].latency_ms is not None


def test_parts_on_a_belt_get_one_verdict_each(watch: Steps, belt_frames: BeltFrames) -> None:
    steps = watch(Script(belt_frames([100, 220, 800], {1})), (Belt(crop=120), OnBelt()))
    assert verdicts(steps) == ["GOOD", "DEFECTIVE", "GOOD"]
    assert all(part.views > 20 for step in steps for part in step.parts)
    assert not faults(steps)


def test_a_recording_that_ends_with_a_part_in_sight_still_judges_it(watch: Steps, belt_frames: BeltFrames) -> None:
    steps = watch(Script(belt_frames([100], {0})[:25]), (Belt(crop=120), OnBelt()))
    assert verdicts(steps) == ["DEFECTIVE"]
    assert steps[-1].frame is None


def test_an_unreadable_picture_is_a_fault_and_the_rest_is_inspected(watch: Steps, draw_part: DrawPart) -> None:
    steps = watch(Script([draw_part(False), ValueError("bad.png is empty"), draw_part(True)]))
    assert verdicts(steps) == ["GOOD", "FAULT", "DEFECTIVE"]
    assert faults(steps) == ["picture"]
    assert steps[1].parts[0].reason == "bad.png is empty"


def test_on_a_belt_an_unreadable_frame_is_no_part(watch: Steps, belt_frames: BeltFrames) -> None:
    frames: list[Picture | Exception] = list(belt_frames([100], set()))
    frames[20] = ValueError("torn")
    steps = watch(Script(frames), (Belt(crop=120), OnBelt()))
    assert verdicts(steps) == ["GOOD"]
    assert faults(steps) == ["picture"]


@pytest.mark.parametrize("trouble", [None, float("nan"), 1.5])
def test_an_engine_that_fails_is_a_fault_and_the_next_part_is_judged(
    trouble: float | None, watch: Steps, draw_part: DrawPart, bundle: Bundle
) -> None:
    steps = watch(Script([draw_part(True)] * 3), engine=Flaky(open_engine(bundle), {2: trouble}))
    assert verdicts(steps) == ["DEFECTIVE", "FAULT", "DEFECTIVE"]
    assert faults(steps) == ["engine"]


def test_a_part_with_other_good_views_survives_an_engine_error(watch: Steps, belt_frames: BeltFrames, bundle: Bundle) -> None:
    steps = watch(Script(belt_frames([100], {0})), (Belt(crop=120), OnBelt()), Flaky(open_engine(bundle), {3: None, 4: None}))
    (part,) = [part for step in steps for part in step.parts]
    assert (part.verdict, part.faults) == (Verdict.DEFECTIVE, 2)


@pytest.mark.parametrize(("live", "expected"), [(True, "FAULT"), (False, "GOOD")])
def test_an_old_frame_of_a_live_camera_is_a_fault(live: bool, expected: str, watch: Steps, draw_part: DrawPart) -> None:
    steps = watch(Script([draw_part(False)] * 2, live=live, age_s=90))
    assert verdicts(steps) == [expected, expected]
    assert faults(steps) == (["stale", "stale"] if live else [])


def test_an_old_frame_without_a_part_is_a_fault_too(watch: Steps, belt_frames: BeltFrames) -> None:
    steps = watch(Script(belt_frames([], set())[:1], live=True, age_s=90), (Belt(crop=120), OnBelt()))
    assert (verdicts(steps), faults(steps)) == ([], ["stale"])


def test_a_lost_camera_is_one_fault_that_ends_with_how_long_it_lasted(watch: Steps, draw_part: DrawPart) -> None:
    lost = CameraLost("unplugged")
    steps = watch(Script([draw_part(True), lost, lost, lost, draw_part(False)], live=True))
    assert verdicts(steps) == ["DEFECTIVE", "GOOD"]
    assert faults(steps) == ["camera"]
    assert [len(step.parts) for step in steps[1:4]] == [0, 0, 0], "the last verdict must not be repeated"
    recovered = steps[4].recovered
    assert recovered is not None
    assert recovered.number == steps[1].faults[0].number
    assert recovered.lasted_s is not None


def test_a_part_in_sight_when_the_camera_is_lost_is_a_fault(watch: Steps, belt_frames: BeltFrames) -> None:
    frames = belt_frames([100], {0})
    steps = watch(Script([*frames[:25], CameraLost("unplugged"), *frames[-3:]], live=True), (Belt(crop=120), OnBelt()))
    assert verdicts(steps[:26]) == ["FAULT"]
    (part,) = [part for step in steps for part in step.parts]
    assert "unplugged" in str(part.reason)


def test_two_parts_in_contact_are_a_fault(watch: Steps, belt_frames: BeltFrames) -> None:
    steps = watch(Script(belt_frames([100, 180], set())), (Belt(crop=120), OnBelt()))
    assert verdicts(steps) == ["FAULT"]
    (part,) = [part for step in steps for part in step.parts]
    assert "keep the parts apart" in str(part.reason)


def test_the_tally_counts_what_happened(turns: Turns, draw_part: DrawPart) -> None:
    tally = Tally()
    assert tally.latency_ms() == {"p50": None, "p99": None}
    lost = CameraLost("unplugged")
    for turn in turns(Script([draw_part(True), 3, draw_part(False), ValueError("bad"), lost], live=True)):
        tally.add(turn)
    tally.close("", captured=9, last=6)
    assert (tally.parts, tally.frames_seen, tally.frames_dropped, tally.faults) == (3, 2, 6, 2)
    assert tally.verdicts == {Verdict.GOOD: 1, Verdict.DEFECTIVE: 1, Verdict.REVIEW: 0, Verdict.FAULT: 1}
    account = tally.cameras[""]
    assert (account.judged, account.dropped, account.faulted) == (2, 6, 1)
    assert account.captured == account.judged + account.dropped + account.faulted
    assert tally.complaint == "unplugged"
    assert None not in tally.latency_ms().values()


def test_the_loop_stops_when_asked(watch: Steps, draw_part: DrawPart) -> None:
    asked = iter([False, False, True])
    steps = watch(Script([draw_part(False)] * 9), is_stopping=lambda: next(asked))
    assert verdicts(steps) == ["GOOD", "GOOD"]

"""What is made of a recording's frames ahead of their turn changes nothing about what is decided."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from deploy.bundle import Bundle
from deploy.cameras import Camera, Frame
from deploy.engines import Answer, open_engine
from deploy.inspector import spot as spot_module
from deploy.inspector.ahead import Prepared, ahead_of
from deploy.inspector.arrivals import Arrivals
from deploy.inspector.judge import Judge
from deploy.inspector.locate import Box
from deploy.inspector.region import Region
from deploy.inspector.spot import spot
from deploy.inspector.watch import Turn, Watch
from deploy.preprocess import Picture, Preprocessing

DrawPart = Callable[..., Picture]
TRIANGLE = ((20, 20), (220, 30), (200, 220))


@pytest.fixture
def judge(bundle: Bundle) -> Judge:
    thresholds = bundle.spec.models["fp32"].engines["onnxruntime"].thresholds
    return Judge(bundle, "fp32", open_engine(bundle), thresholds, "0" * 64)


def frame(picture: Picture, sequence: int = 1) -> Frame:
    return Frame(picture, time.monotonic(), sequence, f"frame {sequence}")


def told(turn: Turn) -> list[tuple[object, ...]]:
    parts = [(name, part) for name, step in turn.steps.items() for part in step.parts]
    return [(name, part.verdict, part.probability, part.peak, part.reason) for name, part in parts]


@pytest.mark.parametrize(
    "regions",
    [
        [Region()],
        [Region("left", Box(0, 0, 120, 240)), Region("right", Box(120, 0, 120, 240))],
        [Region("triangle", polygon=TRIANGLE)],
    ],
    ids=["whole", "boxes", "polygon"],
)
def test_the_verdict_is_the_same_and_the_engine_gets_the_same(
    regions: Sequence[Region], judge: Judge, draw_part: DrawPart
) -> None:
    plain, ahead = (Watch("", [spot(region, None, None) for region in regions]) for _ in range(2))
    for sequence, defective in enumerate((True, False, True), 1):
        shown = frame(draw_part(defective, 240), sequence)
        prepared = ahead.prepared(shown, judge)
        assert isinstance(prepared, Prepared)
        assert set(prepared.ahead) == {region.name for region in regions}
        assert told(ahead.turn(prepared, judge)) == told(plain.turn(shown, judge))


def test_what_was_made_for_another_judge_is_made_again(judge: Judge, bundle: Bundle, draw_part: DrawPart) -> None:
    smaller = Preprocessing(height=64, width=64, pad_bgr=(0, 0, 0))
    other = replace(judge, bundle=replace(bundle, spec=bundle.spec.model_copy(update={"preprocessing": smaller})))
    watch = Watch("", [spot(Region(), None, None)])
    prepared = watch.prepared(frame(draw_part(True, 240)), other)
    assert ahead_of(prepared, "", judge) is None
    (found,) = told(watch.turn(prepared, judge))
    assert found[1] == "DEFECTIVE"


def test_nothing_is_made_ahead_of_what_must_be_looked_for(judge: Judge, draw_part: DrawPart) -> None:
    shown = frame(draw_part(True, 240))
    assert Watch("", [spot(Region(), 120, None)]).prepared(shown, judge) is shown
    assert Watch("", [spot(Region("out", Box(200, 0, 100, 100)), None, None)]).prepared(shown, judge) is shown


def test_what_fails_ahead_is_met_and_told_in_its_turn(judge: Judge, draw_part: DrawPart, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> Picture:
        raise MemoryError("no memory")

    monkeypatch.setattr(spot_module, "letterbox", no_memory)
    watch, shown = Watch("", [spot(Region(), None, None)]), frame(draw_part(True, 240))
    assert watch.prepared(shown, judge) is shown
    monkeypatch.undo()
    (found,) = told(watch.turn(shown, judge))
    assert found[1] == "DEFECTIVE"


class Three(Camera):
    def __init__(self, live: bool) -> None:
        self.live, self.fps = live, None
        self._left = [frame(np.zeros((8, 8, 3), np.uint8), sequence) for sequence in (3, 2, 1)]

    def read(self) -> Frame | None:
        return self._left.pop() if self._left else None

    def close(self) -> None:
        pass


@pytest.mark.parametrize("live", [False, True])
def test_frames_of_recordings_are_prepared_on_the_readers_thread_and_live_ones_are_not(live: bool) -> None:
    seen: list[int] = []

    def prepare(index: int, one: Frame) -> Frame:
        seen.append(one.sequence)
        return replace(one, name=f"prepared {index}")

    arrivals = Arrivals([Three(live)], prepare)
    names = {news.name for one in arrivals if one is not None and isinstance(news := one[1], Frame)}
    assert (seen, "prepared 0" in names) == (([], False) if live else ([1, 2, 3], True))
    arrivals.close()


def test_the_engine_is_given_what_was_made(judge: Judge, draw_part: DrawPart) -> None:
    given: list[Picture] = []

    class Watched:
        name = judge.engine.name

        def infer(self, frames: Picture) -> Answer:
            given.append(frames)
            return judge.engine.infer(frames)

    watched = replace(judge, engine=Watched())
    watch = Watch("", [spot(Region(), None, None)])
    prepared = watch.prepared(frame(draw_part(True, 240)), watched)
    watch.turn(prepared, watched)
    made = ahead_of(prepared, "", watched)
    assert made is not None
    assert np.shares_memory(given[0], made.letterboxed), "no copy on the hot path"

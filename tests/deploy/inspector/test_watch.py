"""One camera: several regions, limits, checks and outages; every frame is judged, dropped or faulted."""

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.bundle import Bundle
from deploy.cameras import Frame, Unreadable
from deploy.cameras.checks import Checks, PictureCheck
from deploy.cameras.life import NothingYet
from deploy.engines import Answer, Engine, open_engine
from deploy.errors import CameraError, CameraLost, StaleFrame
from deploy.inspector.judge import Judge
from deploy.inspector.locate import Box
from deploy.inspector.part import PartResult, PartSoFar
from deploy.inspector.region import Region
from deploy.inspector.spot import RELOADED, Limits, Spot, _peak, spot
from deploy.inspector.step import Step
from deploy.inspector.tally import Tally
from deploy.inspector.track import Left
from deploy.inspector.watch import Turn, Watch
from deploy.preprocess import Picture, Preprocessing
from deploy.verdict import Thresholds

RED, GREY = (20, 20, 220), (128, 128, 128)


@pytest.fixture(scope="module")
def judge(bundle: Bundle) -> Judge:
    return Judge(bundle, "fp32", open_engine(bundle), bundle.judged("fp32", "onnxruntime").thresholds, "")


def picture(*red: tuple[int, int]) -> Picture:
    """Grey, 400 x 200, with red spots."""
    drawn = np.full((200, 400, 3), GREY, np.uint8)
    for centre in red:
        cv2.circle(drawn, centre, 25, RED, cv2.FILLED)
    return drawn


def frame(shown: Picture, sequence: int = 1, age_s: float = 0.0) -> Frame:
    return Frame(shown, time.monotonic() - age_s, sequence, f"frame {sequence}")


def watch(*regions: Region, limits: Limits | None = None, check: Checks | None = None) -> Watch:
    spots = [spot(region, None, limits) for region in regions or [Region()]]
    return Watch("top", spots, PictureCheck(check) if check else None)


LEFT, RIGHT = Region("left", Box(0, 0, 200, 200)), Region("right", Box(200, 0, 200, 200))


def verdicts(turn: Turn) -> dict[str, list[str]]:
    return {region: [part.verdict.value for part in step.parts] for region, step in turn.steps.items() if step.parts}


def faults(turn: Turn) -> dict[str, list[str]]:
    return {region: [fault.kind for fault in step.faults] for region, step in turn.steps.items() if step.faults}


def test_each_region_gets_its_own_verdict_and_the_defect_its_place_in_the_frame(judge: Judge) -> None:
    turn = watch(LEFT, RIGHT).turn(frame(picture((300, 120))), judge)
    assert verdicts(turn) == {"left": ["GOOD"], "right": ["DEFECTIVE"]}
    (part,) = turn.steps["right"].parts
    assert part.peak == pytest.approx((300, 120), abs=25)
    (seen,) = turn.steps["right"].seen
    assert seen.sighting.box == (200, 0, 200, 200)
    assert (turn.judged, turn.faulted, turn.dropped) == (1, 0, 0)


@pytest.mark.parametrize(("centre", "expected"), [((100, 100), "DEFECTIVE"), ((25, 25), "GOOD")])
def test_what_lies_outside_a_polygon_is_not_looked_at(centre: tuple[int, int], expected: str, judge: Judge) -> None:
    diamond = Region("diamond", polygon=[(100, 0), (200, 100), (100, 199), (0, 100)])
    shown = picture(centre)
    before = shown.copy()
    turn = watch(diamond).turn(frame(shown), judge)
    assert verdicts(turn) == {"diamond": [expected]}
    np.testing.assert_array_equal(shown, before, "frames are held by others, too")


def test_outside_a_polygon_the_picture_has_the_bundles_colour() -> None:
    triangle = Region("corner", polygon=[(10, 10), (110, 10), (10, 110)])
    cut = triangle.cut(picture(), (1, 2, 3))
    assert cut.shape == (101, 101, 3)
    assert tuple(cut[0, 0]) == GREY
    assert tuple(cut[-1, -1]) == (1, 2, 3)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), height=st.integers(1, 900), width=st.integers(1, 900), cells=st.integers(1, 20))
def test_the_most_suspicious_point_lies_in_the_window(data: st.DataObject, height: int, width: int, cells: int) -> None:
    heatmap = np.zeros((cells, cells), np.float32)
    heatmap[data.draw(st.integers(0, cells - 1)), data.draw(st.integers(0, cells - 1))] = data.draw(st.sampled_from([0, 1]))
    window = Box(7, 11, width, height)
    x, y = _peak(heatmap, window, Preprocessing(height=224, width=224, pad_bgr=(0, 0, 0)))
    assert 7 <= x < 7 + width
    assert 11 <= y < 11 + height


def test_a_region_beyond_the_picture_is_a_fault_that_says_so(judge: Judge) -> None:
    watched = watch(Region("far", Box(300, 0, 200, 100)))
    turn = watched.turn(frame(picture()), judge)
    assert faults(turn) == {"far": ["picture"]}
    assert "the region far reaches to 500, 100, but the picture has 400 x 200" in turn.steps["far"].faults[0].message
    assert verdicts(turn) == {"far": ["FAULT"]}


@pytest.mark.parametrize(
    ("limits", "age_s", "kind"),
    [
        pytest.param(Limits(500, None), 0.6, "stale", id="older than the limit"),
        pytest.param(Limits(60_000, 500), 0.6, "deadline", id="decided after the deadline"),
        pytest.param(Limits(500, 500), 0.6, "stale", id="both"),
        pytest.param(Limits(60_000, 30_000), 0.6, None, id="in time"),
        pytest.param(None, 0.6, None, id="a recording"),
    ],
)
def test_what_comes_too_late_is_a_fault_and_never_a_verdict(
    limits: Limits | None, age_s: float, kind: str | None, judge: Judge
) -> None:
    turn = watch(limits=limits).turn(frame(picture((200, 100)), age_s=age_s), judge)
    assert verdicts(turn) == {"": ["FAULT" if kind else "DEFECTIVE"]}
    assert faults(turn) == ({"": [kind]} if kind else {})
    assert (turn.judged, turn.faulted) == ((0, 1) if kind else (1, 0))


def test_a_part_that_two_bundles_looked_at_is_a_fault(judge: Judge, belt_frames: object) -> None:
    assert callable(belt_frames)
    frames = belt_frames([100, 800], {0})
    watched, other, found = Watch("", [spot(Region(), 120, None)]), replace(judge), []
    for number, shown in enumerate(frames, start=1):
        found += watched.turn(frame(shown, number), judge if number <= 25 else other).steps[""].parts
    found += watched.end(other).steps[""].parts
    assert [part.verdict.value for part in found] == ["FAULT", "GOOD"]
    assert found[0].reason == RELOADED


@pytest.mark.parametrize("limits", [Limits(60_000, 20_000), Limits(20_000, 10_000), Limits(20_000)], ids=repr)
def test_a_part_on_a_belt_whose_verdict_comes_too_late_is_a_fault(limits: Limits, judge: Judge, belt_frames: object) -> None:
    assert callable(belt_frames)
    watched = Watch("", [spot(Region(), 120, limits)])
    found = []
    for number, shown in enumerate(belt_frames([100], {0}), start=1):
        turn = watched.turn(frame(shown, number), judge)
        if turn.steps[""].parts:
            break
        is_last_in_time = number
    else:
        pytest.fail("the part never left")
    watched = Watch("", [spot(Region(), 120, limits)])
    for number, shown in enumerate(belt_frames([100], {0}), start=1):
        turn = watched.turn(frame(shown, number, age_s=0 if number <= is_last_in_time else 30), judge)
        found += turn.steps[""].parts
    (part,) = found
    assert part.verdict.value == "FAULT"
    assert re.search("the deadline is 20000 ms|at most 20000 ms are allowed", str(part.reason))


@pytest.mark.parametrize(("waited_s", "expected"), [(0.0, "DEFECTIVE"), (30.0, "FAULT")])
def test_a_parts_deadline_counts_from_when_it_was_last_seen(
    waited_s: float, expected: str, judge: Judge, belt_frames: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not from the frame in which it was found gone, which may itself be judged in no time."""
    assert callable(belt_frames)
    late_s, found = 0.0, list[PartResult]()
    monkeypatch.setattr("deploy.inspector.spot.time", SimpleNamespace(monotonic=lambda: time.monotonic() + late_s))
    watched = Watch("", [spot(Region(), 120, Limits(60_000, 20_000))])
    for number, shown in enumerate(belt_frames([100], {0}), start=1):
        if number == 50:  # it has just left the picture
            assert not found
            late_s = waited_s
        found += watched.turn(frame(shown, number, age_s=-late_s), judge).steps[""].parts
    (part,) = found
    assert part.verdict.value == expected
    why = "part 1 was decided 30... ms after it was last seen, the deadline is 20000 ms"
    assert waited_s == 0 or re.search(why, str(part.reason))


@pytest.mark.parametrize("fails_at", [20, 30, 49])
def test_a_frame_that_fails_half_way_leaves_no_part_without_its_verdict(
    fails_at: int, judge: Judge, belt_frames: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(belt_frames)
    frames = belt_frames([100], {0})
    for begins, ends in [(1, len(frames)), (fails_at, fails_at)]:
        watched = Watch("", [spot(Region(), 120, Limits(60_000))])
        found = []
        for number in range(begins, ends + 1):
            with monkeypatch.context() as patch:
                if number == fails_at:
                    patch.setattr("deploy.inspector.spot._view", _no_memory)
                turn = watched.turn(frame(frames[number - 1], number), judge)
            assert turn.judged + turn.faulted == 1
            found += turn.steps[""].parts
        found += watched.turn(CameraLost("unplugged"), judge).steps[""].parts
        assert len(found) <= 1
        assert [part.verdict.value for part in found] == (["DEFECTIVE"] if ends > begins else ["FAULT"] * len(found))


@pytest.mark.parametrize("live", [Limits(60_000), None])
def test_no_memory_for_the_result_of_a_part_that_leaves_costs_one_frame(
    live: Limits | None, judge: Judge, belt_frames: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tracker has forgotten it already; its verdict is not lost with that."""
    assert callable(belt_frames)
    really_leave = Spot._leave
    refused: list[Sequence[Left]] = []

    def leave(watched: Spot, left: Sequence[Left], missed: str | None = None) -> list[PartResult]:
        with monkeypatch.context() as patch:
            if left and not refused:
                refused.append(left)
                patch.setattr(PartSoFar, "result", _no_memory)
            return really_leave(watched, left, missed)

    monkeypatch.setattr(Spot, "_leave", leave)
    watched = Watch("", [spot(Region(), 120, live)])
    turns = [watched.turn(frame(shown, number), judge) for number, shown in enumerate(belt_frames([100], {0}), start=1)]
    assert refused
    assert sum(turn.faulted for turn in turns) == 1
    assert [part.verdict.value for turn in turns for part in turn.steps[""].parts] == ["DEFECTIVE"]


def _no_memory(*_: object, **__: object) -> None:
    raise MemoryError


def test_a_frame_that_is_a_part_and_fails_half_way_is_one_fault(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = watch()
    with monkeypatch.context() as patch:
        patch.setattr("deploy.inspector.spot._view", _no_memory)
        turns = [watched.turn(frame(picture((200, 100)), 1), judge)]
    turns.append(watched.turn(frame(picture((200, 100)), 2), judge))
    parts = [part for turn in turns for part in turn.steps[""].parts]
    assert [part.part for part in parts] == [1, 2]
    assert parts[0].verdict.value == "FAULT"
    assert parts[1].verdict.value == "DEFECTIVE"
    assert turns[0].faulted == 1


def test_a_camera_that_is_late_and_then_lost_has_one_outage(judge: Judge) -> None:
    watched = watch()
    errors = [StaleFrame("3 s old"), CameraLost("unplugged"), StaleFrame("4 s old"), CameraLost("unplugged")]
    assert [faults(watched.turn(error, judge)) for error in errors] == [{"": ["stale"]}, {}, {}, {}]


@pytest.mark.parametrize(
    ("error", "kind"), [(CameraLost("unplugged"), "camera"), (StaleFrame("the newest frame is 3 s old"), "stale")]
)
def test_an_outage_is_one_fault_of_the_camera_and_ends_with_the_next_frame(error: CameraError, kind: str, judge: Judge) -> None:
    watched = watch(LEFT, RIGHT)
    turns = [watched.turn(error, judge) for _ in range(3)]
    assert [faults(turn) for turn in turns] == [{"": [kind]}, {}, {}]
    assert [verdicts(turn) for turn in turns] == [{}, {}, {}], "the last verdict must not be repeated"
    assert all(turn.outage is not None and turn.outage.kind == kind for turn in turns)
    turn = watched.turn(frame(picture()), judge)
    recovered = turn.steps[""].recovered
    assert recovered is not None
    assert recovered.number == turns[0].steps[""].faults[0].number
    assert recovered.lasted_s is not None
    assert turn.outage is None
    assert verdicts(turn) == {"left": ["GOOD"], "right": ["GOOD"]}


@pytest.mark.parametrize(("news", "is_over"), [(CameraLost("unplugged"), True), (StaleFrame("3 s old"), True), (None, False)])
def test_an_outage_is_over_when_a_camera_is_back_and_waits(news: CameraError | None, is_over: bool, judge: Judge) -> None:
    watched = watch(check=Checks(black_below=16))
    tally = Tally()
    tally.add(watched.turn(news or frame(np.zeros((200, 400, 3), np.uint8)), judge))  # None: a black picture
    assert tally.complaint is not None
    turn = watched.turn(NothingYet("waits for its trigger"), judge)
    tally.add(turn)
    assert (turn.outage is None, tally.complaint is None) == (is_over, is_over)
    assert [step.recovered is not None for step in turn.steps.values()] == ([True] if is_over else [])


def test_black_pictures_are_one_fault_and_no_verdict(judge: Judge) -> None:
    watched = watch(check=Checks(black_below=16))
    black = np.zeros((200, 400, 3), np.uint8)
    turns = [watched.turn(frame(black, number), judge) for number in (1, 2, 3)]
    assert [faults(turn) for turn in turns] == [{"": ["picture"]}, {}, {}]
    assert [verdicts(turn) for turn in turns] == [{"": ["FAULT"]}] * 3, "a part that nobody could see is not good"
    assert [(turn.judged, turn.faulted) for turn in turns] == [(0, 1)] * 3
    assert turns[1].outage is not None
    turn = watched.turn(frame(picture(), 4), judge)
    assert turn.steps[""].recovered is not None
    assert verdicts(turn) == {"": ["GOOD"]}


def test_a_camera_that_is_lost_after_black_pictures_is_another_fault(judge: Judge) -> None:
    watched = watch(check=Checks(black_below=16))
    watched.turn(frame(np.zeros((200, 400, 3), np.uint8)), judge)
    turn = watched.turn(CameraLost("unplugged"), judge)
    assert faults(turn) == {"": ["camera"]}
    assert turn.steps[""].recovered is not None
    assert turn.steps[""].recovered.kind == "picture"


class Failing:
    """An engine without memory."""

    name = "failing"

    def __init__(self, error: Exception) -> None:
        self._error = error

    def infer(self, frames: Picture) -> Answer:
        raise self._error


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("the device is gone"), ValueError()])
def test_whatever_an_engine_raises_the_next_frame_is_judged(error: Exception, judge: Judge) -> None:
    watched = watch()
    engine: Engine = Failing(error)
    turn = watched.turn(frame(picture()), replace(judge, engine=engine))
    assert (faults(turn), verdicts(turn)) == ({"": ["engine"]}, {"": ["FAULT"]})
    assert (turn.judged, turn.faulted) == (0, 1)
    assert verdicts(watched.turn(frame(picture(), 2), judge)) == {"": ["GOOD"]}


def test_no_memory_while_looking_for_parts_is_a_fault_of_that_frame(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = watch(LEFT, RIGHT)

    def cut(*_: object) -> Picture:
        raise MemoryError

    with monkeypatch.context() as once:
        once.setattr(LEFT, "cut", cut)
        turn = watched.turn(frame(picture()), judge)
    assert (faults(turn), verdicts(turn)) == ({"left": ["engine"]}, {"left": ["FAULT"], "right": ["GOOD"]})
    assert turn.faulted == 1
    assert verdicts(watched.turn(frame(picture(), 2), judge)) == {"left": ["GOOD"], "right": ["GOOD"]}


def test_another_judge_decides_from_the_next_frame_on(judge: Judge) -> None:
    strict = replace(judge, thresholds=Thresholds(accept=0, reject=0))
    watched = watch()
    turns = [watched.turn(frame(picture((200, 100)), number), judge) for number in (1, 2)]
    turns.append(watched.turn(frame(picture(), 3), replace(strict, thresholds=Thresholds(accept=0.0, reject=1.0))))
    assert [verdicts(turn)[""] for turn in turns] == [["DEFECTIVE"], ["DEFECTIVE"], ["REVIEW"]]


NEWS = st.lists(st.sampled_from(["frame", "late", "torn", "lost", "stale", "black", "fails", "gap"]), max_size=30)


@settings(max_examples=40, deadline=None)
@given(script=NEWS, several=st.booleans())
def test_captured_is_judged_and_dropped_and_faulted(script: list[str], several: bool, bundle: Bundle) -> None:
    judge = Judge(bundle, "fp32", open_engine(bundle), bundle.judged("fp32", "onnxruntime").thresholds, "")
    regions = [LEFT, RIGHT] if several else [Region()]
    watched = watch(*regions, limits=Limits(60_000, 30_000), check=Checks(black_below=16))
    tally, captured, numbers = Tally(), 0, []
    for what in script:
        if what == "gap":
            captured += 2
            continue
        news: Frame | Unreadable | CameraError
        if what in ("lost", "stale"):
            news = CameraLost("lost") if what == "lost" else StaleFrame("old")
        else:
            captured += 1
            shown = np.zeros((200, 400, 3), np.uint8) if what == "black" else picture()
            torn = Unreadable("torn", captured, f"frame {captured}")
            news = torn if what == "torn" else frame(shown, captured, 90 if what == "late" else 0)
        turn = watched.turn(news, replace(judge, engine=Failing(MemoryError())) if what == "fails" else judge)
        numbers += [fault.number for step in turn.steps.values() for fault in step.faults]
        tally.add(turn)
        for step in turn.steps.values():
            is_bad = what in ("late", "torn", "black", "fails")
            assert not is_bad or all(part.verdict.value == "FAULT" for part in step.parts)
    tally.add(watched.end(judge))
    tally.close("top", captured, watched.last)
    account = tally.cameras["top"]
    assert account.captured == account.judged + account.dropped + account.faulted
    assert numbers == sorted(set(numbers)), "every fault has a number of its own"
    assert isinstance(watched.end(judge).steps[regions[0].name], Step)

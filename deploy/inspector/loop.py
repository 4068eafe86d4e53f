"""The loop: capture -> find parts -> infer -> decide. It yields what happened; recording, drawing and acting are its reader's."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np
import numpy.typing as npt

from deploy.cameras import Camera, Frame, Unreadable
from deploy.engines import Answer, Engine
from deploy.errors import CameraLost, EngineError
from deploy.inspector.locate import Locator, Sighting, cut
from deploy.inspector.part import PartResult, PartSoFar, View, now_utc
from deploy.inspector.track import Tracker
from deploy.preprocess import Preprocessing, letterbox, letterbox_placement
from deploy.verdict import Thresholds


@dataclass(frozen=True)
class Fault:
    """Something that kept a frame from being judged. While it lasts the station is not ready."""

    number: int
    """Counts from 1 within a session."""
    kind: str
    """camera, picture, engine, stale or part."""
    message: str
    at: str
    frame: int | None = None
    part: int | None = None
    lasted_s: float | None = None
    """How long a camera was lost; None until it is back."""


@dataclass(frozen=True)
class Seen:
    """One part in the frame just judged."""

    part: int
    sighting: Sighting
    view: View
    so_far: PartResult
    """The verdict if the part left now."""
    heatmap: npt.NDArray[np.float32] | None
    """The graph's h x w answer for the sighting's window."""


@dataclass(frozen=True)
class Step:
    """What one turn of the loop brought."""

    frame: Frame | None = None
    """None when the camera brought nothing."""
    dropped: int = 0
    """Frames that passed unseen since the step before."""
    latency_ms: float | None = None
    """From capture to the decision."""
    seen: list[Seen] = field(default_factory=list)
    parts: list[PartResult] = field(default_factory=list)
    """Parts that have left: their verdicts are final."""
    faults: list[Fault] = field(default_factory=list)
    recovered: Fault | None = None
    """The camera's fault, now with how long it lasted."""


def inspect(
    camera: Camera,
    locator: Locator,
    tracker: Tracker,
    engine: Engine,
    preprocessing: Preprocessing,
    thresholds: Thresholds,
    max_age_ms: float,
    is_stopping: Callable[[], bool],
) -> Iterator[Step]:
    """Judge frames until the recording ends or `is_stopping` says so; the last step closes the parts still in sight.

    A lost camera, an unreadable picture, a failing engine and a frame older than `max_age_ms` become Faults, never a verdict,
    and the loop goes on. Age matters on live cameras only: a recording does not grow stale.
    """
    parts: dict[int, PartSoFar] = {}
    numbers = count(1)
    outage: tuple[Fault, float] | None = None
    last_sequence = 0

    def leave(part: int, counts: bool) -> list[PartResult]:
        so_far = parts.pop(part)
        return [so_far.result()] if counts else []

    while not is_stopping():
        try:
            frame = camera.read()
        except CameraLost as error:
            if outage is not None:
                yield Step()
                continue
            # What was in sight will be somewhere else when the camera is back, so it is judged by what was seen of it.
            gone = [result for left in tracker.end() for result in leave(left.part, left.counts)]
            outage = Fault(next(numbers), "camera", str(error), now_utc()), time.monotonic()
            yield Step(parts=gone, faults=[outage[0]])
            continue
        except Unreadable as error:
            fault = Fault(next(numbers), "picture", str(error), now_utc(), error.sequence, tracker.unseen())
            dropped, last_sequence = error.sequence - last_sequence - 1, error.sequence
            yield Step(dropped=dropped, faults=[fault], parts=_part_behind(fault, error, thresholds))
            continue
        if frame is None:
            break

        recovered = None
        if outage is not None:
            recovered, outage = replace(outage[0], lasted_s=time.monotonic() - outage[1]), None
        sightings = locator.find(frame.picture)
        followed = tracker.follow(frame.sequence, frame.picture, sightings)
        # One part at a time: a runtime plans anew for each batch size, which would cost the first of each its deadline.
        answers = [_ask(engine, frame, sighting, preprocessing) for sighting in sightings]
        latency_ms = round((time.monotonic() - frame.captured_at) * 1000, 2)
        seen, faults, stale = [], [], None
        if camera.live and latency_ms > max_age_ms:
            stale = f"{frame.name} was {latency_ms:.0f} ms old when it was judged, at most {max_age_ms:.0f} ms are allowed"
            faults.append(Fault(next(numbers), "stale", stale, now_utc(), frame.sequence))
        for part, sighting, (answer, trouble) in zip(followed.parts, sightings, answers, strict=True):
            if stale is not None and sighting.whole:
                answer, trouble = None, stale
            elif trouble is not None:
                kind = "engine" if sighting.fits else "part"
                faults.append(Fault(next(numbers), kind, trouble, now_utc(), frame.sequence, part))
            view = _view(frame, sighting, latency_ms, answer, trouble, preprocessing)
            so_far = parts.setdefault(part, PartSoFar(part, thresholds))
            so_far.add(view)
            seen.append(Seen(part, sighting, view, so_far.result(), None if answer is None else answer.heatmap[0]))
        finished = [result for left in followed.left for result in leave(left.part, left.counts)]
        dropped, last_sequence = frame.sequence - last_sequence - 1, frame.sequence
        yield Step(frame, dropped, latency_ms, seen, finished, faults, recovered)

    yield Step(parts=[result for left in tracker.end() for result in leave(left.part, left.counts)])


def _ask(engine: Engine, frame: Frame, sighting: Sighting, preprocessing: Preprocessing) -> tuple[Answer | None, str | None]:
    """The graph's answer, or why there is none; neither for a part that the border cuts off."""
    box, window = sighting.box, sighting.window
    if not sighting.whole:
        return None, None
    if not sighting.fits:
        return None, (
            f"{frame.name}: found something of {box.width} x {box.height} px, but the crop is {window.width} px; "
            "keep the parts apart, or give a larger --crop"
        )
    try:
        answer = engine.infer(letterbox(cut(frame.picture, window), preprocessing)[None])
    except EngineError as error:
        return None, str(error)
    probability = float(answer.defect[0])
    if not 0 <= probability <= 1:  # also catches NaN
        return None, f"{engine.name} answered {probability}, expected a probability in 0..1"
    return answer, None


def _view(
    frame: Frame, sighting: Sighting, age_ms: float, answer: Answer | None, trouble: str | None, preprocessing: Preprocessing
) -> View:
    if answer is None:
        return View(frame.sequence, frame.name, age_ms, None, None, trouble)
    heatmap = answer.heatmap[0]
    row, column = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
    window = sighting.window
    top, left, height, width = letterbox_placement(window.height, window.width, preprocessing)
    x = ((column + 0.5) * preprocessing.width / heatmap.shape[1] - left) * window.width / width
    y = ((row + 0.5) * preprocessing.height / heatmap.shape[0] - top) * window.height / height
    return View(
        frame.sequence, frame.name, age_ms, float(answer.defect[0]), (round(window.left + x), round(window.top + y)), None
    )


def _part_behind(fault: Fault, error: Unreadable, thresholds: Thresholds) -> list[PartResult]:
    """Where every picture is a part, an unreadable one is a part that nobody judged."""
    if fault.part is None:
        return []
    part = PartSoFar(fault.part, thresholds)
    part.add(View(error.sequence, error.name, 0.0, None, None, fault.message))
    return [part.result()]

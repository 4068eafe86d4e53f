"""One region of one camera under inspection: where its parts are, what the judge says of them, and what is known so far."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deploy.cameras import Frame
from deploy.engines import Answer
from deploy.inspector.judge import Judge
from deploy.inspector.locate import Belt, Locator, Sighting, WholePicture, cut
from deploy.inspector.part import PartResult, PartSoFar, View, now_utc
from deploy.inspector.region import Region
from deploy.inspector.step import Fault, Seen, Step
from deploy.inspector.track import EveryFrame, OnBelt, Tracker
from deploy.preprocess import Picture, Preprocessing, letterbox_placement


@dataclass(frozen=True)
class Limits:
    """What makes a frame of a live camera too late, in milliseconds from its capture to the decision."""

    max_age_ms: float = 500
    """Older when it is judged, and the frame is stale."""
    deadline_ms: float | None = None
    """Decided later, and the line has moved on; None: no other limit than the age."""

    def exceeded(self, name: str, latency_ms: float) -> tuple[str, str] | None:
        """The kind of fault and what to say of it; None when it is in time."""
        if latency_ms > self.max_age_ms:
            return "stale", f"{name} was {latency_ms:.0f} ms old when it was judged, at most {self.max_age_ms:.0f} ms are allowed"
        if self.deadline_ms is not None and latency_ms > self.deadline_ms:
            return "deadline", f"{name} was decided after {latency_ms:.0f} ms, the deadline is {self.deadline_ms:.0f} ms"
        return None


RELOADED = "the bundle changed while the part was in sight"


class Spot:
    """Follows the parts of one region. `limits` None: a recording, which does not grow stale."""

    def __init__(self, region: Region, locator: Locator, tracker: Tracker, limits: Limits | None) -> None:
        self.region = region
        self._locator = locator
        self._tracker = tracker
        self._limits = limits
        self._parts: dict[int, PartSoFar] = {}
        self._judge: Judge | None = None
        self._mixed: set[int] = set()
        """Parts with views that different bundles judged: their probabilities do not add up."""

    def look(self, frame: Frame, judge: Judge, number: Callable[[], int]) -> Step:
        """Judge what the frame shows here. `number` gives each fault its number."""
        if judge is not self._judge:
            self._judge, self._mixed = judge, set(self._parts)
        picture = self.region.cut(frame.picture, judge.preprocessing.pad_bgr)
        sightings = self._locator.find(picture)
        followed = self._tracker.follow(frame.sequence, picture, sightings)
        for part in followed.parts:  # before anything can fail: what is followed has a verdict to come
            self._parts.setdefault(part, PartSoFar(part, judge.thresholds))
        answers = [_ask(judge, picture, frame.name, sighting) for sighting in sightings]
        latency_ms = round((time.monotonic() - frame.captured_at) * 1000, 2)
        seen, faults = [], []
        late = self._limits.exceeded(frame.name, latency_ms) if self._limits else None
        if late is not None:
            faults.append(Fault(number(), *late, now_utc(), frame.sequence))
        for part, local, (answer, trouble) in zip(followed.parts, sightings, answers, strict=True):
            sighting = self.region.in_frame(local)
            if late is not None and sighting.whole:
                answer, trouble = None, late[1]
            elif trouble is not None:
                kind = "engine" if sighting.fits else "part"
                faults.append(Fault(number(), kind, trouble, now_utc(), frame.sequence, part))
            view = _view(frame, sighting, latency_ms, answer, trouble, judge.preprocessing)
            so_far = self._parts[part]
            so_far.add(view)
            seen.append(Seen(part, sighting, view, so_far.result(), None if answer is None else answer.heatmap[0]))
        missed = late[1] if late is not None else None
        finished = [self._leave(left.part, missed) for left in followed.left if left.counts]
        for left in followed.left:
            self._parts.pop(left.part, None)
            self._mixed.discard(left.part)
        return Step(frame, 0, latency_ms, seen, finished, faults)

    def unseen(self) -> int | None:
        """The number of the part behind a frame that cannot be judged; None if such a frame stands for no one part."""
        return self._tracker.unseen()

    def end(self, lost: str | None = None) -> list[PartResult]:
        """Nothing is watched from here on: what is in sight is judged by what was seen, or a FAULT if a live camera is lost."""
        left = self._tracker.end()
        finished = [self._leave(one.part, lost if self._limits else None) for one in left if one.counts]
        self._parts.clear()
        return finished

    def _leave(self, part: int, missed: str | None = None) -> PartResult:
        return self._parts[part].result(missed or (RELOADED if part in self._mixed else None))


def spot(region: Region, crop: int | None, limits: Limits | None) -> Spot:
    """Every frame is one part, or with a `crop` in pixels parts travel on a belt through the region."""
    locator, tracker = (WholePicture(), EveryFrame()) if crop is None else (Belt(crop), OnBelt())
    return Spot(region, locator, tracker, limits)


def not_judged(part: int, judge: Judge, sequence: int, name: str, reason: str) -> PartResult:
    """The FAULT of a part that was there, and nobody could see it."""
    so_far = PartSoFar(part, judge.thresholds)
    so_far.add(View(sequence, name, 0.0, None, None, reason))
    return so_far.result()


def _ask(judge: Judge, picture: Picture, name: str, sighting: Sighting) -> tuple[Answer | None, str | None]:
    """The graph's answer, or why there is none; neither for a part that the border cuts off."""
    box, window = sighting.box, sighting.window
    if not sighting.whole:
        return None, None
    if not sighting.fits:
        return None, (
            f"{name}: found something of {box.width} x {box.height} px, but the crop is {window.width} px; "
            "keep the parts apart, or give a larger --crop"
        )
    try:
        return judge.ask(cut(picture, window))
    except MemoryError as error:
        return None, f"{name}: no memory for a window of it ({error})"


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

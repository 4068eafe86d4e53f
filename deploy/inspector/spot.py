"""One region of one camera under inspection: where its parts are, what the judge says of them, and what is known so far."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deploy.cameras import Frame, Unreadable
from deploy.engines import Answer
from deploy.inspector.ahead import Ahead, ahead_of
from deploy.inspector.judge import Judge
from deploy.inspector.locate import Belt, Box, Locator, Sighting, WholePicture, cut
from deploy.inspector.part import PartResult, PartSoFar, View, now_utc
from deploy.inspector.region import Region
from deploy.inspector.step import Fault, Seen, Step
from deploy.inspector.track import EveryFrame, Followed, Left, OnBelt, Tracker
from deploy.preprocess import Picture, Preprocessing, letterbox, letterbox_placement
from deploy.station import MAX_AGE_MS


@dataclass(frozen=True)
class Limits:
    """What makes a frame of a live camera too late, in milliseconds from its capture to the decision."""

    max_age_ms: float = MAX_AGE_MS
    """Older when it is judged, and the frame is stale."""
    deadline_ms: float | None = None
    """A part decided later than this after it was last seen is a FAULT: the line has moved on. None: no such limit."""

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
        self._seen_at: dict[int, float] = {}
        """When the last frame of each part in sight was captured, in time.monotonic() seconds."""
        self._followed: Followed | None = None
        """What the frame in hand shows, while it is judged."""

    def ahead(self, picture: Picture, judge: Judge) -> Ahead | None:
        """What `look` will need of a picture, as far as it does not depend on the frames before. For any thread."""
        if not isinstance(self._locator, WholePicture) or self.region.misfit(picture):
            return None
        inner = self.region.cut(picture, judge.preprocessing.pad_bgr)
        return Ahead(inner, letterbox(inner, judge.preprocessing))

    def look(self, frame: Frame, judge: Judge, number: Callable[[], int]) -> Step:
        """Judge what the frame shows here. `number` gives each fault its number."""
        if judge is not self._judge:
            self._judge, self._mixed = judge, set(self._parts)
        ahead = ahead_of(frame, self.region.name, judge)
        picture = ahead.picture if ahead else self.region.cut(frame.picture, judge.preprocessing.pad_bgr)
        sightings = self._locator.find(picture)
        followed = self._followed = self._tracker.follow(frame.sequence, picture, sightings)
        for part in followed.parts:  # before anything can fail: what is followed has a verdict to come
            self._seen_at[part] = frame.captured_at
            self._parts.setdefault(part, PartSoFar(part, judge.thresholds))
        letterboxed = ahead.letterboxed if ahead else None
        answers = [_ask(judge, picture, letterboxed, frame.name, sighting) for sighting in sightings]
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
        finished = self._leave(followed.left, late[1] if late is not None else None)
        self._followed = None
        return Step(frame, 0, latency_ms, seen, finished, faults)

    def unjudged(self, frame: Frame | Unreadable, why: str, judge: Judge) -> list[PartResult]:
        """What a frame that could not be judged, or not to its end, means for its parts: those that are over with it."""
        followed, self._followed = self._followed, None
        view = View(frame.sequence, frame.name, 0.0, None, None, why)
        if followed is None:
            part = self._tracker.unseen()
            if part is None:
                return []
            so_far = PartSoFar(part, judge.thresholds)
            so_far.add(view)
            return [so_far.result()]
        for part in followed.parts:
            if part in self._parts:
                self._parts[part].add(view)
        return self._leave(followed.left)

    def end(self, lost: str | None = None) -> list[PartResult]:
        """Nothing is watched from here on: what is in sight is judged by what was seen, or a FAULT if a live camera is lost."""
        return self._leave(self._tracker.end(), lost if self._limits else None)

    def _leave(self, left: Sequence[Left], missed: str | None = None) -> list[PartResult]:
        known = [one for one in left if one.part in self._parts]
        finished = [self._result(one.part, missed) for one in known if one.counts]
        for one in known:  # only now: where there is no memory for a result, none of them is forgotten
            del self._parts[one.part], self._seen_at[one.part]
            self._mixed.discard(one.part)
        return finished

    def _result(self, part: int, missed: str | None) -> PartResult:
        reloaded = RELOADED if part in self._mixed else None
        return self._parts[part].result(missed or reloaded or self._too_late(part, self._seen_at[part]))

    def _too_late(self, part: int, seen_at: float) -> str | None:
        """A part that is gone is found gone only in a later frame: its deadline counts from when it was last seen."""
        deadline_ms = self._limits.deadline_ms if self._limits else None
        latency_ms = (time.monotonic() - seen_at) * 1000
        if deadline_ms is None or latency_ms <= deadline_ms:
            return None
        return f"part {part} was decided {latency_ms:.0f} ms after it was last seen, the deadline is {deadline_ms:.0f} ms"


def spot(region: Region, crop: int | None, limits: Limits | None) -> Spot:
    """Every frame is one part, or with a `crop` in pixels parts travel on a belt through the region."""
    locator, tracker = (WholePicture(), EveryFrame()) if crop is None else (Belt(crop), OnBelt())
    return Spot(region, locator, tracker, limits)


def _ask(
    judge: Judge, picture: Picture, letterboxed: Picture | None, name: str, sighting: Sighting
) -> tuple[Answer | None, str | None]:
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
        return judge.ask(cut(picture, window), letterboxed)
    except MemoryError as error:
        return None, f"{name}: no memory for a window of it ({error})"


def _view(
    frame: Frame, sighting: Sighting, age_ms: float, answer: Answer | None, trouble: str | None, preprocessing: Preprocessing
) -> View:
    if answer is None:
        return View(frame.sequence, frame.name, age_ms, None, None, trouble)
    peak = _peak(answer.heatmap[0], sighting.window, preprocessing)
    return View(frame.sequence, frame.name, age_ms, float(answer.defect[0]), peak, None)


def _peak(heatmap: npt.NDArray[np.float32], window: Box, preprocessing: Preprocessing) -> tuple[int, int]:
    """X and y in the frame of the highest cell that shows some of the window, and not only the letterbox's bars."""
    top, left, height, width = letterbox_placement(window.height, window.width, preprocessing)
    down, across = preprocessing.height / heatmap.shape[0], preprocessing.width / heatmap.shape[1]
    first_row, first_column = int(top / down), int(left / across)
    shows = heatmap[first_row : math.ceil((top + height) / down), first_column : math.ceil((left + width) / across)]
    row, column = divmod(int(shows.argmax()), shows.shape[1])
    y = ((first_row + row + 0.5) * down - top) * window.height / height
    x = ((first_column + column + 0.5) * across - left) * window.width / width
    return (
        window.left + min(max(round(x), 0), window.width - 1),
        window.top + min(max(round(y), 0), window.height - 1),
    )

"""One verdict for one physical part, from all its frames."""

from dataclasses import dataclass
from datetime import datetime, timezone

from deploy.verdict import Thresholds, Verdict, decide, part_probability


@dataclass(frozen=True)
class View:
    """What one frame said about a part. A part cut off by the border has neither probability nor fault: it is not judged."""

    frame: int
    name: str
    age_ms: float
    """From capture to the answer."""
    probability: float | None
    """Of a defect; None where there is no answer."""
    peak: tuple[int, int] | None
    """X and y, in the frame, of the heatmap's highest point."""
    fault: str | None
    """Why a frame that should have given an answer did not."""


@dataclass(frozen=True)
class PartResult:
    """The verdict for one part."""

    part: int
    verdict: Verdict
    probability: float | None
    """Of a defect; None for a FAULT."""
    views: int
    """Frames that were judged."""
    faults: int
    """Frames that should have been judged and were not."""
    first_frame: int
    last_frame: int
    worst_frame: int
    """In which the part looked worst."""
    name: str
    """Of that frame; others may have the same."""
    peak: tuple[int, int] | None
    """X and y of the most suspicious point in that frame."""
    age_ms: float
    """The highest age of its frames when they were judged."""
    at: str
    """When, in UTC."""
    reason: str | None
    """Why it is a FAULT."""


class PartSoFar:
    """A part that is still in sight; holds no pictures and no lists, so a part that stays for hours costs nothing.

    Its probability follows the rule that thresholds were derived by, `part_probability`. Without any judged view, or with more
    faults than judged views, it is a FAULT.
    """

    def __init__(self, part: int, thresholds: Thresholds) -> None:
        self._part = part
        self.thresholds = thresholds
        """By which `result` decides."""
        self._highest: list[float] = []
        self._views = self._faults = 0
        self._age_ms = 0.0
        self._first: View | None = None
        self._last: View | None = None
        self._worst: View | None = None
        self._reason = "never wholly in the picture"

    def add(self, view: View) -> None:
        """Take in one more frame."""
        self._first = self._first or view
        self._last = view
        if view.fault is not None:
            self._faults += 1
            self._reason = view.fault
        if view.probability is None:
            return
        self._views += 1
        self._age_ms = max(self._age_ms, view.age_ms)
        self._highest = sorted([*self._highest, view.probability], reverse=True)[:2]
        if view.probability == self._highest[0]:
            self._worst = view

    def result(self, missed: str | None = None) -> PartResult:
        """The verdict by what was seen so far, or a FAULT with what was `missed`. At least one view must have been added."""
        assert self._first is not None
        assert self._last is not None
        probability = part_probability(self._highest) if self._views > 0 and self._views >= self._faults else None
        probability = probability if missed is None else None
        verdict = Verdict.FAULT if probability is None else decide(probability, self.thresholds)
        shown = self._worst or self._first
        return PartResult(
            part=self._part,
            verdict=verdict,
            probability=probability,
            views=self._views,
            faults=self._faults,
            first_frame=self._first.frame,
            last_frame=self._last.frame,
            worst_frame=shown.frame,
            name=shown.name,
            peak=shown.peak,
            age_ms=self._age_ms,
            at=now_utc(),
            reason=(missed or self._reason) if verdict is Verdict.FAULT else None,
        )


def now_utc() -> str:
    """The wall clock, for records that people read; ages are measured on the monotonic clock."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")

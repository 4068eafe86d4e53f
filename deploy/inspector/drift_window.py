"""What was seen of one region lately, and how it compares with what is expected there."""

from collections import deque
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from enum import Enum

import numpy as np

from deploy.inspector.drift_baseline import Baseline
from deploy.inspector.drift_limits import ALARM, CLEAR, expected, expected_rate, wilson
from deploy.reference import Distribution, GoodPictures

LONGER = 4
"""The defect rate is of so many windows of parts, and so is what is usual: of 500 parts of a good line 5 are defective."""


class State(str, Enum):
    """What is known of a quantity."""

    NOT_YET = "not enough yet"
    STEADY = "steady"
    DRIFTING = "drifting"


@dataclass(frozen=True)
class Figure:
    """One quantity at one region of one camera. Values are in its own unit: grey values, squared grey steps, shares of 1."""

    camera: str
    region: str
    quantity: str
    """brightness, sharpness, score or defect rate."""
    state: State = State.NOT_YET
    value: float | None = None
    """The window's median, or its rate. These are None until the window is full."""
    low: float | None = None
    """Expected from here to `high`."""
    high: float | None = None
    psi: float | None = None
    """How much of the window lies beyond. Of a rate there is none: its confidence interval decides."""

    @property
    def drifts(self) -> bool:
        """Is it out of its range?"""
        return self.state == State.DRIFTING

    def sentence(self) -> str:
        """What to tell people, once it is known."""
        place = " ".join(
            part for part in (self.camera and f"of camera {self.camera}", self.region and f"region {self.region}") if part
        )
        what = "left" if self.drifts else "is back in"
        usual = "the bundle's range" if self.quantity in ("brightness", "sharpness") else "what is usual on this line"
        figure = "rate" if self.quantity == "defect rate" else "median"
        told = f"{self.quantity} {place}".strip()
        return f"{told} {what} {usual}: {figure} {self.value:.3g}, expected {self.low:.3g} to {self.high:.3g}"


class DriftWindow:
    """The last `window` parts of one region of one camera. Until its baseline is complete, parts go there."""

    def __init__(self, camera: str, region: str, window: int) -> None:
        self.camera = camera
        self.region = region
        self.baseline = Baseline()
        self._window = window
        self._brightness, self._sharpness, self._score = (deque[float](maxlen=window) for _ in range(3))
        self._not_good = deque[bool](maxlen=LONGER * window)
        self._usual: Distribution | None = None
        self._states: dict[str, State] = {}

    def begin(self, baseline: Baseline) -> None:
        """Another bundle decides: scores and verdicts begin anew. Light and focus, and alarms about them, are what they were."""
        self._score.clear()
        self._not_good.clear()
        self._states = {name: self._states[name] for name in ("brightness", "sharpness") if name in self._states}
        self.baseline = baseline
        self._usual = Distribution.of(baseline.scores) if baseline.is_complete else None

    def add_picture(self, brightness: float, sharpness: float) -> None:
        """What the model was shown."""
        self._brightness.append(brightness)
        self._sharpness.append(sharpness)

    def add_part(self, score: float, is_good: bool) -> str | None:
        """A part that has its verdict; what was learned, when this part completes the baseline."""
        if self.baseline.is_complete:
            self._score.append(score)
            self._not_good.append(not is_good)
            return None
        self.baseline.add(score, is_good, LONGER * self._window)
        if not self.baseline.is_complete:
            return None
        self._usual = Distribution.of(self.baseline.scores)
        parts = len(self.baseline.scores)
        return (
            f"learned from {parts} parts what is usual at {' '.join((self.camera, self.region)).strip() or 'the camera'}: "
            f"median score {self._usual.quartiles[1]:.3g}, defect rate {self.baseline.not_good / parts:.3g}"
        )

    def frozen(self) -> "DriftWindow":
        """As it is now, to be compared while more parts come here; what state each quantity is in is kept for both."""
        now = copy(self)
        now._brightness, now._sharpness, now._score = self._brightness.copy(), self._sharpness.copy(), self._score.copy()
        now._not_good = self._not_good.copy()
        return now

    def figures(self, reference: GoodPictures | None) -> list[Figure]:
        """Everything that is watched here; without a reference, brightness and sharpness are not."""
        known = (
            [("brightness", self._brightness, reference.brightness), ("sharpness", self._sharpness, reference.sharpness)]
            if reference
            else []
        )
        return [*(self._spread(*one) for one in known), self._spread("score", self._score, self._usual), self._rate()]

    def _spread(self, quantity: str, values: Sequence[float], usual: Distribution | None) -> Figure:
        if usual is None or len(values) < self._window:
            return Figure(self.camera, self.region, quantity)
        limits = expected(quantity, usual)
        psi = limits.psi(values)
        state = self._settle(quantity, psi > ALARM, psi < CLEAR)
        return Figure(self.camera, self.region, quantity, state, float(np.median(np.asarray(values))), *limits.ends(), psi)

    def _rate(self) -> Figure:
        quantity, parts, count = "defect rate", len(self._not_good), sum(self._not_good)
        if not self.baseline.is_complete or parts < LONGER * self._window:
            return Figure(self.camera, self.region, quantity)
        low, high = expected_rate(self.baseline.not_good, len(self.baseline.scores))
        least, most = wilson(count, parts)
        state = self._settle(quantity, least > high or most < low, low <= count / parts <= high)
        return Figure(self.camera, self.region, quantity, state, count / parts, low, high)

    def _settle(self, quantity: str, is_out: bool, is_in: bool) -> State:
        """Between out and in, it stays what it was."""
        was = self._states.get(quantity, State.STEADY)
        state = self._states[quantity] = State.DRIFTING if is_out else State.STEADY if is_in else was
        return state

"""When a window of parts differs from what is expected by more than matters.

Parts of a line follow each other: 500 of them may tell no more than a dozen independent ones would. A test's p-value takes
them for independent and calls every mood of the light a change; so does a population stability index (PSI) over many bins,
because a window of minutes never fills the range of weeks. What counts here is only how much of the window lies beyond the
range that is expected. Its fences are those of a box plot, but further out: 2.5 interquartile ranges from the quartiles (4
standard deviations of a normal distribution), and further still where few independent pictures are behind them. The PSI of the
three bins below, within and above says how much that is, on the scale that is usual for it: from 0.1 it begins to matter,
above 0.25 something has changed. A window that fills only a part of the range is no drift.

Measured on 400 simulated lines of 6000 parts each that follow an autoregression of 0.98 from part to part, windows of 500: false
alarms on none of them with a reference of 50 pictures, on less than 1 % with 30 or with a baseline learned on the line.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deploy.reference import Distribution

Values = npt.NDArray[np.float64]

REACH = 2.5
"""Interquartile ranges from the quartiles to the fences, with many pictures behind them."""
DOUBT = 2.0
"""With n pictures the fences are 1 + DOUBT / sqrt(n) times as far away: quartiles of 30 pictures are a guess."""
TAIL = 0.01
"""Share that is expected beyond each fence: more than a normal distribution has there, as a few odd parts are no drift."""
ALARM, CLEAR = 0.25, 0.1
"""PSI above which it drifts (11 % beyond one fence), and below which it no longer does (6 %)."""
LEAST_SHARE = 1e-4
"""An empty bin would make the PSI infinite."""
SURE = 2.576
"""Standard deviations of a 99 % confidence interval."""
RATE_FACTOR = 1.5
"""A rate that changed by less does not matter, however sure it is."""


@dataclass(frozen=True)
class Scale:
    """The scale on which a quantity's differences count alike."""

    to: Callable[[Values], Values]
    back: Callable[[Values], Values]
    least: float
    """On the scale: however steady the reference, a spread below this is taken as this. Less does not matter to a model."""


def _log_odds(score: Values) -> Values:
    inside = np.clip(score, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(inside / (1 - inside)))


SCALES = {
    "brightness": Scale(lambda grey: grey, lambda grey: grey, least=5.0),
    "sharpness": Scale(lambda one: np.log(np.maximum(one, 1e-3)), np.exp, least=float(np.log(1.25))),
    "score": Scale(_log_odds, lambda odds: np.asarray(1 / (1 + np.exp(-odds))), least=0.5),
}


@dataclass(frozen=True)
class Range:
    """Where values of a quantity are expected."""

    scale: Scale
    low: float
    """On the scale."""
    high: float

    def ends(self) -> tuple[float, float]:
        """In the quantity's own unit."""
        low, high = self.scale.back(np.array([self.low, self.high]))
        return float(low), float(high)

    def psi(self, values: Sequence[float] | Values) -> float:
        """Of N values, at least one, against this range: 0 while at most TAIL of them is beyond each end."""
        scaled = self.scale.to(np.asarray(values, float))
        below, above = (max(TAIL, float(share)) for share in ((scaled < self.low).mean(), (scaled > self.high).mean()))
        return psi((TAIL, 1 - 2 * TAIL, TAIL), (below, max(0.0, 1 - below - above), above))


def expected(quantity: str, usual: Distribution) -> Range:
    """The range of brightness, sharpness or score by how it is usually spread."""
    scale = SCALES[quantity]
    first, _, third = scale.to(np.array(usual.quartiles))
    reach = REACH * (1 + DOUBT / np.sqrt(usual.number)) * max(third - first, scale.least)
    return Range(scale, float(first - reach), float(third + reach))


def psi(shares: Sequence[float] | Values, found: Sequence[float] | Values) -> float:
    """Population stability index: the sum of (found - expected) x ln(found / expected) over bins; 0 if all shares are equal."""
    before, now = (np.maximum(np.asarray(one, float), LEAST_SHARE) for one in (shares, found))
    return float(((now - before) * np.log(now / before)).sum())


def wilson(count: int, number: int) -> tuple[float, float]:
    """Wilson's interval, at SURE, of a share of which `count` of `number` were seen.

    It takes defects for independent: a long burst of them is told as a change, which it is.
    """
    share, spread = count / number, SURE**2 / number
    middle = (share + spread / 2) / (1 + spread)
    reach = SURE * float(np.sqrt(share * (1 - share) / number + spread / number / 4)) / (1 + spread)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def expected_rate(count: int, number: int) -> tuple[float, float]:
    """Where a rate is still what it was when `count` of `number` were seen."""
    low, high = wilson(count, number)
    return min(low, count / number / RATE_FACTOR), max(high, count / number * RATE_FACTOR)

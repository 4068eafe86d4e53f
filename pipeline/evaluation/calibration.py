"""Makes a probability mean what it says: of pictures scored 0.9, nine of ten are defective.

Where defects are as frequent as among the validation groups, that is: a line has fewer, and so has a score of 0.9 there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field
from scipy.optimize import minimize
from sklearn.model_selection import StratifiedGroupKFold

from pipeline.data.sample import Sample
from pipeline.evaluation.metrics import PartScore, Rate, Scores, labels_of, rate

Method = Literal["temperature", "platt", "beta"]
FOLDS = 5
BINS = 10
FEWEST = 10
"""Parts in a bin, about: of fewer the share says more of luck than of the score."""
DIGITS = 5
"""More of a figure of calibration would tell one machine from another."""
SLOPES = (-3.0, 1.6)
"""Of their logarithm: a slope of zero would make all parts equal."""


class Calibration(BaseModel):
    """Log-odds z -> low * ln p(z) - high * ln(1 - p(z)) + offset, p the sigmoid: rising in z, for it ranks nothing anew.

    temperature (Guo et al., ICML 2017): low = high, no offset. platt (Platt 1999): low = high. beta (Kull et al., AISTATS 2017).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method = "temperature"
    low: float = Field(1.0, gt=0)
    high: float = Field(1.0, gt=0)
    offset: float = 0.0

    def apply(self, log_odds: Scores) -> Scores:
        """Calibrated log-odds of any shape."""
        return np.asarray(self.high * np.logaddexp(0, log_odds) - self.low * np.logaddexp(0, -log_odds) + self.offset)

    def undo(self, log_odds: Scores) -> Scores:
        """What was calibrated to these, by bisection."""
        below, above = np.full(log_odds.shape, -200.0), np.full(log_odds.shape, 200.0)
        for _ in range(60):
            middle = (below + above) / 2
            higher = self.apply(middle) < log_odds
            below, above = np.where(higher, middle, below), np.where(higher, above, middle)
        return np.asarray((below + above) / 2)

    def __str__(self) -> str:
        if self.method == "temperature":
            return f"temperature {1 / self.low:.3f}"
        return f"{self.method} scaling (slopes {self.low:.3f} and {self.high:.3f}, offset {self.offset:+.3f})"


NONE = Calibration()


def to_log_odds(probability: Scores, least: float = 1e-7) -> Scores:
    """Probabilities, kept from 0 and 1, as log-odds."""
    clipped = np.clip(probability, least, 1 - 1e-7)
    return np.asarray(np.log(clipped / (1 - clipped)))


def to_probability(log_odds: Scores) -> Scores:
    """The sigmoid."""
    return np.asarray(np.exp(-np.logaddexp(0, -log_odds)))


def choose_calibration(samples: Sequence[Sample], log_odds: Scores) -> Calibration:
    """The simplest method that no other beats by more than a standard error in log-loss on left-out groups.

    Each part counts once, however many pictures it has.
    """
    defective, weights = labels_of(samples), part_weights(samples)
    groups = np.array([sample.group for sample in samples])
    methods = get_args(Method)
    folds = min(FOLDS, *(len(np.unique(groups[defective == label])) for label in (True, False)))
    if folds < 2:
        return fit_calibration(methods[0], log_odds, defective, weights)
    losses = np.empty((len(methods), len(samples)))
    for train, test in StratifiedGroupKFold(folds, shuffle=True, random_state=0).split(log_odds, defective, groups):
        for number, method in enumerate(methods):
            fitted = fit_calibration(method, log_odds[train], defective[train], weights[train])
            losses[number, test] = _losses(fitted.apply(log_odds[test]), defective[test].astype(float))
    means = (losses * weights).sum(axis=1) / weights.sum()
    best = int(np.argmin(means))
    for number, method in enumerate(methods):
        worse = (losses[number] - losses[best]) * weights
        of_groups = np.array([worse[groups == group].sum() for group in np.unique(groups)]) / weights.sum()
        if means[number] - means[best] <= np.sqrt((of_groups**2).sum()):
            return fit_calibration(method, log_odds, defective, weights)
    raise AssertionError("the best method is not worse than itself")


def fit_calibration(method: Method, log_odds: Scores, defective: npt.NDArray[np.bool_], weights: Scores) -> Calibration:
    """Fit one method to the pictures' log-odds, N, by their posterior: what few parts cannot tell stays as it was.

    Targets are drawn in from 0 and 1 as Platt does, which separable parts need, and the slopes' logarithms and the offset have a
    normal prior of spread 1 around no change, which thirty parts need: beta scaling, unchecked, made their Brier score worse.
    """
    positive, negative = weights[defective].sum(), weights[~defective].sum()
    target = np.where(defective, (positive + 1) / (positive + 2), 1 / (negative + 2))
    free = {"temperature": 1, "platt": 2, "beta": 3}[method]

    def spread(values: Scores) -> Calibration:
        low = float(np.exp(values[0]))
        high = float(np.exp(values[2])) if method == "beta" else low
        return Calibration(method=method, low=low, high=high, offset=float(values[1]) if free > 1 else 0.0)

    def loss(values: Scores) -> float:
        return float((_losses(spread(values).apply(log_odds), target) * weights).sum() + (values**2).sum() / 2)

    bounds = [SLOPES, (-10.0, 10.0), SLOPES][:free]
    found = minimize(loss, np.zeros(free), method="L-BFGS-B", bounds=bounds)
    return spread(found.x)


def part_weights(samples: Sequence[Sample]) -> Scores:
    """N, so that the pictures of a part weigh one together."""
    _, part, count = np.unique([sample.part for sample in samples], return_inverse=True, return_counts=True)
    return np.asarray(1 / count[part])


def _losses(log_odds: Scores, target: Scores) -> Scores:
    return np.asarray(np.logaddexp(0, log_odds) - target * log_odds)


@dataclass(frozen=True)
class Bin:
    """Parts with like scores: the mean score, and how many of them are defective."""

    score: float
    defective: Rate


@dataclass(frozen=True)
class Reliability:
    """How far scores of parts mean what they say."""

    expected_error: float
    """ECE: the mean distance of score and share, over bins with equally many parts (Nixon et al., CVPR workshops 2019).

    Never zero for few parts: luck alone moves the share of ten by a tenth.
    """
    brier: float
    """The mean squared distance of score and truth (Brier 1950)."""
    bins: tuple[Bin, ...]


def reliability(parts: Sequence[PartScore]) -> Reliability | None:
    """Of parts, the witnesses; None without any."""
    if not parts:
        return None
    ordered = sorted(parts, key=lambda part: part.score)
    score = np.array([part.score for part in ordered])
    truth = np.array([part.defective for part in ordered])
    # Equal scores stay together: which of them came first must not matter.
    wanted = np.linspace(0, len(score), max(1, min(BINS, len(score) // FEWEST)) + 1).round()
    cuts = np.unique([np.searchsorted(score, score[min(int(at), len(score) - 1)]) for at in wanted[1:-1]])
    pieces = [one for one in np.split(np.arange(len(score)), cuts) if len(one)]
    bins = tuple(Bin(round(float(score[one].mean()), DIGITS), rate(int(truth[one].sum()), len(one))) for one in pieces)
    gaps = sum(abs(one.score - (one.defective.value or 0.0)) * one.defective.total for one in bins)
    return Reliability(round(gaps / len(ordered), DIGITS), round(float(((score - truth) ** 2).mean()), DIGITS), bins)

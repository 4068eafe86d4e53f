"""Is a difference between two ways to train real? A paired test whose witnesses are groups, not pictures.

Both arms are tested on the same groups, so groups are drawn with replacement once for both (a paired cluster bootstrap: Efron and
Tibshirani, An Introduction to the Bootstrap, 1993), within each fold's test part, since scores of two models share no scale, and
within good and defective groups, so that no draw lacks a class. One group fewer is drawn than there are, which makes the spread
right for few groups (Rao and Wu, Journal of the American Statistical Association 83, 1988). With more than one seed those are
drawn too, so that the luck of a training is in the interval (Bouthillier et al., Accounting for variance in machine learning
benchmarks, MLSys 2021). Several arms against one: p-values after Holm, as Demsar advises (JMLR 7, 2006).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from pipeline.evaluation.metrics import CONFIDENCE, Scores, area_under_roc, precision_of_ranks

Truth = npt.NDArray[np.bool_]
RESAMPLES = 2000
CHUNK = 4_000_000
"""Numbers per array: resamples x pictures are gone through in pieces."""


@dataclass(frozen=True)
class Answered:
    """The test part of one fold, and what every arm's models answered on it."""

    truth: Truth
    """N, True for defective."""
    groups: npt.NDArray[np.str_]
    """N."""
    scores: Scores
    """Arms x seeds x N."""


@dataclass(frozen=True)
class Ranking:
    """AUROC and average precision, of whatever shape."""

    auroc: Scores
    average_precision: Scores


@dataclass(frozen=True)
class Difference:
    """One arm less another, with its 95 % interval and two-sided p-value; None where the test parts are too small to tell."""

    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    """After Holm, where several arms are held against one."""

    @property
    def real(self) -> bool:
        """The interval excludes zero, and so many comparisons do not explain it."""
        if self.low is None or self.high is None or self.p is None:
            return False
        return (self.low > 0 or self.high < 0) and self.p <= 1 - CONFIDENCE

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:+.3f}"
        return f"{self.value:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


def measure(folds: Sequence[Answered]) -> Ranking:
    """What every model reached on its whole test part: arms x folds x seeds."""
    ranked = []
    for fold in folds:
        once = np.ones((1, len(np.unique(fold.groups))))
        ranked.append([[_rank(fold, scores, once) for scores in arm] for arm in fold.scores])
    table = np.array([[[(one.auroc[0], one.average_precision[0]) for one in arm] for arm in fold] for fold in ranked])
    return Ranking(table[..., 0].swapaxes(0, 1), table[..., 1].swapaxes(0, 1))


def bootstrap(folds: Sequence[Answered], resamples: int = RESAMPLES, seed: int = 0) -> Ranking | None:
    """Every arm's mean over folds and seeds on the same drawn groups: arms x resamples.

    None where a test part has fewer than two groups of a class: such draws would all be the same.
    """
    if any(len(np.unique(fold.groups[fold.truth == label])) < 2 for fold in folds for label in (True, False)):
        return None
    of_groups, of_seeds = np.random.default_rng(seed).spawn(2)
    drawn = [_draw_fold(fold, resamples, of_groups, of_seeds) for fold in folds]
    return Ranking(
        np.mean([one.auroc for one in drawn], axis=0),
        np.mean([one.average_precision for one in drawn], axis=0),
    )


def interval(drawn: Scores) -> tuple[float, float]:
    """The 95 % percentile interval."""
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def differences(value: Scores, drawn: Scores | None, first: int, others: Sequence[int]) -> list[Difference]:
    """Each of the other arms less the first; `value` by arm, `drawn` by arm and resample."""
    if drawn is None:
        return [Difference(float(value[other] - value[first])) for other in others]
    gaps = [drawn[other] - drawn[first] for other in others]
    ps = holm([_two_sided(gap) for gap in gaps])
    return [
        Difference(float(value[other] - value[first]), *interval(gap), p) for other, gap, p in zip(others, gaps, ps, strict=True)
    ]


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    order = np.argsort(ps, kind="stable")
    stepped = np.maximum.accumulate(np.array(ps)[order] * np.arange(len(ps), 0, -1))
    adjusted = np.empty(len(ps))
    adjusted[order] = np.minimum(stepped, 1)
    return [float(p) for p in adjusted]


def _two_sided(gap: Scores) -> float:
    tail = min(np.count_nonzero(gap <= 0), np.count_nonzero(gap >= 0))
    return float(min(1.0, 2 * (tail + 1) / (len(gap) + 1)))


def _draw_fold(fold: Answered, resamples: int, of_groups: np.random.Generator, of_seeds: np.random.Generator) -> Ranking:
    """Arms x resamples, of one fold."""
    arms, seeds, pictures = fold.scores.shape
    auroc, precision = np.empty((2, arms, seeds, resamples))
    step = max(1, CHUNK // pictures)
    for start in range(0, resamples, step):
        part = slice(start, min(start + step, resamples))
        weights = _draw_groups(fold, part.stop - start, of_groups)
        for arm in range(arms):
            for one in range(seeds):
                ranked = _rank(fold, fold.scores[arm, one], weights)
                auroc[arm, one, part], precision[arm, one, part] = ranked.auroc, ranked.average_precision
    if seeds == 1:
        return Ranking(auroc[:, 0], precision[:, 0])
    share = of_seeds.multinomial(seeds - 1, np.full(seeds, 1 / seeds), (arms, resamples)).swapaxes(1, 2) / (seeds - 1)
    return Ranking((auroc * share).sum(axis=1), (precision * share).sum(axis=1))


def _draw_groups(fold: Answered, resamples: int, random: np.random.Generator) -> Scores:
    """How often each group is drawn, resamples x groups: good, defective and mixed ones each among themselves."""
    names, group = np.unique(fold.groups, return_inverse=True)
    bad, good = (np.bincount(group[fold.truth == label], minlength=len(names)) > 0 for label in (True, False))
    weights = np.ones((resamples, len(names)))
    for stratum in (bad & ~good, good & ~bad, good & bad):
        size = int(stratum.sum())
        if size > 1:
            drawn = random.multinomial(size - 1, np.full(size, 1 / size), resamples)
            weights[:, stratum] = drawn * (size / (size - 1))
    return weights


def _rank(fold: Answered, scores: Scores, weights: Scores) -> Ranking:
    """AUROC and average precision of N scores under each row of weights of groups, R x G -> R."""
    _, group = np.unique(fold.groups, return_inverse=True)
    levels, level = np.unique(-scores, return_inverse=True)
    shape = (weights.shape[1], len(levels))
    found, alarms = (weights @ csr_array(((fold.truth == label) * 1.0, (group, level)), shape=shape) for label in (True, False))
    return Ranking(area_under_roc(found, alarms), precision_of_ranks(found, alarms))

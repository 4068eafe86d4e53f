"""Figures with intervals. Parts are the witnesses: pictures of one part are not independent."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.stats import beta

from deploy.verdict import Thresholds, Verdict, decide, part_probability
from pipeline.data.sample import Sample

Scores = npt.NDArray[np.float64]
Amounts = npt.NDArray[np.float64]
Table = Any
"""Groups x scores: a numpy array, or a sparse one of scipy."""
CONFIDENCE = 0.95
MAX_FPR = 0.1
"""No line keeps an inspector that rejects more good parts: the partial AUROC is of fewer."""
AT_ONCE = 4_000_000
"""Amounts of resamples in memory at once."""


@dataclass(frozen=True)
class Figure:
    """A value and its 95 % interval; None where the data cannot say."""

    value: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.value is None:
            return "not defined"
        if self.low is None or self.high is None:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.low:.3f}-{self.high:.3f})"


@dataclass(frozen=True)
class Rate:
    """So many of so many parts, with the Clopper-Pearson interval."""

    count: int
    total: int
    value: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.value is None:
            return "no such parts"
        return f"{self.count} of {self.total} ({self.value:.1%}; {self.low:.1%}-{self.high:.1%})"


@dataclass(frozen=True)
class Counts:
    """Verdicts over parts, and the two errors that matter."""

    verdicts: dict[str, dict[str, int]]
    """True label -> verdict -> parts."""
    escape: Rate
    """Defective parts passed as good."""
    overkill: Rate
    """Good parts rejected."""
    review: Rate
    """Parts sent to a person."""


def rate(count: int, total: int) -> Rate:
    """Clopper-Pearson interval of a rate (Biometrika 26, 1934)."""
    if total == 0:
        return Rate(0, 0, None, None, None)
    tail = (1 - CONFIDENCE) / 2
    low = 0.0 if count == 0 else float(beta.ppf(tail, count, total - count + 1))
    high = 1.0 if count == total else float(beta.ppf(1 - tail, count + 1, total - count))
    return Rate(count, total, count / total, low, high)


def upper_bound(count: int, total: int, confidence: float = CONFIDENCE) -> float:
    """What a rate is at most with a confidence (one-sided Clopper-Pearson): zero of 57 shows 5.1 % at most with 95 %."""
    return 1.0 if count >= total else float(beta.ppf(confidence, count + 1, total - count))


def lower_bound(count: int, total: int, confidence: float = CONFIDENCE) -> float:
    """What a rate is at least with a confidence, in the same way."""
    return 0.0 if not count else float(beta.ppf(1 - confidence, count, total - count + 1))


def labels_of(samples: Sequence[Sample]) -> npt.NDArray[np.bool_]:
    """N, True for defective."""
    return np.array([sample.label == "defective" for sample in samples], np.bool_)


def auroc(samples: Sequence[Sample], scores: Scores) -> Figure:
    """Area under the ROC curve over pictures, with a bootstrap interval over groups."""
    return bootstrapped(area_under_roc, *counts_of(samples, scores))


def average_precision(samples: Sequence[Sample], scores: Scores) -> Figure:
    """Average precision over pictures, with a bootstrap interval over groups."""
    return bootstrapped(precision_of_ranks, *counts_of(samples, scores))


def partial_auroc(samples: Sequence[Sample], scores: Scores) -> Figure:
    """Of the same curve, the part at few false alarms: see `area_at_few_false_alarms`."""
    return bootstrapped(area_at_few_false_alarms, *counts_of(samples, scores))


def area_under_roc(positive: Amounts, negative: Amounts) -> Amounts:
    """... x L amounts of two classes at L distinct scores, the highest first -> ..., the AUROC; ties count half."""
    outranked = np.cumsum(positive, axis=-1) - positive / 2
    return np.asarray((outranked * negative).sum(axis=-1) / (positive.sum(axis=-1) * negative.sum(axis=-1)))


def precision_of_ranks(positive: Amounts, negative: Amounts) -> Amounts:
    """Average precision, of the same."""
    found = np.cumsum(positive, axis=-1)
    precision = found / np.maximum(found + np.cumsum(negative, axis=-1), 1)
    return np.asarray((positive * precision).sum(axis=-1) / positive.sum(axis=-1))


def area_at_few_false_alarms(positive: Amounts, negative: Amounts) -> Amounts:
    """Of the same, the AUROC over false-positive rates up to MAX_FPR, standardised so that luck is 0.5 (McClish 1989)."""
    step, share = positive / positive.sum(axis=-1, keepdims=True), negative / negative.sum(axis=-1, keepdims=True)
    hits, alarms = np.cumsum(step, axis=-1), np.cumsum(share, axis=-1)
    inside = np.clip(MAX_FPR - (alarms - share), 0, share)
    height = hits - step + step * inside / np.maximum(share, 1e-300) / 2
    area, luck = (inside * height).sum(axis=-1), MAX_FPR**2 / 2
    return np.asarray((1 + (area - luck) / (MAX_FPR - luck)) / 2)


def bootstrapped(
    measure: Callable[[Amounts, Amounts], Amounts], positive: Table, negative: Table, repetitions: int = 1000
) -> Figure:
    """The measure of G x L amounts of two classes at L scores, the highest first, with an interval over the G groups.

    What a resample holds is a sum over its groups: the scores are sorted once, not once for each resample.
    """
    groups, levels = positive.shape
    if not positive.sum() or not negative.sum():
        return Figure(None, None, None)
    random = np.random.default_rng(0)
    values = []
    at_once = max(1, AT_ONCE // max(groups, levels))
    for start in range(0, repetitions, at_once):
        drawn = [random.integers(groups, size=groups) for _ in range(min(at_once, repetitions - start))]
        weights = np.array([np.bincount(one, minlength=groups) for one in drawn], np.float64)
        both = weights @ positive, weights @ negative
        usable = (both[0].sum(axis=1) > 0) & (both[1].sum(axis=1) > 0)
        values.append(measure(both[0][usable], both[1][usable]))
    every = np.ones(groups)
    value = float(measure(every @ positive, every @ negative))
    resampled = np.concatenate(values)
    if np.ptp(resampled) == 0:  # perfect, or one group: resampling knows nothing of what it has not seen
        return Figure(value, None, None)
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Figure(value, float(low), float(high))


def counts_of(samples: Sequence[Sample], scores: Scores) -> tuple[Table, Table]:
    """Groups x distinct scores, the highest first: pictures that are defective, and that are good."""
    names, group = np.unique([sample.group for sample in samples], return_inverse=True)
    levels, level = np.unique(-scores, return_inverse=True)
    defective, shape = labels_of(samples), (len(names), len(levels))
    return (
        csr_array((defective.astype(np.float64), (group, level)), shape=shape),
        csr_array((~defective * 1.0, (group, level)), shape=shape),
    )


@dataclass(frozen=True)
class PartScore:
    """A part, judged by the station's rule."""

    part: str
    defective: bool
    defect_type: str
    """Where its pictures show several, all of them, joined by " + "."""
    score: float

    @property
    def types(self) -> tuple[str, ...]:
        """The defect types it bears witness for."""
        return tuple(self.defect_type.split(" + "))


def part_scores(samples: Sequence[Sample], scores: Scores) -> list[PartScore]:
    """One score per part (the pictures of a group with one label), by the rule that the station uses on its frames."""
    views: dict[str, list[float]] = defaultdict(list)
    shown: dict[str, list[Sample]] = defaultdict(list)
    for sample, score in zip(samples, scores, strict=True):
        views[sample.part].append(float(score))
        shown[sample.part].append(sample)
    return [
        PartScore(
            part,
            shown[part][0].label == "defective",
            " + ".join(sorted({sample.defect_type for sample in shown[part]})),
            part_probability(scores),
        )
        for part, scores in views.items()
    ]


def count_verdicts(parts: Sequence[PartScore], thresholds: Thresholds) -> Counts:
    """Escapes, overkill and reviews of parts at two thresholds."""
    verdicts = {
        label: {verdict.value: 0 for verdict in Verdict if verdict is not Verdict.FAULT} for label in ("good", "defective")
    }
    for part in parts:
        verdicts["defective" if part.defective else "good"][decide(part.score, thresholds).value] += 1
    defective, good = sum(verdicts["defective"].values()), sum(verdicts["good"].values())
    review = verdicts["defective"][Verdict.REVIEW.value] + verdicts["good"][Verdict.REVIEW.value]
    return Counts(
        verdicts,
        rate(verdicts["defective"][Verdict.GOOD.value], defective),
        rate(verdicts["good"][Verdict.DEFECTIVE.value], good),
        rate(review, defective + good),
    )


def count_by_type(parts: Sequence[PartScore], thresholds: Thresholds) -> dict[str, Counts]:
    """The same, for the parts of each defect type."""
    kinds = sorted({kind for part in parts if part.defective for kind in part.types})
    return {kind: count_verdicts([part for part in parts if part.defective and kind in part.types], thresholds) for kind in kinds}

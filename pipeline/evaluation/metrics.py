"""Figures with intervals. Parts are the witnesses: pictures of one part are not independent."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import beta
from sklearn.metrics import average_precision_score, roc_auc_score

from deploy.verdict import Thresholds, Verdict, decide, part_probability
from pipeline.data.sample import Sample

Scores = npt.NDArray[np.float64]
CONFIDENCE = 0.95


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


def upper_bound(count: int, total: int) -> float:
    """What a rate is below with 95 % confidence (one-sided Clopper-Pearson): zero of 57 shows less than 5.1 %."""
    return 1.0 if count >= total else float(beta.ppf(CONFIDENCE, count + 1, total - count))


def labels_of(samples: Sequence[Sample]) -> npt.NDArray[np.bool_]:
    """N, True for defective."""
    return np.array([sample.label == "defective" for sample in samples])


def auroc(samples: Sequence[Sample], scores: Scores) -> Figure:
    """Area under the ROC curve over pictures, with a bootstrap interval over groups."""
    return _bootstrapped(samples, scores, lambda truth, values: float(roc_auc_score(truth, values)))


def average_precision(samples: Sequence[Sample], scores: Scores) -> Figure:
    """Average precision over pictures, with a bootstrap interval over groups."""
    return _bootstrapped(samples, scores, lambda truth, values: float(average_precision_score(truth, values)))


def _bootstrapped(
    samples: Sequence[Sample], scores: Scores, measure: Callable[[npt.NDArray[np.bool_], Scores], float], repetitions: int = 1000
) -> Figure:
    truth = labels_of(samples)
    if truth.all() or not truth.any():
        return Figure(None, None, None)
    names, group = np.unique([sample.group for sample in samples], return_inverse=True)
    members = [np.flatnonzero(group == number) for number in range(len(names))]
    random = np.random.default_rng(0)
    values = []
    for _ in range(repetitions):
        chosen = np.concatenate([members[number] for number in random.integers(len(names), size=len(names))])
        if 0 < truth[chosen].sum() < len(chosen):
            values.append(measure(truth[chosen], scores[chosen]))
    if np.ptp(values) == 0:  # perfect, or one group: resampling knows nothing of what it has not seen
        return Figure(measure(truth, scores), None, None)
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Figure(measure(truth, scores), float(low), float(high))


@dataclass(frozen=True)
class PartScore:
    """A part, judged by the station's rule."""

    part: str
    defective: bool
    defect_type: str
    score: float


def part_scores(samples: Sequence[Sample], scores: Scores) -> list[PartScore]:
    """One score per part (the pictures of a group with one label), by the rule that the station uses on its frames."""
    views: dict[str, list[float]] = defaultdict(list)
    shown: dict[str, Sample] = {}
    for sample, score in zip(samples, scores, strict=True):
        views[sample.part].append(float(score))
        shown.setdefault(sample.part, sample)
    return [
        PartScore(part, shown[part].label == "defective", shown[part].defect_type, part_probability(scores))
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
    kinds = sorted({part.defect_type for part in parts if part.defective})
    return {kind: count_verdicts([part for part in parts if part.defect_type == kind], thresholds) for kind in kinds}

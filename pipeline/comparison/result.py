"""What a comparison found: figures of every arm, and which differences are real."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.comparison.arms import Arm
from pipeline.comparison.entries import Entry
from pipeline.comparison.paired import Answered, Difference, Ranking, bootstrap, differences, interval, measure
from pipeline.comparison.work import Job, entries_of
from pipeline.data.sample import Sample
from pipeline.evaluation.metrics import Scores, labels_of


@dataclass(frozen=True)
class Spread:
    """The mean over folds and seeds, how far single models lie apart, and what the mean's 95 % interval over groups is."""

    value: float
    sd: float
    """Standard deviation of single models, over folds and seeds."""
    low: float | None
    high: float | None

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.sd:.3f}"


@dataclass(frozen=True)
class ArmResult:
    """One arm at one point of the curve."""

    arm: Arm
    auroc: Spread
    average_precision: Spread
    entries: tuple[Entry, ...]

    @property
    def seconds(self) -> float:
        """Of one training, on average."""
        return float(np.mean([entry.seconds for entry in self.entries]))

    @property
    def trained_parameters(self) -> int:
        """That learn."""
        return self.entries[0].trained_parameters


@dataclass(frozen=True)
class Pair:
    """One arm less another."""

    arm: str
    less: str
    auroc: Difference
    average_precision: Difference
    ahead: int
    """Folds and seeds in which it has the higher AUROC."""
    of: int


@dataclass(frozen=True)
class Point:
    """All arms, learning from so many defective groups."""

    groups: float
    """Defective groups learned from, on average over folds."""
    arms: tuple[ArmResult, ...]
    versus_first: tuple[Pair, ...]
    """Every other arm less the first."""
    versus_best: tuple[Pair, ...]
    """Every other arm less the one with the highest AUROC."""

    @property
    def best(self) -> ArmResult:
        """The arm with the highest AUROC; the first of equals."""
        return max(self.arms, key=lambda one: one.auroc.value)


@dataclass(frozen=True)
class Comparison:
    """A dataset's comparison; `points` ends with all defective groups."""

    dataset: str
    pictures: int
    groups: int
    defective_groups: int
    folds: int
    seeds: int
    points: tuple[Point, ...]
    notes: tuple[str, ...] = ()

    @property
    def whole(self) -> Point:
        """Learned from all there is."""
        return self.points[-1]


def weigh(
    dataset: str,
    samples: Sequence[Sample],
    arms: Sequence[Arm],
    jobs: Sequence[Job],
    entries: Mapping[str, Entry],
    notes: Sequence[str] = (),
) -> Comparison:
    """Put trained models into figures: the jobs' entries, by key."""
    counts = sorted({job.point for job in jobs if job.point})
    points = tuple(_point(arms, jobs, entries, count) for count in (*counts, None))
    return Comparison(
        dataset,
        len(samples),
        len({sample.group for sample in samples}),
        len({sample.group for sample in samples if sample.label == "defective"}),
        len({job.fold for job in jobs}),
        len({job.recipe.seed for job in jobs}),
        points,
        tuple(notes),
    )


def _point(arms: Sequence[Arm], jobs: Sequence[Job], entries: Mapping[str, Entry], count: int | None) -> Point:
    of_arms = [entries_of(jobs, entries, arm, count) for arm in arms]
    tested = _tested(jobs, of_arms)
    measured, drawn = measure(tested), bootstrap(tested)
    mean = Ranking(measured.auroc.mean(axis=(1, 2)), measured.average_precision.mean(axis=(1, 2)))

    def pairs(first: int) -> tuple[Pair, ...]:
        others = [number for number in range(len(arms)) if number != first]
        by_auroc = differences(mean.auroc, drawn.auroc if drawn else None, first, others)
        by_precision = differences(mean.average_precision, drawn.average_precision if drawn else None, first, others)
        return tuple(
            Pair(
                arms[other].name,
                arms[first].name,
                gap,
                precise,
                int((won := measured.auroc[other] > measured.auroc[first]).sum()),
                won.size,
            )
            for other, gap, precise in zip(others, by_auroc, by_precision, strict=True)
        )

    results = tuple(
        ArmResult(
            arm,
            _spread(measured.auroc[number], drawn.auroc[number] if drawn else None),
            _spread(measured.average_precision[number], drawn.average_precision[number] if drawn else None),
            tuple(entry for fold in of_arms[number] for entry in fold),
        )
        for number, arm in enumerate(arms)
    )
    groups = float(np.mean([entry.defective_groups for entry in results[0].entries]))
    return Point(groups, results, pairs(0), pairs(int(mean.auroc.argmax())))


def _tested(jobs: Sequence[Job], of_arms: Sequence[Sequence[Sequence[Entry]]]) -> list[Answered]:
    """The folds' test parts with what every arm's models answered."""
    folds = {job.fold: job.manifest.split("test") for job in jobs}
    return [
        Answered(
            labels_of(test),
            np.array([sample.group for sample in test]),
            np.array([[entry.scores for entry in of_folds[number]] for of_folds in of_arms]),
        )
        for number, test in enumerate(folds.values())
    ]


def _spread(models: Scores, drawn: Scores | None) -> Spread:
    low, high = interval(drawn) if drawn is not None else (None, None)
    return Spread(float(models.mean()), float(models.std(ddof=1)) if models.size > 1 else 0.0, low, high)

"""The robustness card: how verdicts change under what a line does to pictures, and what the model does not stand."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from deploy.errors import DatasetError, EngineError
from deploy.preprocess import Picture, Preprocessing, letterbox, read_picture
from deploy.verdict import Thresholds
from pipeline.data.sample import Sample
from pipeline.evaluation.metrics import Scores, part_scores
from pipeline.evaluation.predict import BATCH, Infer
from pipeline.evaluation.robustness.conditions import CONDITIONS, change
from pipeline.evaluation.robustness.findings import MANY, exceeds, find
from pipeline.evaluation.robustness.outcome import Outcome, mildest, outcome_of


@dataclass(frozen=True)
class Strain:
    """What a condition does to the verdicts."""

    name: str
    unit: str
    plain: str
    """What happens on the line."""
    outcomes: tuple[Outcome, ...]
    """From mild to grave; where there are two ways to go, first all of one, then all of the other."""
    exceeds_at: tuple[float, ...]
    """The mildest level at which escapes exceed the limit, for each way to go; empty: at none that was tried."""
    finding: str
    """What is grave about it, in one sentence; empty where the verdicts stand it."""


@dataclass(frozen=True)
class RobustnessCard:
    """Everything that robustness.json and the report say of it."""

    pictures: int
    parts: int
    thresholds: Thresholds
    max_escape: float | None
    untouched: Outcome
    strains: tuple[Strain, ...]
    findings: tuple[str, ...]
    """What the model does not stand, the gravest first."""

    def sentences(self) -> list[str]:
        """The findings, or one sentence that there are none; and what the parts cannot tell."""
        said = [f"{finding}." for finding in self.findings]
        if not said:
            said = [
                f"The verdicts stand all {len(self.strains)} conditions as far as they were tried: no more defective parts "
                "escape than untouched or than the limit allows, and no more than "
                f"{100 * MANY:g} % of {self.parts} verdicts change."
            ]
        if not self.untouched.escape.total:
            said.append("There are no defective parts here, so nothing is known of escapes under any condition.")
        return said


def robustness_card(
    samples: Sequence[Sample],
    spec: Preprocessing,
    infer: Infer,
    thresholds: Thresholds,
    max_escape: float | None,
    progress: Callable[[int, int], None] | None = None,
) -> RobustnessCard:
    """Judge the samples under every condition and level of `CONDITIONS`; the same samples always give the same pictures.

    A picture is read once, and at most 16 frames are kept. `progress` is told of (done, all) pictures. Raises DatasetError for no
    samples or one that cannot be read, EngineError for an answer that is no probability.
    """
    if not samples:
        raise DatasetError("found no pictures to change; the robustness card needs test pictures, good and defective")
    scores = _scores(samples, spec, infer, progress)
    before = part_scores(samples, scores[:, 0])
    untouched = outcome_of(0, "untouched", before, before, thresholds)
    column = 1
    strains, findings = [], []
    for condition in CONDITIONS:
        outcomes = []
        for level in condition.levels:
            now = part_scores(samples, scores[:, column])
            outcomes.append(outcome_of(level, condition.named(level), now, before, thresholds))
            column += 1
        finding = find(condition.name, outcomes, untouched, max_escape)
        if finding:
            findings.append(finding)
        too_many = mildest(outcomes, lambda one: exceeds(one, max_escape, untouched))
        strains.append(
            Strain(
                condition.name,
                condition.unit,
                condition.plain,
                tuple(outcomes),
                tuple(outcome.level for outcome, _ in too_many),
                finding.sentence if finding else "",
            )
        )
    sentences = tuple(finding.sentence for finding in sorted(findings))
    return RobustnessCard(len(samples), len(before), thresholds, max_escape, untouched, tuple(strains), sentences)


def _scores(samples: Sequence[Sample], spec: Preprocessing, infer: Infer, progress: Callable[[int, int], None] | None) -> Scores:
    """N x L defect probabilities: of the untouched pictures, then of each condition's levels in turn."""
    levels = 1 + sum(len(condition.levels) for condition in CONDITIONS)
    scores = np.empty(len(samples) * levels)
    frames, done = _frames(samples, spec), 0
    while batch := list(islice(frames, BATCH)):
        answers = infer(np.stack(batch)).defect
        wrong = ~((answers >= 0) & (answers <= 1))  # also NaN
        if wrong.any():
            raise EngineError(
                f"{wrong.sum()} of {len(batch)} answers are no probabilities (first: {answers[wrong][0]}); "
                "this model cannot be used"
            )
        scores[done : done + len(batch)] = answers
        done += len(batch)
        if progress:
            progress(done // levels, len(samples))
    return scores.reshape(len(samples), levels)


def _frames(samples: Sequence[Sample], spec: Preprocessing) -> Iterator[Picture]:
    for sample in samples:
        picture = read_picture(sample.file)
        yield letterbox(picture, spec)
        for condition in CONDITIONS:
            for level in condition.levels:
                yield letterbox(change(picture, condition, level, sample.sha256), spec)

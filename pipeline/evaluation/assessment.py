"""What the figures of a run on pictures it never learned from say, in numbers and in sentences."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pipeline.data.groups import is_guessed
from pipeline.data.manifest import Manifest
from pipeline.data.sample import Sample
from pipeline.evaluation.calibration import Reliability, reliability, to_log_odds, to_probability
from pipeline.evaluation.decision import Decision
from pipeline.evaluation.heatmaps import HeatmapQuality
from pipeline.evaluation.metrics import (
    Counts,
    Figure,
    PartScore,
    Scores,
    auroc,
    average_precision,
    count_by_type,
    count_verdicts,
    part_scores,
    partial_auroc,
    upper_bound,
)
from pipeline.evaluation.slices import SliceTable
from pipeline.evaluation.thresholds import Promise, mean_cost, parts_needed, percent, prove, too_few, why_undecided


@dataclass(frozen=True)
class Evaluation:
    """Everything that metrics.json and the report say."""

    dataset: str
    samples: tuple[Sample, ...]
    scores: Scores
    parts: tuple[PartScore, ...]
    decision: Decision
    auroc: Figure
    partial_auroc: Figure
    average_precision: Figure
    counts: Counts
    by_type: dict[str, Counts]
    uncalibrated: Reliability | None
    calibrated: Reliability | None
    learned: int = 0
    """Pictures among these that the run has learned from, by their own hash or their group's name."""
    trained_on: dict[str, Any] | None = None
    """Identity of the manifest the run was trained on."""
    proofs: tuple[Promise, ...] = ()
    """What these parts, which chose nothing, prove of each limit."""
    heatmaps: HeatmapQuality | None = None
    """Heatmaps against masks, where they were looked at."""
    slices: SliceTable | None = None

    @property
    def groups_are_guessed(self) -> bool:
        """Nobody named the parts: look-alikes stand in for them."""
        return any(is_guessed(sample) for sample in self.samples)

    @property
    def leakage(self) -> str:
        """What the split that the run was trained on leaks; empty when it does not."""
        return str(self.trained_on["leakage"]) if self.trained_on else ""

    @cached_property
    def unproven(self) -> str:
        """Why these parts, although there are enough, are no evidence that the model separates; empty when they are."""
        good, bad = ([part.score for part in self.parts if part.defective == label] for label in (False, True))
        return "" if too_few(len(good), len(bad)) else why_undecided(np.array(good), np.array(bad))

    def caveats(self) -> list[str]:
        """What makes the figures less than they seem, the gravest first."""
        found = [self.leakage] if self.leakage else []
        if self.learned:
            found.append(
                f"{self.learned} of these {len(self.samples)} pictures show what the run learned from: the figures flatter it."
            )
        if self.groups_are_guessed:
            found.append(
                "Nobody named the parts; pictures that look alike were taken for one, so counts and intervals are a guess."
            )
        good, bad = self.counts.overkill.total, self.counts.escape.total
        if good and bad and (few := too_few(good, bad)):
            found.append(f"{few}.")
        if self.decision.undecided and not self.unproven:
            found.append(f"Every part goes to a person, because on the validation parts there is {self.decision.undecided}.")
        return found

    def verdict(self) -> str:
        """Two sentences for who signs: what happened to these parts, and what that proves of the stated limit."""
        if self.unproven:
            return (
                f"{self.unproven[0].upper()}{self.unproven[1:]}. Do not put it on a line: look at the labels, the pictures and "
                "the training first; no threshold of it means anything."
            )
        broken = [f"{one.errors} of {one.parts} for {one.wanted}" for one in self.proofs if one.refuted]
        return f"{self.outcome()} {self.statement()}" + (f" Limits are broken: {'; '.join(broken)}." if broken else "")

    def outcome(self) -> str:
        """What happened to these parts, in one sentence."""
        escape, overkill, review = self.counts.escape, self.counts.overkill, self.counts.review
        said = []
        if escape.total:
            said.append(f"{escape.count} of {escape.total} defective parts passed as good")
        if overkill.total:
            said.append(f"{overkill.count} of {overkill.total} good parts were rejected")
        return f"{', '.join([*said, f'{review.count} of {review.total} parts go to a person'])}."

    def statement(self) -> str:
        """What these parts prove about escapes, in one sentence."""
        escape, limits = self.counts.escape, self.decision.limits
        if escape.value is None:
            return "There are no defective parts here, so nothing is known of escapes."
        sure = percent(limits.confidence)
        bound = upper_bound(escape.count, escape.total, limits.confidence)
        proven = f"With {sure} confidence at most {percent(bound)} of defective parts escape"
        limit = limits.max_escape
        if limit is None:
            return f"{proven}."
        if bound <= limit:
            return f"{proven}: the limit of {percent(limit)} is shown."
        least = upper_bound(0, escape.total, limits.confidence)
        if least <= limit:
            return f"{proven}: the limit of {percent(limit)} is not shown."
        needed = parts_needed(limit, limits.confidence)
        takes = f"to show {percent(limit)} takes {needed} without a miss" if needed else "no number of parts shows zero"
        return f"{proven}; {escape.total} parts cannot show less than {percent(least)}, {takes}."

    def cost(self) -> float | None:
        """What a part costs with these thresholds, where costs are stated."""
        costs = self.decision.limits.costs
        return mean_cost(self.parts, self.decision.thresholds, costs) if costs else None

    def wrong_reasons(self) -> list[Any]:
        """Parts called DEFECTIVE, rightly, whose heatmap peaks beside the defect: right for the wrong reason."""
        if not self.heatmaps:
            return []
        caught = {part.part for part in self.parts if part.defective and part.score > self.decision.thresholds.reject}
        return [place for place in self.heatmaps.wrong_places if place.part in caught]

    def metrics(self) -> dict[str, Any]:
        """The content of metrics.json, documented in docs/report.md."""
        return {
            "dataset": self.dataset,
            "manifest": self.trained_on,
            "pictures": len(self.samples),
            "groups": len({sample.group for sample in self.samples}),
            "parts": len(self.parts),
            "verdict": self.verdict(),
            "statement": self.statement(),
            "unproven": self.unproven,
            "auroc": asdict(self.auroc),
            "partial_auroc": asdict(self.partial_auroc),
            "average_precision": asdict(self.average_precision),
            "escape": asdict(self.counts.escape),
            "overkill": asdict(self.counts.overkill),
            "review": asdict(self.counts.review),
            "cost_per_part": self.cost(),
            "verdicts": self.counts.verdicts,
            "by_type": {
                kind: {"escape": asdict(counts.escape), "review": asdict(counts.review)} for kind, counts in self.by_type.items()
            },
            "thresholds": self.decision.thresholds.model_dump(),
            "limits": self.decision.limits.model_dump(),
            "promises": [_told(promise) for promise in self.decision.promises],
            "proofs": [_told(proof) for proof in self.proofs],
            "undecided": self.decision.undecided,
            "calibration": self.decision.calibration.model_dump()
            | {"before": self.uncalibrated and asdict(self.uncalibrated), "after": self.calibrated and asdict(self.calibrated)},
            "slices": self.slices and asdict(self.slices),
            "learned": self.learned,
            "caveats": self.caveats(),
            **(self.heatmaps.metrics() if self.heatmaps else {}),
            "wrong_reasons": [asdict(place) for place in self.wrong_reasons()],
        }


def _told(promise: Promise) -> dict[str, Any]:
    return promise.model_dump() | {"shown": promise.shown, "refuted": promise.refuted, "sentence": str(promise)}


def assess(
    dataset: str,
    samples: Sequence[Sample],
    scores: Scores,
    decision: Decision,
    learned: int = 0,
    trained_on: Manifest | None = None,
    heatmaps: HeatmapQuality | None = None,
    slices: SliceTable | None = None,
) -> Evaluation:
    """Judge scores N of samples N by a run that was `trained_on` a manifest."""
    parts = part_scores(samples, scores)
    raw = to_probability(decision.calibration.undo(to_log_odds(scores, least=1e-30)))
    return Evaluation(
        dataset,
        tuple(samples),
        scores,
        tuple(parts),
        decision,
        auroc(samples, scores),
        partial_auroc(samples, scores),
        average_precision(samples, scores),
        count_verdicts(parts, decision.thresholds),
        count_by_type(parts, decision.thresholds),
        reliability(part_scores(samples, raw)),
        reliability(parts),
        learned,
        trained_on.identity() if trained_on else None,
        () if decision.undecided else prove(parts, decision.thresholds, decision.limits),
        heatmaps,
        slices,
    )

"""Is the model worse on some parts: those of one camera, supplier or shift, with small defects, or in dark pictures?

A slice is a value of a column that is known of the pictures, a defect type, a third of the defects by size, or a third of the
parts by brightness. A part is judged in each slice that has pictures of it, by these alone: two cameras that see one part give it
two scores. Each slice is asked four questions, one-sided, against the parts elsewhere in the same column: do defective parts
escape, and are good ones rejected, more often (Fisher's exact test)? Do defective parts score lower, whatever the thresholds,
and good ones higher (Mann and Whitney, Annals of Mathematical Statistics 18, 1947)? All p-values of a table together are adjusted
after Holm: the chance that any slice is named where all are alike is at most 5 %.

Parts are the witnesses: on each side of a comparison a part counts once. One that several other slices see is taken there as one
of them sees it, drawn by a hash of their names: counted for each, or as their mean, it would not spread as the slice's own parts
do. A part on both sides makes the two more alike than the tests suppose, so they are then cautious. Where a slice has more
pictures per part than others, its scores are higher for that alone, as at the station: see `deploy.verdict.part_probability`.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal

import numpy as np
from scipy.stats import hypergeom

from deploy.verdict import Thresholds, Verdict, decide
from pipeline.comparison.paired import holm
from pipeline.data.sample import Sample
from pipeline.evaluation.cuts import FEWEST, Cut, Seen, find_cuts, tell_apart
from pipeline.evaluation.metrics import CONFIDENCE, Figure, PartScore, Rate, Scores, auroc, count_verdicts, part_scores
from pipeline.evaluation.ranks import chance_of_lower

Question = Literal["escape", "overkill", "low scores", "high scores"]
OF_DEFECTIVE: dict[Question, bool] = {"escape": True, "overkill": False, "low scores": True, "high scores": False}
ANSWERS: dict[Question, str] = {
    "escape": "defective parts escape more often",
    "overkill": "good parts are rejected more often",
    "low scores": "defective parts score lower",
    "high scores": "good parts score higher",
}


@dataclass(frozen=True)
class Slice:
    """The parts of one slice, by its own pictures of them."""

    dimension: str
    value: str
    good: int
    defective: int
    auroc: Figure
    """Over parts, with an interval over groups; of a defect type or size: its defective parts against all good ones."""
    escape: Rate
    overkill: Rate
    review: Rate


@dataclass(frozen=True)
class Comparison:
    """One question about one slice."""

    dimension: str
    value: str
    question: Question
    here: str
    """Of the slice: "5 of 20" parts, or "median 0.61"."""
    elsewhere: str
    p: float | None = None
    """One-sided; None where it was not tested."""
    adjusted: float | None = None
    """After Holm over all tests of the table."""
    worse: bool = False
    """Significantly: adjusted, p is at most 5 %."""
    untested: str = ""
    """Why: "too few" parts of the class here or elsewhere, or "none" that escapes or is rejected on either side."""


@dataclass(frozen=True)
class SliceTable:
    """Every slice, what it was asked, and what is left out."""

    slices: tuple[Slice, ...]
    comparisons: tuple[Comparison, ...]
    tests: int
    """Comparisons that were tested, which Holm's adjustment is over."""
    notes: tuple[str, ...]
    """What is not in the slices."""

    def sentences(self) -> list[str]:
        """The slices that are significantly worse, the surest first; one sentence where none is, or none could be tested."""
        if not self.slices:
            return ["no slice could be tested: the pictures do not differ in anything that is known of them"]
        if not self.tests:
            return [
                f"no slice could be tested: each has, or leaves elsewhere, fewer than {FEWEST} good and {FEWEST} defective parts"
            ]
        worse = sorted((one for one in self.comparisons if one.worse), key=lambda one: one.adjusted or 0.0)
        if worse:
            return [_sentence(one, self.tests) for one in worse]
        few = {(one.dimension, one.value) for one in self.comparisons if one.untested == "too few"}
        left = f"; {len(few)} of {len(self.slices)} slices have too few parts for some or all of them" if few else ""
        return [f"no slice is significantly worse than the rest ({self.tests} test{'s' * (self.tests > 1)}, Holm){left}"]


def slice_table(samples: Sequence[Sample], scores: Scores, thresholds: Thresholds, seen: Sequence[Seen]) -> SliceTable:
    """Figures of every slice of N samples with their N defect probabilities, and which are worse; `seen` is from `describe`."""
    cuts, notes = find_cuts(samples, seen)
    good = [index for index, sample in enumerate(samples) if sample.label == "good"]
    slices = []
    for cut in cuts:
        for value in cut.shown:
            here = [index for index, one in enumerate(cut.values) if one == value]
            counts = count_verdicts(_judge(here, samples, scores), thresholds)
            defective = counts.escape.total
            figure = _auroc([*here, *good] if cut.of_defects else here, samples, scores)
            rates = counts.escape, counts.overkill, counts.review
            slices.append(Slice(cut.name, value, counts.overkill.total, defective, figure, *rates))
    comparisons = compare_slices(cuts, samples, scores, thresholds)
    return SliceTable(tuple(slices), comparisons, sum(one.p is not None for one in comparisons), tuple(notes))


def compare_slices(
    cuts: Sequence[Cut], samples: Sequence[Sample], scores: Scores, thresholds: Thresholds
) -> tuple[Comparison, ...]:
    """Every question about every slice, with p-values adjusted over all of them."""
    asked = [one for cut in cuts for one in _compare(cut, samples, scores, thresholds)]
    adjusted = iter(holm([one.p for one in asked if one.p is not None]))
    return tuple(
        one if one.p is None else replace(one, adjusted=(p := next(adjusted)), worse=p <= 1 - CONFIDENCE) for one in asked
    )


def _judge(chosen: Sequence[int], samples: Sequence[Sample], scores: Scores) -> list[PartScore]:
    return part_scores([samples[index] for index in chosen], scores[chosen])


def _auroc(chosen: Sequence[int], samples: Sequence[Sample], scores: Scores) -> Figure:
    shown = {samples[index].part: samples[index] for index in chosen}
    parts = _judge(chosen, samples, scores)
    return auroc([shown[part.part] for part in parts], np.array([part.score for part in parts]))


def _compare(cut: Cut, samples: Sequence[Sample], scores: Scores, thresholds: Thresholds) -> list[Comparison]:
    chosen: dict[str, list[int]] = defaultdict(list)
    for index, value in enumerate(cut.values):
        if value:
            chosen[value].append(index)
    judged = {value: _judge(indices, samples, scores) for value, indices in chosen.items()}
    seen_in: dict[str, list[tuple[str, str, PartScore]]] = defaultdict(list)
    for value, parts in judged.items():
        for part in parts:
            seen_in[part.part].append((sha256(f"{part.part}|{value}".encode()).hexdigest(), value, part))
    compared = []
    for value in cut.shown:
        others = [[one for one in views if one[1] != value] for views in seen_in.values()]
        elsewhere = [min(views)[2] for views in others if views]
        for question, defective in OF_DEFECTIVE.items():
            if defective or not cut.of_defects:
                here, there = (
                    np.array([one.score for one in side if one.defective == defective]) for side in (judged[value], elsewhere)
                )
                compared.append(_ask(Comparison(cut.name, value, question, "", ""), here, there, thresholds))
    return compared


def _ask(asked: Comparison, here: Scores, elsewhere: Scores, thresholds: Thresholds) -> Comparison:
    sides = here, elsewhere
    few = min(len(here), len(elsewhere)) < FEWEST
    if asked.question in ("escape", "overkill"):
        wrong = Verdict.GOOD if asked.question == "escape" else Verdict.DEFECTIVE
        counts = [sum(decide(float(score), thresholds) is wrong for score in side) for side in sides]
        told = [f"{count} of {len(side)}" for count, side in zip(counts, sides, strict=True)]
        if few or not any(counts):
            return replace(asked, here=told[0], elsewhere=told[1], untested="too few" if few else "none")
        # The tail of Fisher's test: so many or more of all that went wrong are here.
        p = float(hypergeom.sf(counts[0] - 1, len(here) + len(elsewhere), sum(counts), len(here)))
        return replace(asked, here=told[0], elsewhere=told[1], p=p)
    if few:
        return replace(asked, here=f"{len(here)} parts", elsewhere=f"{len(elsewhere)} parts", untested="too few")
    low, high = tell_apart([float(np.median(side)) for side in sides])
    sign = 1 if asked.question == "low scores" else -1
    return replace(asked, here=f"median {low}", elsewhere=high, p=chance_of_lower(sign * here, sign * elsewhere))


def _sentence(one: Comparison, tests: int) -> str:
    p = one.adjusted or 0.0
    told = f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"
    over = f"after Holm over {tests} tests" if tests > 1 else "one test"
    return f"{one.dimension} {one.value}: {ANSWERS[one.question]} ({one.here} against {one.elsewhere}; {told} {over})"

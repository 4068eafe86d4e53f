"""What one strength of a condition does to the verdicts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from deploy.verdict import Thresholds, Verdict, decide
from pipeline.evaluation.metrics import PartScore, Rate, area_under_roc, count_verdicts, rate


@dataclass(frozen=True)
class Outcome:
    """Rates over parts, at one level of a condition."""

    level: float
    named: str
    """The level in words: "10 spots"."""
    escape: Rate
    """Defective parts passed as good."""
    overkill: Rate
    """Good parts rejected."""
    review: Rate
    """Parts sent to a person."""
    auroc: float | None
    """Over parts; None where a class is missing."""
    changed: Rate
    """Parts with another verdict than on the untouched pictures."""
    unrejected: Rate
    """Defective parts that are rejected on the untouched pictures and no longer are, of all defective ones."""
    new_escapes: tuple[str, ...]
    """Defective parts that pass as good now and did not on the untouched pictures."""


def outcome_of(
    level: float, named: str, parts: Sequence[PartScore], untouched: Sequence[PartScore], thresholds: Thresholds
) -> Outcome:
    """Compare the scores of parts at a level with those of the same parts, in the same order, on the untouched pictures."""
    now = [decide(part.score, thresholds) for part in parts]
    then = [decide(part.score, thresholds) for part in untouched]
    counts = count_verdicts(parts, thresholds)
    pairs = list(zip(parts, then, now, strict=True))
    lost = [part for part, old, new in pairs if part.defective and new is not old and old is Verdict.DEFECTIVE]
    return Outcome(
        level,
        named,
        counts.escape,
        counts.overkill,
        counts.review,
        _auroc(parts),
        rate(sum(old is not new for _, old, new in pairs), len(parts)),
        rate(len(lost), counts.escape.total),
        tuple(part.part for part, old, new in pairs if part.defective and new is not old and new is Verdict.GOOD),
    )


def _auroc(parts: Sequence[PartScore]) -> float | None:
    defective = np.array([part.defective for part in parts])
    if defective.all() or not defective.any():
        return None
    level = np.unique([-part.score for part in parts], return_inverse=True)[1]  # the highest first
    positive, negative = (np.bincount(level, which).astype(np.float64) for which in (defective, ~defective))
    return float(area_under_roc(positive, negative))


def sides(outcomes: Sequence[Outcome]) -> list[list[Outcome]]:
    """The outcomes from mild to grave, apart for levels below zero and above it."""
    below, above = [one for one in outcomes if one.level < 0], [one for one in outcomes if one.level >= 0]
    return [side for side in (below, above) if side]


def mildest(outcomes: Sequence[Outcome], too_much: Callable[[Outcome], bool]) -> list[tuple[Outcome, str]]:
    """On each side the mildest outcome that is too much, and where: "from 10 spots on", or "at 10 spots" where more is none."""
    found = []
    for side in sides(outcomes):
        at = next((index for index, one in enumerate(side) if too_much(one)), None)
        if at is not None:
            onwards = at + 1 < len(side) and all(too_much(one) for one in side[at:])
            found.append((side[at], f"from {side[at].named} on" if onwards else f"at {side[at].named}"))
    return found

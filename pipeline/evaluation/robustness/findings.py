"""What a model does not stand, in plain words."""

from collections.abc import Sequence
from typing import NamedTuple

from pipeline.evaluation.metrics import Rate
from pipeline.evaluation.robustness.conditions import CORNER
from pipeline.evaluation.robustness.outcome import Outcome, mildest, sides

MANY = 0.2
"""A larger share of parts whose verdict changes is grave."""
AUROC_DROP = 0.1
"""Covering the corners may cost so much; more means that the model read something there."""


class Finding(NamedTuple):
    """Something the model does not stand; the gravest sorts first."""

    order: tuple[float, ...]
    sentence: str


def exceeds(outcome: Outcome, max_escape: float | None, untouched: Outcome) -> bool:
    """More defective parts escape than on the untouched pictures, and than the limit allows where one is stated."""
    escape = outcome.escape.value
    return escape is not None and escape > max(max_escape or 0, untouched.escape.value or 0)


def find(name: str, outcomes: Sequence[Outcome], untouched: Outcome, max_escape: float | None) -> Finding | None:
    """What is grave about a condition; None where the verdicts stand it."""
    seen = _of_the_corners(outcomes, untouched) if name == CORNER else None
    return seen or _of_escapes(name, outcomes, untouched, max_escape) or _of_changes(name, outcomes)


def _of_the_corners(outcomes: Sequence[Outcome], untouched: Outcome) -> Finding | None:
    for outcome in outcomes:
        drop = untouched.auroc - outcome.auroc if untouched.auroc is not None and outcome.auroc is not None else 0.0
        if drop <= AUROC_DROP and (outcome.unrejected.value or 0) <= MANY:
            continue
        ranks = f", and the AUROC falls from {untouched.auroc:.2f} to {outcome.auroc:.2f}" if drop > AUROC_DROP else ""
        escapes = f", {_share(outcome.escape)} defective parts escape" if outcome.new_escapes else ""
        return Finding(
            (0,),
            f"{CORNER}: covering the corners changes {_share(outcome.changed)} verdicts ({outcome.named}{escapes}{ranks}): "
            "the model may be reading something there rather than the part, unless the defects lie in the corners",
        )
    return None


def _of_escapes(name: str, outcomes: Sequence[Outcome], untouched: Outcome, max_escape: float | None) -> Finding | None:
    def too_many(outcome: Outcome) -> bool:
        return exceeds(outcome, max_escape, untouched)

    found = mildest(outcomes, too_many)
    if not found:
        return None
    worst = max(outcomes, key=lambda one: one.escape.count)
    said = [f"{where}, {_share(outcome.escape)} defective parts escape" for outcome, where in found]
    if worst.escape.count > max(outcome.escape.count for outcome, _ in found):
        said.append(f"at {worst.named} {_share(worst.escape)}")
    before = [f"limit {100 * max_escape:g} %"] if max_escape is not None else []
    if untouched.escape.count or not before:
        before.append(f"untouched {_share(untouched.escape)}")
    return Finding(
        (1, _mildness(outcomes, [outcome for outcome, _ in found]), -worst.escape.count),
        f"{name}: {'; '.join(said)} ({', '.join(before)})",
    )


def _of_changes(name: str, outcomes: Sequence[Outcome]) -> Finding | None:
    found = mildest(outcomes, lambda one: (one.changed.value or 0) > MANY)
    if not found:
        return None
    said = []
    for outcome, where in found:
        overkill = f"{_share(outcome.overkill)} good parts are rejected, " if outcome.overkill.total else ""
        said.append(f"{where}, {_share(outcome.changed)} verdicts change ({overkill}{_share(outcome.review)} parts go to review)")
    worst = max(outcome.changed.count for outcome in outcomes)
    return Finding((2, _mildness(outcomes, [outcome for outcome, _ in found]), -worst), f"{name}: {'; '.join(said)}")


def _mildness(outcomes: Sequence[Outcome], found: Sequence[Outcome]) -> float:
    """How far into what was tried the mildest of those found lies, 0..1."""
    return min(side.index(one) / len(side) for side in sides(outcomes) for one in found if one in side)


def _share(rate: Rate) -> str:
    return f"{rate.count} of {rate.total}"

"""The two thresholds, from stated limits: what parts of the validation groups can prove, not what they happen to show.

`accept` is one of the defective parts' own scores. Of n such parts the (k + 1)-th lowest as a threshold lets a share of all
defective parts pass that is Beta(k + 1, n - k) distributed, whatever the scores' distribution (Wilks, Annals of Mathematical
Statistics 12, 1941), so the share exceeds the limit with a probability of Binomial(k; n, limit): the largest k is taken for which
that is below 1 - confidence. It is Learn-then-Test by fixed sequence (Angelopoulos et al., 2021) with the binomial's p-value, and
k misses of n by Clopper and Pearson. So every lower threshold is proven with it, and costs may choose among them. `reject` is the
same of the good parts, from above.

A plug-in quantile breaks such a promise in about half of all cases: tests/pipeline/test_coverage_study.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.special import expit, logit

from deploy.verdict import Thresholds
from pipeline.evaluation.limits import Costs, Limits
from pipeline.evaluation.metrics import CONFIDENCE, PartScore, Scores, lower_bound, upper_bound
from pipeline.evaluation.ranks import chance_of_lower

Error = Literal["escape", "overkill"]
REVIEW_ALL = Thresholds(accept=0, reject=1)


class Promise(BaseModel):
    """One limit, and what the validation parts can prove of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    error: Error
    defect_type: str = ""
    """Empty for all defective parts."""
    limit: float
    confidence: float
    parts: int
    """Validation parts that bear witness: defective ones of an escape, good ones of an overkill."""
    errors: int
    """Of them, on the wrong side of the threshold."""
    bound: float
    """What the rate is at most, with the confidence."""

    @property
    def shown(self) -> bool:
        """The parts prove the limit."""
        return self.bound <= self.limit

    @property
    def refuted(self) -> bool:
        """The parts prove, with the confidence, that the limit is broken."""
        return lower_bound(self.errors, self.parts, self.confidence) > self.limit

    @property
    def needed(self) -> int | None:
        """Parts that would prove the limit, if none is missed; None for a limit of zero, which no number proves."""
        return parts_needed(self.limit, self.confidence)

    @property
    def wanted(self) -> str:
        """The limit in words: "escapes of crack of at most 1 %"."""
        what = {"escape": "escapes", "overkill": "overkill"}[self.error] + (f" of {self.defect_type}" if self.defect_type else "")
        return f"{what} of at most {percent(self.limit)}"

    def __str__(self) -> str:
        kind = "good" if self.error == "overkill" else self.defect_type or "defective"
        sure, wrong = percent(self.confidence), "passed" if self.error == "escape" else "rejected"
        if self.shown:
            return f"{self.wanted}: shown with {sure} confidence by {self.parts} {kind} parts, {self.errors} of them {wrong}"
        if not self.parts:
            return f"{self.wanted}: not shown, there is no {kind} part"
        known = (
            f"{self.parts} {kind} parts, {self.errors} of them {wrong}, show at most {percent(self.bound)} with {sure} confidence"
        )
        if self.needed is None:
            return f"{self.wanted}: not shown, for no number of parts shows zero; {known}"
        takes = f"it takes {self.needed} without a miss" + (f", {more} more" if (more := self.needed - self.parts) > 0 else "")
        return f"{self.wanted}: not shown, {known}; {takes}"


@dataclass(frozen=True)
class Derived:
    """Thresholds, and what is known of them."""

    thresholds: Thresholds
    promises: tuple[Promise, ...]
    undecided: str = ""
    """Why there are no thresholds and every part goes to a person; empty when there are."""


def derive_thresholds(parts: Sequence[PartScore], limits: Limits) -> Derived:
    """Choose accept and reject by the limits.

    Where the parts cannot prove a limit, the threshold is the one that proves most: no part of them is missed. Where the classes
    are so far apart that both limits hold for every threshold between them, little is known of scores there: the middle half of
    them (in log-odds) becomes REVIEW. Where the scores do not tell the classes apart there is no threshold: see `undecided`.
    """
    good = np.sort([part.score for part in parts if not part.defective])
    bad = np.sort([part.score for part in parts if part.defective])
    undecided = why_undecided(good, bad)
    if undecided:
        return Derived(REVIEW_ALL, (), undecided)
    accept, reject, bounds = 1.0, 0.0, []
    for error, kind, limit in stated(limits):
        scores = witnesses(parts, error, kind)
        allowed = allowed_errors(len(scores), limit, limits.confidence)
        bounds.append(upper_bound(allowed, len(scores), limits.confidence))
        if error == "overkill":
            reject = float(scores[len(scores) - 1 - allowed])
        elif len(scores):
            accept = min(accept, float(scores[allowed]))
    if limits.costs:
        thresholds = cheapest(good, bad, limits.costs, accept, reject)
    elif accept <= reject or limits.max_overkill is None:
        thresholds = Thresholds(accept=accept, reject=max(accept, reject))
    else:
        begin, end = _middle_half(np.array(reject), np.array(accept))
        thresholds = Thresholds(accept=float(begin), reject=float(end))
    proven = prove(parts, thresholds, limits)
    # What was promised depends on the number of parts alone; the errors at a threshold that the same parts chose do not bound it.
    promises = [one.model_copy(update={"bound": bound}) for one, bound in zip(proven, bounds, strict=True)]
    return Derived(thresholds, tuple(promises))


def prove(parts: Sequence[PartScore], thresholds: Thresholds, limits: Limits) -> tuple[Promise, ...]:
    """What parts that chose nothing prove of every limit, at thresholds that are given."""
    proven = []
    for error, kind, limit in stated(limits):
        scores = witnesses(parts, error, kind)
        errors = int((scores < thresholds.accept).sum() if error == "escape" else (scores > thresholds.reject).sum())
        proven.append(
            Promise(
                error=error,
                defect_type=kind,
                limit=limit,
                confidence=limits.confidence,
                parts=len(scores),
                errors=errors,
                bound=upper_bound(errors, len(scores), limits.confidence),
            )
        )
    return tuple(proven)


def stated(limits: Limits) -> list[tuple[Error, str, float]]:
    """Every limit that is stated: of which error, of which defect type ("" for all), how much."""
    told: list[tuple[Error, str, float]] = [] if limits.max_escape is None else [("escape", "", limits.max_escape)]
    told += [("escape", kind, limit) for kind, limit in limits.max_escape_of.items()]
    return told if limits.max_overkill is None else [*told, ("overkill", "", limits.max_overkill)]


def witnesses(parts: Sequence[PartScore], error: Error, kind: str) -> Scores:
    """The sorted scores of the parts that an error can happen to."""
    if error == "overkill":
        return np.sort([part.score for part in parts if not part.defective])
    return np.sort([part.score for part in parts if part.defective and (not kind or kind in part.types)])


def why_undecided(good: Scores, bad: Scores) -> str:
    """Why scores of good and defective parts give no threshold, in a sentence; empty when they do.

    They must rank the defective parts higher than luck would in more than 5 % of all cases.
    """
    if few := too_few(len(good), len(bad)):
        return few
    if good.min() == good.max() == bad.min() == bad.max():
        return f"all {len(good) + len(bad)} parts have the same score"
    luck = chance_of_lower(good, bad)
    if luck > 1 - CONFIDENCE:
        return (
            f"no evidence that this model separates: luck would rank {len(bad)} defective and {len(good)} good parts so well in "
            f"{percent(luck)} of all cases"
        )
    return ""


def too_few(good: int, bad: int) -> str:
    """Why so few parts cannot tell whether a model separates, however it ranks them; empty when they can."""
    if not good or not bad:
        return f"there are {good} good and {bad} defective parts: it takes both to tell"
    if 1 / math.comb(good + bad, bad) > 1 - CONFIDENCE:
        return f"{good} good and {bad} defective parts are too few to tell whether this model separates: luck ranks them as well"
    return ""


def allowed_errors(parts: int, limit: float, confidence: float) -> int:
    """How many of so many parts may be missed so that the limit is still proven; 0 where it cannot be."""
    allowed = 0
    while allowed + 1 < parts and upper_bound(allowed + 1, parts, confidence) <= limit:
        allowed += 1
    return allowed


def cheapest(good: Scores, bad: Scores, costs: Costs, most_accept: float, least_reject: float) -> Thresholds:
    """The thresholds of the lowest mean cost per part at the line's defect rate, with accept and reject within their limits.

    Ties go to the lower accept and the higher reject: to a person. So does the middle half of a gap that both end in.
    """
    scores = np.unique(np.concatenate([good, bad, [0.0, most_accept, least_reject, 1.0]]))
    cuts = np.unique(np.concatenate([scores, *_middle_half(scores[:-1], scores[1:])]))
    per_bad, per_good = costs.defect_rate / len(bad), (1 - costs.defect_rate) / len(good)
    bad_below, good_below = np.searchsorted(bad, cuts, "left"), np.searchsorted(good, cuts, "left")
    bad_above, good_above = len(bad) - np.searchsorted(bad, cuts, "right"), len(good) - np.searchsorted(good, cuts, "right")
    # Against reviewing all parts: what passing those below, and rejecting those above, costs more.
    passing = bad_below * per_bad * (costs.escape - costs.review) - good_below * per_good * costs.review
    rejecting = good_above * per_good * (costs.overkill - costs.review) - bad_above * per_bad * costs.review
    passing[cuts > most_accept] = np.inf
    rejecting[cuts < least_reject] = np.inf
    best_passing = np.minimum.accumulate(passing)
    total = best_passing + rejecting
    place = len(total) - 1 - int(np.argmin(total[::-1]))
    accept = int(np.argmin(passing[: place + 1]))
    return Thresholds(accept=float(cuts[accept]), reject=float(cuts[place]))


def mean_cost(parts: Sequence[PartScore], thresholds: Thresholds, costs: Costs) -> float | None:
    """What a part costs on the line with these thresholds; None without parts of both classes."""
    good = np.array([part.score for part in parts if not part.defective])
    bad = np.array([part.score for part in parts if part.defective])
    if not len(good) or not len(bad):
        return None
    accept, reject = thresholds.accept, thresholds.reject
    reviewed_bad, reviewed_good = ((scores >= accept).mean() - (scores > reject).mean() for scores in (bad, good))
    of_bad = costs.escape * (bad < accept).mean() + costs.review * reviewed_bad
    of_good = costs.overkill * (good > reject).mean() + costs.review * reviewed_good
    return float(costs.defect_rate * of_bad + (1 - costs.defect_rate) * of_good)


def _middle_half(low: Scores, high: Scores) -> tuple[Scores, Scores]:
    """Where it begins and ends, in log-odds; these are cut off next to 0 and 1, which must not carry a threshold over a score."""
    start, end = logit(np.clip(low, 1e-6, 1 - 1e-6)), logit(np.clip(high, 1e-6, 1 - 1e-6))
    quarter = (end - start) / 4
    return np.clip(expit(start + quarter), low, high), np.clip(expit(end - quarter), low, high)


def parts_needed(limit: float, confidence: float) -> int | None:
    """Parts that prove a limit if none is missed; None for a limit of zero, which no number proves."""
    return math.ceil(math.log(1 - confidence) / math.log(1 - limit)) if limit else None


def percent(rate: float) -> str:
    """0.0123 -> 1.23 %."""
    return f"{100 * rate:.3g} %"

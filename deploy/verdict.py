"""The decision rule: two thresholds, four verdicts."""

from collections.abc import Sequence
from enum import Enum

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Verdict(str, Enum):
    """What the station says about a part."""

    GOOD = "GOOD"
    DEFECTIVE = "DEFECTIVE"
    REVIEW = "REVIEW"
    FAULT = "FAULT"


class Thresholds(BaseModel):
    """Probability of a defect: below `accept` GOOD, above `reject` DEFECTIVE, between them REVIEW."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accept: float = Field(ge=0, le=1)
    reject: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> "Thresholds":
        if self.accept > self.reject:
            raise ValueError(f"accept ({self.accept}) must not exceed reject ({self.reject})")
        return self


def part_probability(views: Sequence[float]) -> float:
    """The defect probability of a part from its views, at least one: the mean of the two highest, or the only one.

    A part is as bad as its worst views, but one flickering frame does not decide.
    """
    highest = sorted(views, reverse=True)[:2]
    return sum(highest) / len(highest)


def decide(probability: float, thresholds: Thresholds) -> Verdict:
    """The verdict for one calibrated defect probability; anything that is no number in 0..1 is a FAULT."""
    if not 0 <= probability <= 1:  # also catches NaN
        return Verdict.FAULT
    if probability < thresholds.accept:
        return Verdict.GOOD
    if probability > thresholds.reject:
        return Verdict.DEFECTIVE
    return Verdict.REVIEW

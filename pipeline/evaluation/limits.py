"""What the plant allows: rates of escape and overkill with a confidence, costs, or both."""

import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deploy.errors import InspectionError


class _Stated(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Costs(_Stated):
    """What an error costs, in any currency, per part."""

    escape: float = Field(gt=0, allow_inf_nan=False, description="a defective part passed as good")
    overkill: float = Field(gt=0, allow_inf_nan=False, description="a good part rejected")
    review: float = Field(ge=0, allow_inf_nan=False, description="a part that a person looks at")
    defect_rate: float = Field(gt=0, lt=1, description="share of defective parts on the line, which no dataset tells")


class Limits(_Stated):
    """What thresholds are derived from. Without costs both limits hold; with costs the cheapest thresholds within them."""

    max_escape: float | None = Field(0.01, ge=0, lt=1, description="share of defective parts that may pass as good")
    max_overkill: float | None = Field(0.02, ge=0, lt=1, description="share of good parts that may be rejected")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of each limit by itself")
    max_escape_of: dict[str, float] = Field(default_factory=dict, description="the same of one defect type")
    costs: Costs | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "Limits":
        if self.max_escape is None and self.costs is None:
            raise ValueError("give max_escape or costs; without either nothing tells where to put a threshold")
        if wrong := [kind for kind, rate in self.max_escape_of.items() if not 0 <= rate < 1]:
            raise ValueError(f"the limit of {wrong[0]} must lie in 0..1")
        return self


def parse_rate(text: str) -> float:
    """`1%` or `0.01` -> 0.01. Raises InspectionError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(%?)", text.strip())
    value = float(match[1]) / (100 if match[2] else 1) if match else 1.0
    if not match or value >= 1:
        raise InspectionError(f"{text!r} is no rate; expected a share below 100 %, such as 1% or 0.01")
    return value


def parse_limits(
    max_escape: Sequence[str],
    max_overkill: str | None,
    confidence: str,
    escape_cost: float | None,
    overkill_cost: float | None,
    review_cost: float | None,
    defect_rate: str | None,
) -> Limits:
    """The command line's words as limits.

    `max_escape` holds `1%` for all defects and `crack=0.5%` for a type. Costs come all four or not at all; given alone, they
    replace the default limits. Raises InspectionError for what cannot be understood.
    """
    told = {
        "--escape-cost": escape_cost,
        "--overkill-cost": overkill_cost,
        "--review-cost": review_cost,
        "--defect-rate": defect_rate,
    }
    missing = [name for name, value in told.items() if value is None]
    if 0 < len(missing) < len(told):
        raise InspectionError(f"costs need all of {', '.join(told)}; {', '.join(missing)} is missing")
    of_types = [(kind.strip(), rate) for kind, sign, rate in (text.partition("=") for text in max_escape) if sign]
    kinds = [kind for kind, _ in of_types]
    if "" in kinds or len(set(kinds)) < len(kinds):
        raise InspectionError(f"--max-escape {' '.join(max_escape)}: give TYPE=RATE once for each defect type")
    overall = [parse_rate(text) for text in max_escape if "=" not in text]
    if len(overall) > 1:
        raise InspectionError(f"--max-escape is given {len(overall)} times for all defects; give it once, and as TYPE=RATE")
    default = Limits()
    try:
        return Limits(
            max_escape=overall[0] if overall else default.max_escape if missing else None,
            max_overkill=parse_rate(max_overkill) if max_overkill else default.max_overkill if missing else None,
            confidence=parse_rate(confidence),
            max_escape_of={kind: parse_rate(rate) for kind, rate in of_types},
            costs=None
            if missing
            else Costs(escape=escape_cost, overkill=overkill_cost, review=review_cost, defect_rate=parse_rate(defect_rate or "")),
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(one) for one in first["loc"]) or "limits"
        raise InspectionError(f"{where}: {first['msg']}, found {first['input']}; see pipeline thresholds --help") from error

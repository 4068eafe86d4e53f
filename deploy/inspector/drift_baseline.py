"""What is usual on this line, learned from its first parts with a bundle and kept beside the record.

A dataset cannot tell: a third or a half of its parts are defective, of a line's one in a hundred. So scores and the defect rate
are compared with the line itself, as it was when the bundle was put to work and people were looking.
"""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

NAME = "baseline.json"
BUNDLES_KEPT = 10


class Baseline(BaseModel):
    """Parts of one region of one camera; grows until it is complete, and never after."""

    model_config = ConfigDict(extra="forbid")

    is_complete: bool = False
    not_good: int = Field(0, ge=0, description="parts with the verdict DEFECTIVE or REVIEW")
    scores: list[Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]] = Field(
        [], description="probability of a defect, of each part"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "Baseline":
        if self.not_good > len(self.scores) or (self.is_complete and not self.scores):
            raise ValueError("the counts contradict each other")
        return self

    def add(self, score: float, is_good: bool, enough: int) -> None:
        """Take in a part; `enough` of them complete it."""
        self.scores.append(round(score, 6))
        self.not_good += not is_good
        self.is_complete = len(self.scores) >= enough


class Baselines(BaseModel):
    """`baseline.json`."""

    model_config = ConfigDict(extra="forbid")

    bundles: dict[str, dict[str, Baseline]] = Field({}, description="by the hash of bundle.json, then by camera/region")

    def of(self, bundle_sha256: str) -> dict[str, Baseline]:
        """Those of a bundle, which is now the latest."""
        mine = self.bundles[bundle_sha256] = self.bundles.pop(bundle_sha256, {})
        for oldest in list(self.bundles)[:-BUNDLES_KEPT]:
            del self.bundles[oldest]
        return mine


def read_baselines(folder: Path) -> tuple[Baselines, str | None]:
    """What was learned so far, nothing where there is no file; with why a file that is there cannot be used."""
    try:
        return Baselines.model_validate_json((folder / NAME).read_bytes()), None
    except FileNotFoundError:
        return Baselines(), None
    except OSError as error:
        why = error.strerror
    except ValidationError as error:
        why = error.errors()[0]["msg"]
    return Baselines(), f"{NAME} cannot be used ({why}): what is usual on this line is learned anew"

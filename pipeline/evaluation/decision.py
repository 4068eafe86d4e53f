"""`decision.json`: how log-odds become verdicts, fixed on the validation groups when training ended."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from deploy.verdict import Thresholds
from pipeline.evaluation.calibration import Calibration
from pipeline.evaluation.limits import Limits
from pipeline.evaluation.thresholds import Promise


class Decision(BaseModel):
    """Calibration, limits, and the thresholds that came of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    calibration: Calibration = Calibration()
    limits: Limits = Limits()
    thresholds: Thresholds
    promises: tuple[Promise, ...] = ()
    undecided: str = ""
    """Why every part goes to a person; empty where there are thresholds."""

    @model_validator(mode="before")
    @classmethod
    def _of_older_runs(cls, content: Any) -> Any:
        """Runs once wrote nothing but a temperature and thresholds."""
        if isinstance(content, dict) and isinstance(content.get("temperature"), float | int):
            slope = 1 / content["temperature"]
            rest = {key: value for key, value in content.items() if key != "temperature"}
            return rest | {"calibration": {"low": slope, "high": slope}}
        return content

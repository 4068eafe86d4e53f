"""`decision.json`: how log-odds become verdicts, fixed on the validation groups when training ended."""

from pydantic import BaseModel, ConfigDict

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

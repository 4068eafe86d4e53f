"""Does this engine, on this device, answer as the lab did?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deploy.bundle import Bundle
from deploy.engines import Engine
from deploy.errors import GoldenMismatch
from deploy.verdict import Thresholds, decide

TOLERANCE = {"fp32": 1e-3, "fp16": 2e-2, "int8-qdq": 0.1, "int8-cpu": 0.1}
"""Largest difference from the probability that the lab got with the same model. Engines round INT8 differently (docs/edge.md)."""

ROUNDING = 1e-5
"""How far the same FP32 graph answers apart on x86-64 and arm64: a verdict that turns within it says nothing about an engine."""


@dataclass(frozen=True)
class SelfTest:
    """What the golden pictures showed."""

    pictures: int
    max_difference: float
    tolerance: float
    answers: tuple[float, ...]
    """Defect probabilities of the golden pictures on this engine."""

    @property
    def alike(self) -> bool:
        """Within the tolerance; NaN is not."""
        return self.max_difference <= self.tolerance


def ask_golden(bundle: Bundle, engine: Engine, precision: str) -> SelfTest:
    """Run the golden pictures, one at a time, and see how far the answers are from the lab's."""
    golden = bundle.golden()
    answers = np.concatenate([engine.infer(frame[None]).defect for frame in golden.frames])
    difference = float(np.abs(answers - bundle.model(precision).golden).max())
    return SelfTest(len(golden.frames), difference, TOLERANCE[precision], tuple(map(float, answers)))


def check_golden(bundle: Bundle, engine: Engine, precision: str) -> SelfTest:
    """Run the golden pictures; raises GoldenMismatch saying by how much the answers differ."""
    found = ask_golden(bundle, engine, precision)
    if not found.alike:
        raise GoldenMismatch(mismatch(found, engine, precision))
    return found


def mismatch(found: SelfTest, engine: Engine, precision: str) -> str:
    """What to tell of answers that are too far from the lab's."""
    return (
        f"{engine.name} answers differently from the lab on the golden pictures: difference {found.max_difference:.4f}, "
        f"at most {found.tolerance} expected for {precision}; try another precision, or export on this version of the engine"
    )


def other_verdicts(found: SelfTest, lab: Sequence[float], thresholds: Thresholds) -> int:
    """How many golden pictures get another verdict from this engine's answers than from the lab's, at the same thresholds.

    A lab's answer within ROUNDING of a threshold allows the verdicts on both of its sides.
    """
    allowed = ({decide(min(max(one + step, 0), 1), thresholds) for step in (-ROUNDING, 0, ROUNDING)} for one in lab)
    return sum(decide(answer, thresholds) not in verdicts for answer, verdicts in zip(found.answers, allowed, strict=True))

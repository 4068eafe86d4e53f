"""Does this engine, on this device, answer as the lab did?"""

from dataclasses import dataclass

import numpy as np

from deploy.bundle import Bundle
from deploy.engines import Engine
from deploy.errors import GoldenMismatch

TOLERANCE = {"fp32": 1e-3, "fp16": 2e-2, "int8-qdq": 0.35, "int8-cpu": 0.35}
"""Largest difference from the lab's FP32 probability. INT8 was judged by its gate at export: here only a broken one is caught."""


@dataclass(frozen=True)
class SelfTest:
    """What the golden pictures showed."""

    pictures: int
    max_difference: float
    tolerance: float


def check_golden(bundle: Bundle, engine: Engine, precision: str) -> SelfTest:
    """Run the golden pictures; raises GoldenMismatch saying by how much the answers differ."""
    golden = bundle.golden()
    answers = np.concatenate([engine.infer(frame[None]).probability for frame in golden.frames])
    difference = float(np.abs(answers - golden.probability).max())
    tolerance = TOLERANCE[precision]
    if not difference <= tolerance:  # NaN must fail too
        raise GoldenMismatch(
            f"{engine.name} answers differently from the lab on the golden pictures: difference {difference:.4f}, "
            f"at most {tolerance} expected for {precision}; try another precision, or export on this version of the engine"
        )
    return SelfTest(len(golden.frames), difference, tolerance)

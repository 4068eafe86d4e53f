"""What a loop would report, made up."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deploy.cameras import Frame
from deploy.inspector.locate import Box, Sighting
from deploy.inspector.part import PartSoFar, View
from deploy.inspector.step import Fault, Seen, Step
from deploy.store import Session
from deploy.verdict import Thresholds

SESSION = Session("redness", 1, "0" * 64, "1" * 64, "fp32", 0.3, 0.6, "0", "onnxruntime")
GOOD, REVIEW, DEFECTIVE = 0.1, 0.5, 0.75


def picture(number: int, side: int = 64) -> npt.NDArray[np.uint8]:
    """Noise: it makes files of nearly the same size, some 7 kB at 64 px."""
    return np.random.default_rng(number).integers(0, 255, (side, side, 3), np.uint8)


def frame(number: int, side: int = 64) -> Frame:
    return Frame(picture(number, side), time.monotonic(), number, f"frame {number}")


def step(number: int, probability: float = DEFECTIVE, with_frame: bool = False) -> Step:
    """One frame with one part that left in it."""
    view = View(number, f"frame {number}", 5.0, probability, (3, 4), None)
    part = PartSoFar(number, Thresholds(accept=0.3, reject=0.6))
    part.add(view)
    box = Box(1, 2, 30, 40)
    seen = [Seen(number, Sighting(box, box, whole=True), view, part.result(), None)]
    return Step(frame(number) if with_frame else None, 0, 6.0, seen, [part.result()])


def fault(number: int, kind: str = "camera", lasted_s: float | None = None) -> Fault:
    return Fault(number, kind, "unplugged", "2026-11-20T12:00:00.000+00:00", lasted_s=lasted_s)


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)

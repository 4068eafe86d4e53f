"""Inference engines behind one protocol: uint8 pictures in, probabilities and heatmaps out."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from deploy.bundle import Bundle
from deploy.preprocess import Picture


@dataclass(frozen=True)
class Answer:
    """What the graph says about N pictures."""

    probability: npt.NDArray[np.float32]
    """N x C, in the order of the bundle's classes; column 1 is the defect probability."""
    heatmap: npt.NDArray[np.float32]
    """N x h x w, 0..1."""

    @property
    def defect(self) -> npt.NDArray[np.float32]:
        """N, the calibrated probability of a defect."""
        return self.probability[:, 1]


class Engine(Protocol):
    """Something that runs the graph."""

    name: str

    def infer(self, frames: Picture) -> Answer:
        """Answer for N x H x W x 3 BGR uint8, already letterboxed. Raises EngineError when the runtime fails."""


def open_engine(bundle: Bundle, precision: str = "fp32", providers: tuple[str, ...] = ("CPUExecutionProvider",)) -> Engine:
    """Open the bundle's model of one precision with onnxruntime."""
    from deploy.engines.onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(bundle.path / bundle.model(precision).file, providers)

"""Inference engines behind one protocol: uint8 pictures in, probabilities and heatmaps out."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from deploy.bundle import Bundle
from deploy.errors import EngineError
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


RUNTIMES = ("onnxruntime", "onnxruntime-cuda", "openvino", "tensorrt")


def open_engine(bundle: Bundle, precision: str = "fp32", runtime: str = "onnxruntime", threads: int | None = None) -> Engine:
    """Open the bundle's model of one precision. `threads` is for what runs on the CPU; None leaves it to the runtime.

    Raises EngineError where the runtime is unknown, absent, or refuses the model, ProviderMissing where something else would run.
    """
    if runtime not in RUNTIMES:
        raise EngineError(f"no engine {runtime!r}; there are {', '.join(RUNTIMES)}")
    file = bundle.path / bundle.model(precision).file
    if runtime == "openvino":
        from deploy.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(file, threads=threads)
    if runtime == "tensorrt":
        from deploy.engines.tensorrt import TensorRTEngine

        return TensorRTEngine(file, precision)
    from deploy.engines.onnxruntime import CPU, CUDA, OnnxRuntimeEngine

    return OnnxRuntimeEngine(file, CUDA if runtime == "onnxruntime-cuda" else CPU, threads)

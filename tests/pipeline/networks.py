"""Small networks in every precision that a bundle may hold."""

from pathlib import Path

import numpy as np
import onnx

from deploy.preprocess import Picture
from pipeline.evaluation.calibration import NONE
from pipeline.export.graph import write_onnx
from pipeline.export.half import write_fp16
from pipeline.export.int8.layouts import CPU, TENSORRT, candidates, quantise
from pipeline.export.int8.ranges import choose, collect
from tests.pipeline.test_model import build


def write_precisions(folder: Path, backbone: str, height: int = 64, width: int = 64) -> None:
    """`fp32.onnx`, `fp16.onnx`, `int8-qdq.onnx` and `int8-cpu.onnx` of a random network, everything quantised by min-max."""
    model, recipe = build(backbone, height=height, width=width)
    write_onnx(model, NONE, recipe.preprocessing(), folder / "fp32.onnx")
    write_smaller(folder, noise(4, height, width))


def write_smaller(folder: Path, frames: Picture) -> None:
    """The other three of `fp32.onnx`."""
    write_fp16(folder / "fp32.onnx", folder / "fp16.onnx")
    graph = onnx.load(folder / "fp32.onnx")
    histograms = collect(graph, [node.input[0] for node in candidates(graph)], list(frames))
    for layout in (TENSORRT, CPU):
        ranges = choose(histograms, "min-max", layout.symmetric)
        onnx.save(quantise(graph, layout, ranges, ()), folder / f"{layout.precision}.onnx")


def noise(count: int, height: int = 64, width: int = 64, seed: int = 0) -> Picture:
    """N x H x W x 3."""
    return np.random.default_rng(seed).integers(0, 255, (count, height, width, 3), np.uint8)

"""Speed of every backbone in every precision on this machine. Trust the ratios; all are measured in one run."""

import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from rich.table import Table

from deploy.command import console
from deploy.engines import Engine
from deploy.engines.onnxruntime import OnnxRuntimeEngine
from deploy.preprocess import Picture
from pipeline.evaluation.calibration import NONE
from pipeline.export.graph import write_onnx
from pipeline.training.model import InspectionModel
from pipeline.training.recipe import Recipe
from pipeline.training.weights import find_source
from tests.pipeline.networks import noise, write_smaller

BACKBONES = ("tf_mobilenetv3_small_100", "mobilenetv4_conv_small", "mobilenetv2_100", "efficientnet_lite0", "efficientnet_b0")
SIDE = 224
ROUNDS = 60


def milliseconds(engines: Mapping[str, Engine], frame: Picture) -> dict[str, float]:
    """Median time of one picture 1 x H x W x 3; the engines take turns, so that a busy moment of the machine hits all of them."""
    times: dict[str, list[float]] = {name: [] for name in engines}
    for round_number in range(ROUNDS):
        for name, engine in engines.items():
            started = time.perf_counter()
            engine.infer(frame)
            if round_number >= ROUNDS // 6:  # the first ones warm up
                times[name].append((time.perf_counter() - started) * 1000)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Print a table."""
    table = Table(title=f"onnxruntime on this CPU, batch 1, {SIDE} px: milliseconds (times FP32)", title_justify="left")
    for column in ("backbone", "fp32", "fp16", "int8-qdq", "int8-cpu"):
        table.add_column(column)
    for backbone in BACKBONES:
        with tempfile.TemporaryDirectory() as folder, console.status(backbone):
            torch.manual_seed(0)
            recipe = Recipe(backbone=backbone, height=SIDE, width=SIDE, source=find_source(backbone, from_scratch=True).about)
            model, spec = InspectionModel(recipe).eval(), recipe.preprocessing()
            root = Path(folder)
            write_onnx(model, NONE, spec, root / "fp32.onnx")
            write_smaller(root, noise(4, SIDE, SIDE))
            names = ("fp32", "fp16", "int8-qdq", "int8-cpu")
            taken = milliseconds({name: OnnxRuntimeEngine(root / f"{name}.onnx") for name in names}, noise(1, SIDE, SIDE))
        table.add_row(backbone, *(f"{value:.2f} ({value / taken['fp32']:.2f})" for value in taken.values()))
    console.print(table)

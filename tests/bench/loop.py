"""The whole inspector beside its bare engine, from raw pictures and from a video: throughput, start and memory, in one run."""

import io
import json
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from deploy.bench.command import bench_source
from deploy.bundle import sha256_of
from deploy.command import console
from deploy.engines.onnxruntime import OnnxRuntimeEngine
from pipeline.evaluation.calibration import NONE
from pipeline.export.graph import write_onnx
from pipeline.training.model import InspectionModel
from pipeline.training.recipe import Recipe
from pipeline.training.weights import find_source
from tests.deploy.redness import sign, write_bundle

BACKBONE = str(Recipe.model_fields["backbone"].default)
ASKED = {320: 0.9, 224: 0.7}
"""Share of the bare engine's throughput that the loop is to keep from raw pictures of 640 x 480, by the side of the input."""
SECONDS = 40.0


def main() -> None:
    """Print a table."""
    table = Table(title=f"inspector bench, {BACKBONE}, fp32 on onnxruntime, 640 x 480", title_justify="left")
    for column in (
        "input",
        "of the bare engine, raw (asked)",
        "video",
        "video, of only reading",
        "first verdict s (2)",
        "MB (300)",
    ):
        table.add_column(column)
    for side, asked in ASKED.items():
        with tempfile.TemporaryDirectory() as name, console.status(f"{side} px"):
            folder = Path(name)
            video = write_video(folder / "line.mp4")
            found = bench_source(default_bundle(side, folder), str(video), None, SECONDS, None, Console(file=io.StringIO()))
        table.add_row(
            f"{side} px",
            f"{found.raw.of_engine:.2f} ({asked})",
            f"{found.whole.of_engine:.2f}",
            f"{found.of_reading or 0:.2f}",
            f"{found.started.first_verdict_s:.2f}",
            f"{found.started.peak_mb or 0:.0f}",
        )
    console.print(table)


def default_bundle(side: int, folder: Path) -> Path:
    """The default network with its random first weights, which is as fast as a trained one, signed."""
    path = folder / f"default-{side}"
    shutil.move(write_bundle(folder / "redness-1"), path)
    torch.manual_seed(0)
    recipe = Recipe(backbone=BACKBONE, height=side, width=side, source=find_source(BACKBONE, from_scratch=True).about)
    write_onnx(InspectionModel(recipe).eval(), NONE, recipe.preprocessing(), path / "model.onnx")
    frames = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), np.uint8)
    answer = OnnxRuntimeEngine(path / "model.onnx").infer(frames)
    np.savez_compressed(path / "golden.npz", frames=frames, probability=answer.probability)
    spec = json.loads((path / "bundle.json").read_text())
    spec["preprocessing"] = recipe.preprocessing().model_dump()
    spec["models"]["fp32"]["golden"] = answer.defect.tolist()
    spec["files"] |= {name: sha256_of(path / name) for name in ("model.onnx", "golden.npz")}
    sign(path, json.dumps(spec, indent=2).encode())
    return path


def write_video(path: Path) -> Path:
    """640 x 480, with something to see."""
    rng = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (640, 480))
    for _ in range(100):
        writer.write(cv2.resize(rng.integers(0, 256, (24, 32, 3), np.uint8), (640, 480)))
    writer.release()
    return path

"""Real pictures and real source weights, where they lie beside the checkout. Minutes, so marked slow; CI runs them too."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deploy.engines.onnxruntime import OnnxRuntimeEngine
from pipeline.data.prepare import prepare
from pipeline.evaluation.predict import predict, torch_infer
from pipeline.export.graph import write_onnx
from pipeline.training.run import load_run

SHARED = Path(__file__).parents[3] / "shared"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (SHARED / "data").is_dir(), reason=f"no real pictures: {SHARED / 'data'} is absent"),
]
BACKBONE = "tf_mobilenetv3_small_100"


def pipeline(*words: object) -> str:
    line = [sys.executable, "-c", "from pipeline.cli import main; main()", *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Magnetic tiles at reduced size and length: enough to be far from chance on groups never learned from."""
    out = tmp_path_factory.mktemp("runs")
    weights = SHARED / "weights" / f"{BACKBONE}.safetensors"
    recipe = ("--input-size", 224, "--epochs", 8)
    pipeline("train", SHARED / "data" / "magnetic_tile", "--backbone", BACKBONE, "--weights", weights, *recipe, "--out", out)
    return out / "magnetic_tile-0001"


def test_transfer_finds_defects_on_other_parts(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["auroc"]["value"] > 0.8  # from random weights: about 0.6; the thumbnails' shortcut: 0.67
    assert metrics["auroc"]["low"] < metrics["auroc"]["value"] < metrics["auroc"]["high"]


def test_exported_fp32_gives_every_test_picture_the_same_verdict(run: Path, tmp_path: Path) -> None:
    trained = load_run(run)
    spec, test = trained.recipe.preprocessing(), trained.manifest.split("test")
    model = trained.model()
    write_onnx(model, trained.decision.calibration, spec, tmp_path / "model.onnx")
    ours = predict(test, spec, OnnxRuntimeEngine(tmp_path / "model.onnx").infer)
    theirs = predict(test, spec, torch_infer(model, trained.decision.calibration))
    assert np.abs(ours - theirs).max() < 1e-4


def test_the_published_split_of_the_castings_leaks_and_is_refused() -> None:
    from deploy.errors import DatasetError

    with pytest.raises(DatasetError, match="the split leaks"):
        prepare(SHARED / "data" / "casting")
    assert sum(prepare(SHARED / "data" / "casting", resplit=True).pictures().values()) == 1200

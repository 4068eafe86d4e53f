"""Every file a bundle may hold, as the pipeline exports it, answers on OpenVINO as on onnxruntime."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from deploy.engines.onnxruntime import OnnxRuntimeEngine
from deploy.engines.openvino import OpenVinoEngine
from pipeline.data.sample import Sample
from pipeline.evaluation.calibration import NONE
from pipeline.export.graph import write_onnx
from pipeline.export.quantise import write_fp16, write_int8_cpu, write_int8_qdq
from tests.pipeline.test_model import build

pytest.importorskip("openvino", reason="OpenVINO is not installed")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    model, recipe = build("mobilenetv4_conv_small")
    random = np.random.default_rng(0)
    samples = []
    for number in range(4):
        cv2.imwrite(str(folder / f"{number}.png"), random.integers(0, 255, (96, 64, 3), np.uint8))
        samples.append(Sample(str(folder), f"{number}.png", "good"))
    spec = recipe.preprocessing()
    write_onnx(model, NONE, spec, folder / "fp32.onnx")
    write_fp16(folder / "fp32.onnx", folder / "fp16.onnx")
    write_int8_qdq(folder / "fp32.onnx", folder / "int8-qdq.onnx", samples, spec)
    write_int8_cpu(folder / "fp32.onnx", folder / "int8-cpu.onnx", samples, spec)
    return folder


@pytest.mark.parametrize(("precision", "atol"), [("fp32", 1e-4), ("fp16", 2e-2), ("int8-qdq", 0.1), ("int8-cpu", 0.1)])
@pytest.mark.parametrize("count", [1, 3])
def test_the_exported_file_answers_as_on_onnxruntime(precision: str, atol: float, count: int, files: Path) -> None:
    engines: list[Callable[..., OnnxRuntimeEngine | OpenVinoEngine]] = [OnnxRuntimeEngine, OpenVinoEngine]
    frames = np.random.default_rng(1).integers(0, 255, (count, 96, 64, 3), np.uint8)
    wanted, answer = (engine(files / f"{precision}.onnx").infer(frames) for engine in engines)
    np.testing.assert_allclose(answer.probability, wanted.probability, atol=atol)
    np.testing.assert_allclose(answer.heatmap, wanted.heatmap, atol=atol)

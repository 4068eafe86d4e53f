"""Every file a bundle may hold, as the pipeline exports it, answers on OpenVINO as on onnxruntime."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deploy.engines.onnxruntime import OnnxRuntimeEngine
from deploy.engines.openvino import OpenVinoEngine
from tests.pipeline.networks import noise, write_precisions

pytest.importorskip("openvino", reason="OpenVINO is not installed")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    write_precisions(folder, "mobilenetv4_conv_small", 96, 64)
    return folder


@pytest.mark.parametrize(("precision", "atol"), [("fp32", 1e-4), ("fp16", 2e-2), ("int8-qdq", 0.1), ("int8-cpu", 0.1)])
@pytest.mark.parametrize("count", [1, 3])
def test_the_exported_file_answers_as_on_onnxruntime(precision: str, atol: float, count: int, files: Path) -> None:
    engines: list[Callable[..., OnnxRuntimeEngine | OpenVinoEngine]] = [OnnxRuntimeEngine, OpenVinoEngine]
    frames = noise(count, 96, 64, seed=1)
    wanted, answer = (engine(files / f"{precision}.onnx").infer(frames) for engine in engines)
    np.testing.assert_allclose(answer.probability, wanted.probability, atol=atol)
    np.testing.assert_allclose(answer.heatmap, wanted.heatmap, atol=atol)

"""The same engine on a real driver and TensorRT, where there are both."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from deploy.bundle import Bundle
from deploy.engines.onnxruntime import OnnxRuntimeEngine
from deploy.engines.tensorrt import TensorRTEngine
from deploy.engines.tensorrt.cuda import Driver
from deploy.errors import ProviderMissing
from deploy.preprocess import Picture
from deploy.selftest import check_golden


@pytest.fixture(scope="module")
def gpu() -> str:
    if importlib.util.find_spec("tensorrt") is None:
        pytest.skip("tensorrt is not installed")
    try:
        return Driver().gpu
    except ProviderMissing as error:
        pytest.skip(str(error))


def test_a_built_and_a_kept_engine_answer_as_onnxruntime(gpu: str, bundle: Bundle, tmp_path: Path) -> None:
    file = bundle.path / bundle.model("fp32").file
    said: list[str] = []
    random = np.random.default_rng(0)
    frames: Picture = random.integers(0, 255, (9, 128, 128, 3), np.uint8)
    wanted = OnnxRuntimeEngine(file).infer(frames)
    for starts in (1, 2):
        engine = TensorRTEngine(file, "fp32", tmp_path, max_batch=4, tell=said.append)
        assert gpu in engine.name
        assert len(said) == 1, f"start {starts}: {said}"
        answer = engine.infer(frames)
        np.testing.assert_allclose(answer.probability, wanted.probability, atol=1e-3)
        np.testing.assert_allclose(answer.heatmap, wanted.heatmap, atol=1e-3)
        check_golden(bundle, engine, "fp32")

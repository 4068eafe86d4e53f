"""onnxruntime's own two ways of running, and what the golden pictures say of an engine."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from deploy.bundle import Bundle
from deploy.engines import RUNTIMES, Answer, open_engine
from deploy.engines.onnxruntime import CPU, CUDA, OnnxRuntimeEngine
from deploy.errors import EngineError, ProviderMissing
from deploy.preprocess import Picture
from deploy.selftest import ROUNDING, SelfTest, ask_golden, check_golden, other_verdicts
from deploy.verdict import Thresholds


@pytest.fixture
def file(bundle: Bundle) -> Path:
    return bundle.path / bundle.model("fp32").file


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_no_answer(threads: int, bundle: Bundle, file: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 128, 128, 3), np.uint8)
    few, usual = open_engine(bundle, threads=threads), OnnxRuntimeEngine(file)
    np.testing.assert_array_equal(few.infer(frames).probability, usual.infer(frames).probability)
    assert isinstance(few, OnnxRuntimeEngine)
    assert few._session.get_session_options().intra_op_num_threads == threads
    assert usual._session.get_session_options().intra_op_num_threads == 0


@pytest.mark.parametrize("threads", [0, -2])
def test_no_threads_are_refused(threads: int, file: Path) -> None:
    with pytest.raises(EngineError, match=f"{threads} threads were asked for; expected 1 or more"):
        OnnxRuntimeEngine(file, threads=threads)


def test_an_unknown_engine_is_told_the_known_ones(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match=f"no engine 'abacus'; there are {', '.join(RUNTIMES)}"):
        open_engine(bundle, runtime="abacus")


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="this onnxruntime has CUDA")
def test_a_cpu_s_onnxruntime_is_no_gpu(bundle: Bundle) -> None:
    with pytest.raises(ProviderMissing, match=r"asked for CUDAExecutionProvider, but this onnxruntime .*install the extra `gpu`"):
        open_engine(bundle, runtime="onnxruntime-cuda")


def test_a_silent_fallback_is_refused(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = onnxruntime.InferenceSession

    def falls_back(file: str, options: Any, providers: list[Any]) -> Any:
        assert providers == [(CUDA, {"use_tf32": "0"})]
        print("*************** EP Error ***************\nlibcudnn.so.9: cannot open shared object file")
        return real(file, options, providers=[CPU])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(onnxruntime, "InferenceSession", falls_back)
    with pytest.raises(ProviderMissing, match=r"but onnxruntime runs on CPUExecutionProvider \(.*libcudnn.so.9.*\); install"):
        open_engine(bundle, runtime="onnxruntime-cuda")
    assert capsys.readouterr().out == ""


THRESHOLDS = Thresholds(accept=0.3, reject=0.6)


@pytest.mark.parametrize(
    ("answers", "lab", "other"),
    [
        ([0.1, 0.9], [0.15, 0.99], 0),
        ([0.31, 0.9], [0.29, 0.9], 1),
        ([0.59, 0.1], [0.61, 0.5], 2),
        ([0.3 - ROUNDING / 2], [0.3], 0),  # a verdict that turns within rounding is no other verdict
        ([0.3 - ROUNDING / 2], [0.3 + ROUNDING * 2], 1),
        ([0.6 + ROUNDING / 2], [0.6], 0),
        ([float("nan")], [0.1], 1),
        ([0.0, 1.0], [0.0, 1.0], 0),
    ],
)
def test_verdicts_are_compared_at_the_same_thresholds(answers: list[float], lab: list[float], other: int) -> None:
    assert other_verdicts(SelfTest(len(answers), 0, 1, tuple(answers)), lab, THRESHOLDS) == other


def test_the_golden_answers_come_in_their_order(bundle: Bundle) -> None:
    found = check_golden(bundle, open_engine(bundle), "fp32")
    np.testing.assert_allclose(found.answers, bundle.model("fp32").golden, atol=1e-6)
    assert found.alike


def test_no_number_is_not_alike(bundle: Bundle) -> None:
    class Broken:
        name = "broken"

        def infer(self, frames: Picture) -> Answer:
            return Answer(np.full((1, 2), np.nan, np.float32), np.zeros((1, 1, 1), np.float32))

    assert not ask_golden(bundle, Broken(), "fp32").alike

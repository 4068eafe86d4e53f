import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from deploy.bundle import Bundle
from deploy.engines.onnxruntime import OnnxRuntimeEngine
from deploy.engines.openvino import OpenVinoEngine
from deploy.errors import EngineError, ProviderMissing
from deploy.selftest import check_golden

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")


@pytest.fixture
def file(bundle: Bundle) -> Path:
    return bundle.path / bundle.model("fp32").file


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_it_answers_as_onnxruntime(threads: int | None, bundle: Bundle, file: Path) -> None:
    ours, theirs = OpenVinoEngine(file, threads=threads), OnnxRuntimeEngine(file)
    frames = np.random.default_rng(0).integers(0, 255, (4, 128, 128, 3), np.uint8)
    for batch in (frames[:1], frames, frames[1:2], frames[:, ::-1]):
        answer, wanted = ours.infer(batch), theirs.infer(batch)
        np.testing.assert_allclose(answer.probability, wanted.probability, atol=1e-4)
        np.testing.assert_allclose(answer.heatmap, wanted.heatmap, atol=1e-4)
        assert answer.probability.dtype == answer.heatmap.dtype == np.float32
    check_golden(bundle, ours, "fp32")
    assert ours.name == f"openvino {openvino.__version__.split('-')[0]} CPU"


def test_an_answer_is_not_overwritten_by_the_next(file: Path) -> None:
    engine = OpenVinoEngine(file, threads=1)
    red = np.full((1, 128, 128, 3), (0, 0, 255), np.uint8)
    first = engine.infer(red)
    engine.infer(np.zeros_like(red))
    assert first.defect[0] == 1
    assert first.heatmap.min() == 1


@pytest.mark.parametrize("device", ["NPU", "AUTO", "HETERO:CPU", "cpu", ""])
def test_a_device_that_is_not_there_is_refused(device: str, file: Path) -> None:
    with pytest.raises(ProviderMissing, match=f"asked for the OpenVINO device {device!r}, but this machine has .*CPU"):
        OpenVinoEngine(file, device)


class OnlySays:
    """A compiled model of another device, or with another option, than was asked for."""

    def __init__(self, real: Any, answers: dict[str, Any]) -> None:
        self._real, self._answers = real, answers

    def get_property(self, name: str) -> Any:
        return self._answers.get(name) or self._real.get_property(name)


@pytest.mark.parametrize(
    ("answers", "error", "expected"),
    [
        ({"EXECUTION_DEVICES": ["GPU.0"]}, ProviderMissing, "asked for CPU, but OpenVINO runs on GPU.0"),
        ({"EXECUTION_DEVICES": ["CPU", "GPU"]}, ProviderMissing, "runs on CPU, GPU"),
        ({"INFERENCE_PRECISION_HINT": "bf16"}, EngineError, "was told INFERENCE_PRECISION_HINT f32, but runs with bf16"),
        ({"INFERENCE_NUM_THREADS": 8}, EngineError, "was told INFERENCE_NUM_THREADS 1, but runs with 8"),
    ],
)
def test_what_runs_is_compared_with_what_was_asked(
    answers: dict[str, Any], error: type[Exception], expected: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = openvino.Core.compile_model
    monkeypatch.setattr(openvino.Core, "compile_model", lambda *asked: OnlySays(real(*asked), answers))
    with pytest.raises(error, match=expected):
        OpenVinoEngine(file, threads=1)


def test_without_the_package(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EngineError, match=r"OpenVINO is not installed .*pip install openvino"):
        OpenVinoEngine(file)


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_are_refused(threads: int, file: Path) -> None:
    with pytest.raises(EngineError, match=f"{threads} threads were asked for; expected 1 or more"):
        OpenVinoEngine(file, threads=threads)


@pytest.mark.parametrize("content", [None, b"", b"no graph"])
def test_a_file_that_is_no_graph_is_refused(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(EngineError, match=r"model.onnx does not load in openvino .*export it again") as raised:
        OpenVinoEngine(file)
    assert "Exception from" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_another_graph_is_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="the graph is made with onnx")
    helper, file = onnx.helper, tmp_path / "model.onnx"
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 3]) for name in ("pixels", "score")]
    graph = helper.make_graph([helper.make_node("Relu", ["pixels"], ["score"])], "other", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    with pytest.raises(EngineError, match=r"takes \['pixels'\] and gives \['score'\]; expected frames"):
        OpenVinoEngine(file)


def test_other_frames_are_refused(file: Path) -> None:
    engine = OpenVinoEngine(file, threads=1)
    with pytest.raises(EngineError, match="got float32 pictures; expected uint8"):
        engine.infer(np.zeros((1, 128, 128, 3), np.float32))
    for shape in ((1, 64, 64, 3), (2, 64, 64, 3)):
        with pytest.raises(EngineError, match=r"failed on input \(\d, 64, 64, 3\) uint8"):
            engine.infer(np.zeros(shape, np.uint8))


def test_openvino_is_no_part_of_the_start() -> None:
    import deploy.engines.openvino as engine

    assert not any(isinstance(value, ModuleType) and value.__name__.startswith("openvino") for value in vars(engine).values())

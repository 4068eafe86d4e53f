"""Which layers a message of TensorRT means, and what a graph answers once their Q/DQ pairs are gone."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from deploy.engines.onnxruntime import OnnxRuntimeEngine
from deploy.engines.tensorrt.quantised import in_floating_point, layers_named, read_graph
from tests.deploy.tensorrt.conftest import SIDE

if TYPE_CHECKING:
    from onnx import ModelProto

onnx = pytest.importorskip("onnx", reason="these are graphs of onnx")

ALL = ["Conv_1", "/b/Conv", "Conv_12"]
Heatmap = npt.NDArray[np.float32]
NO_KERNEL = "Could not find any implementation for node"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (f"10: {NO_KERNEL} weight1 + weight1_QuantizeLinear + Conv_1 + PWN(Relu_3).", ["Conv_1"]),
        (f"{NO_KERNEL} Conv_12.", ["Conv_12"]),
        (f"{NO_KERNEL} weight2_QuantizeLinear_clone_0.", ["/b/Conv"]),
        (f"{NO_KERNEL} /b/Conv || Conv_1.", ["Conv_1", "/b/Conv"]),
        (f"{NO_KERNEL} {{ForeignNode[Conv_1...Conv_12]}}.", ["Conv_1", "Conv_12"]),
        (f"{NO_KERNEL} stem_QuantizeLinear.", ["Conv_1", "/b/Conv"]),  # the pair that both read
        (f"{NO_KERNEL} /a/b/Conv + Conv_123 + Conv_1.2.", []),
        (f"{NO_KERNEL} Conv_0.", []),  # the stem: not quantised
        ("", []),
    ],
)
def test_layers_named(said: str, expected: list[str], model: Path) -> None:
    assert layers_named(onnx.load(model), said) == expected


def test_layers_at_a_position(model: Path) -> None:
    graph = onnx.load(model)
    at = [node.name for node in graph.graph.node].index("Conv_12")
    assert layers_named(graph, "Assertion failed", [at, 10_000, -1]) == ["Conv_12"]


def answers(graph: "ModelProto") -> list[Heatmap]:
    frames = np.random.default_rng(5).integers(0, 255, (2, SIDE, SIDE, 3), np.uint8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it tells of the scales that nothing reads any more
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(["probability", "heatmap"], {"frames": frames}))


@pytest.mark.parametrize(
    ("layers", "pairs_left"), [([], 5), (["Conv_1"], 4), (["Conv_1", "/b/Conv"], 2), (["Conv_12"], 3), (ALL, 0), (["Conv_0"], 5)]
)
def test_pairs_leave_with_their_last_layer(layers: list[str], pairs_left: int, model: Path) -> None:
    before = onnx.load(model)
    after = in_floating_point(before, layers)
    onnx.checker.check_model(after)
    counted = sum(node.op_type == "QuantizeLinear" for node in after.graph.node)
    assert counted == sum(node.op_type == "DequantizeLinear" for node in after.graph.node) == pairs_left
    assert before == onnx.load(model)
    for ours, theirs in zip(answers(after), answers(before), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.05)


def test_with_all_of_them_out_it_answers_as_in_floating_point(model: Path) -> None:
    quantised = onnx.load(model)
    plain = onnx.load(model)
    for node in plain.graph.node:  # the same by hand: a Q/DQ that does nothing
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            kept, source, out = node.name, node.input[0], node.output[0]
            node.CopyFrom(onnx.helper.make_node("Identity", [source], [out], kept))
    out = in_floating_point(quantised, ALL)
    for ours, theirs, rounded in zip(answers(out), answers(plain), answers(quantised), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
        assert not np.allclose(ours, rounded, atol=1e-6)


def test_a_file_s_bytes_are_read(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_graph(model.read_bytes()) == onnx.load(model)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert read_graph(model.read_bytes()) is None


def test_the_graph_of_these_tests_runs(model: Path) -> None:
    assert OnnxRuntimeEngine(model).infer(np.zeros((1, SIDE, SIDE, 3), np.uint8)).probability.shape == (1, 4)

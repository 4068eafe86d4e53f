import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.deploy.tensorrt.doubles import VERSIONS, FakeCuda, FakeTensorRT

SIDE = 16


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    found = FakeCuda()
    driver = importlib.import_module("deploy.engines.tensorrt.cuda")
    monkeypatch.setattr(driver, "load_library", lambda: found)
    return found


@pytest.fixture
def install(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], FakeTensorRT]:
    """Make `import tensorrt` give the double of a version."""

    def put(version: str) -> FakeTensorRT:
        trt = FakeTensorRT(version, cuda)
        monkeypatch.setitem(sys.modules, "tensorrt", trt)
        return trt

    return put


@pytest.fixture(params=VERSIONS)
def trt(request: pytest.FixtureRequest, install: Callable[[str], FakeTensorRT]) -> FakeTensorRT:
    return install(request.param)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A bundle's INT8 file: a stem in floating point, three quantised convolutions of which two share their input's pair."""
    onnx = pytest.importorskip("onnx", reason="the graph is made with onnx")
    helper, numpy_helper, kinds = onnx.helper, onnx.numpy_helper, onnx.TensorProto
    random = np.random.default_rng(0)
    constants = {
        "stem.weight": random.normal(size=(4, 3, 1, 1)).astype(np.float32) / 200,
        "stem_scale": np.float32(0.02),
        "sum_scale": np.float32(0.1),
        "zero": np.int8(0),
    }
    nodes = [
        helper.make_node("Cast", ["frames"], ["floats"], to=kinds.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "stem.weight"], ["stem"], name="Conv_0"),
    ]

    def pair(tensor: str, scale: str, zero: str, **axis: int) -> str:
        quantise = f"{tensor}_QuantizeLinear"
        nodes.append(helper.make_node("QuantizeLinear", [tensor, scale, zero], [f"{tensor}_q"], quantise, **axis))
        dequantise = f"{tensor}_DequantizeLinear"
        nodes.append(helper.make_node("DequantizeLinear", [f"{tensor}_q", scale, zero], [f"{tensor}_dq"], dequantise, **axis))
        return f"{tensor}_dq"

    def convolution(name: str, source: str, number: int) -> str:
        weight = random.normal(size=(4, 4, 1, 1)).astype(np.float32)
        constants[f"weight{number}"] = weight
        constants[f"weight{number}_scale"] = np.abs(weight).max(axis=(1, 2, 3)) / 127
        constants[f"weight{number}_zero"] = np.zeros(4, np.int8)
        weights = pair(f"weight{number}", f"weight{number}_scale", f"weight{number}_zero", axis=0)
        nodes.append(helper.make_node("Conv", [source, weights], [f"out{number}"], name))
        return f"out{number}"

    shared = pair("stem", "stem_scale", "zero")
    first, second = convolution("Conv_1", shared, 1), convolution("/b/Conv", shared, 2)
    nodes.append(helper.make_node("Add", [first, second], ["sum"]))
    third = convolution("Conv_12", pair("sum", "sum_scale", "zero"), 3)
    nodes += [
        helper.make_node("ReduceMean", [third], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("Softmax", ["means"], ["probability"], axis=1),
        helper.make_node("ReduceMax", [third], ["strongest"], axes=[1], keepdims=0),
        helper.make_node("Sigmoid", ["strongest"], ["heatmap"]),
    ]
    graph = helper.make_graph(
        nodes,
        "three",
        [helper.make_tensor_value_info("frames", kinds.UINT8, ["n", SIDE, SIDE, 3])],
        [
            helper.make_tensor_value_info("probability", kinds.FLOAT, ["n", 4]),
            helper.make_tensor_value_info("heatmap", kinds.FLOAT, ["n", SIDE, SIDE]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    file = tmp_path / "part-3" / "model.int8.qdq.onnx"
    file.parent.mkdir()
    file.write_bytes(made.SerializeToString())
    return file

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

from deploy.errors import BundleError
from pipeline.export.check_qdq import Fault, check_qdq, is_quantised
from tests.pipeline.networks import write_precisions


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """fp32.onnx and int8-qdq.onnx, as the export writes them."""
    folder = tmp_path_factory.mktemp("graphs")
    write_precisions(folder, "mobilenetv3_small_050")
    return folder


@pytest.fixture(scope="module")
def sound(folder: Path) -> ModelProto:
    return onnx.load(folder / "int8-qdq.onnx")


# Surgery, each at a place of its own, so that any of them can be done together. Each function breaks one rule and returns the
# names of the nodes of which one must be reported.


def named(graph: ModelProto, name: str) -> NodeProto:
    found: NodeProto = next(node for node in graph.graph.node if node.name == name)
    return found


def producer(graph: ModelProto, tensor: str) -> NodeProto:
    found: NodeProto = next(node for node in graph.graph.node if tensor in node.output)
    return found


def conv(graph: ModelProto, block: str) -> NodeProto:
    return named(graph, f"/model/backbone/blocks.{block}/Conv")


def pair(graph: ModelProto, layer: NodeProto, index: int) -> tuple[NodeProto, NodeProto]:
    after = producer(graph, layer.input[index])
    return producer(graph, after.input[0]), after


def put(graph: ModelProto, name: str, array: np.typing.NDArray[np.generic]) -> str:
    graph.graph.initializer.append(numpy_helper.from_array(array, name))
    return name


def insert_pair(graph: ModelProto, tensor: str, users: list[NodeProto], label: str) -> str:
    scale, zero = put(graph, f"{label}_s", np.array(0.1, np.float32)), put(graph, f"{label}_z", np.array(0, np.int8))
    graph.graph.node.append(helper.make_node("QuantizeLinear", [tensor, scale, zero], [f"{label}_q"], f"{label}_Q"))
    graph.graph.node.append(helper.make_node("DequantizeLinear", [f"{label}_q", scale, zero], [f"{label}_dq"], f"{label}_DQ"))
    for user in users:
        for index, name in enumerate(user.input):
            if name == tensor:
                user.input[index] = f"{label}_dq"
    return f"{label}_Q"


def new_parameter(graph: ModelProto, layer: NodeProto, index: int, array: np.typing.NDArray[np.generic]) -> set[str]:
    """Another scale (1) or zero point (2) for the pair at a layer's input."""
    nodes = pair(graph, layer, 0)
    name = put(graph, f"{layer.name}_new_{index}", array)
    for node in nodes:
        node.input[index] = name
    return {node.name for node in nodes}


def nonzero_zero_point(graph: ModelProto) -> set[str]:
    return new_parameter(graph, conv(graph, "1/blocks.1.0/conv_pwl"), 2, np.array(3, np.int8))


def unsigned_activation(graph: ModelProto) -> set[str]:
    return new_parameter(graph, conv(graph, "1/blocks.1.1/conv_dw"), 2, np.array(0, np.uint8))


def negative_scale(graph: ModelProto) -> set[str]:
    return new_parameter(graph, conv(graph, "1/blocks.1.1/conv_pwl"), 1, np.array(-0.1, np.float32))


def int32_bias(graph: ModelProto) -> set[str]:
    layer = conv(graph, "2/blocks.2.0/conv_dw")
    bias = next(numpy_helper.to_array(one) for one in graph.graph.initializer if one.name == layer.input[2])
    inputs = [
        put(graph, "bias_int", np.zeros(bias.shape, np.int32)),
        put(graph, "bias_s", np.full(bias.shape, 0.1, np.float32)),
        put(graph, "bias_z", np.zeros(bias.shape, np.int32)),
    ]
    graph.graph.node.append(helper.make_node("DequantizeLinear", inputs, ["bias_dq"], "bias_DQ", axis=0))
    layer.input[2] = "bias_dq"
    return {"bias_DQ"}


def wrong_axis(graph: ModelProto) -> set[str]:
    nodes = pair(graph, conv(graph, "2/blocks.2.1/conv_pw"), 1)
    for node in nodes:
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("axis", 1))
    return {node.name for node in nodes}


def double_add(graph: ModelProto) -> set[str]:
    add = named(graph, "/model/backbone/blocks.2/blocks.2.1/Add")
    plain = next(name for name in add.input if producer(graph, name).op_type == "Conv")
    insert_pair(graph, plain, [add], "double")
    return {add.name}


def newer_opset(graph: ModelProto) -> set[str]:
    graph.opset_import[0].version = 18
    return {"the graph"}


def float_weights(graph: ModelProto, layer: NodeProto) -> set[str]:
    before, after = pair(graph, layer, 1)
    layer.input[1] = before.input[0]
    graph.graph.node.remove(before)
    graph.graph.node.remove(after)
    return {layer.name}


def half_quantised_weights_left_out(graph: ModelProto) -> set[str]:
    return float_weights(graph, conv(graph, "3/blocks.3.0/conv_pwl"))


def half_quantised_input_left_out(graph: ModelProto) -> set[str]:
    layer = conv(graph, "3/blocks.3.1/conv_pwl")
    before, after = pair(graph, layer, 0)
    layer.input[0] = before.input[0]
    graph.graph.node.remove(before)
    graph.graph.node.remove(after)
    return {layer.name}


def output_pair(graph: ModelProto) -> set[str]:
    tensor = conv(graph, "4/blocks.4.0/conv_dw").output[0]
    return {insert_pair(graph, tensor, [node for node in graph.graph.node if tensor in node.input], "output")}


def quantised_stem(graph: ModelProto) -> set[str]:
    stem = next(node for node in graph.graph.node if node.op_type == "Conv")
    insert_pair(graph, stem.input[0], [stem], "stem_input")
    weights, channels = stem.input[1], 16
    insert_pair(graph, weights, [stem], "stem_weights")
    new = put(graph, "stem_scales", np.full(channels, 0.1, np.float32)), put(graph, "stem_zeros", np.zeros(channels, np.int8))
    for node in pair(graph, stem, 1):
        node.input[1], node.input[2] = new
        node.attribute.append(helper.make_attribute("axis", 0))
    return {stem.name}


def dangling(graph: ModelProto) -> set[str]:
    tensor = conv(graph, "4/blocks.4.1/conv_dw").output[0]
    insert_pair(graph, tensor, [], "dangling")
    return {"dangling_DQ"}


def another_scale(graph: ModelProto) -> set[str]:
    _, after = pair(graph, conv(graph, "4/blocks.4.2/conv_dw"), 0)
    after.input[1] = put(graph, "another_scale", np.array(0.7, np.float32))
    return {after.name}


def int8_constants(graph: ModelProto) -> set[str]:
    before, after = pair(graph, conv(graph, "4/blocks.4.2/conv_pw"), 1)
    shape = next(tuple(one.dims) for one in graph.graph.initializer if one.name == before.input[0])
    after.input[0] = put(graph, "stored_int8", np.ones(shape, np.int8))
    graph.graph.node.remove(before)
    return {after.name}


def forbidden_operator(graph: ModelProto) -> set[str]:
    graph.graph.node.append(helper.make_node("NonZero", ["heatmap"], ["where"], "find"))
    return {"find"}


Surgery = Callable[[ModelProto], set[str]]
BROKEN: dict[Surgery, str] = {
    nonzero_zero_point: "zero-point",
    unsigned_activation: "signed-int8",
    negative_scale: "scale",
    int32_bias: "bias",
    wrong_axis: "axis",
    double_add: "double-add",
    newer_opset: "opset",
    half_quantised_weights_left_out: "half-quantised",
    half_quantised_input_left_out: "half-quantised",
    output_pair: "output",
    quantised_stem: "stem",
    dangling: "pair",
    another_scale: "pair",
    int8_constants: "pair",
    forbidden_operator: "operator",
}


def broken(sound: ModelProto, *surgeries: Surgery) -> tuple[list[Fault], list[set[str]]]:
    graph = ModelProto()
    graph.CopyFrom(sound)
    names = [surgery(graph) for surgery in surgeries]
    return check_qdq(graph), names


def test_what_the_export_writes_is_sound(folder: Path, sound: ModelProto) -> None:
    assert check_qdq(folder / "int8-qdq.onnx") == []
    assert is_quantised(sound)
    assert sum(node.op_type == "DequantizeLinear" for node in sound.graph.node) > 50


@pytest.mark.parametrize("surgery", BROKEN, ids=lambda surgery: surgery.__name__)
def test_each_fault_is_named_once_by_its_rule_alone(sound: ModelProto, surgery: Surgery) -> None:
    (fault,), (names,) = broken(sound, surgery)
    assert fault.rule == BROKEN[surgery]
    assert fault.node in names
    assert fault.node in str(fault)


@given(st.sets(st.sampled_from(list(BROKEN))))
@settings(max_examples=15, deadline=None)
def test_all_faults_are_listed_at_once(sound: ModelProto, surgeries: set[Surgery]) -> None:
    faults, _ = broken(sound, *surgeries)
    assert sorted(fault.rule for fault in faults) == sorted(BROKEN[surgery] for surgery in surgeries)


def test_every_rule_at_once(sound: ModelProto) -> None:
    faults, _ = broken(sound, *BROKEN)
    assert sorted(fault.rule for fault in faults) == sorted(BROKEN.values())


def test_a_layer_left_in_floating_point_may_share_a_quantised_input(sound: ModelProto) -> None:
    faults, _ = broken(sound, lambda graph: float_weights(graph, named(graph, "/model/head/lateral.0/Conv")))
    assert faults == []


class Noise(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        self.left = 2

    def get_next(self) -> dict[str, np.typing.NDArray[np.uint8]] | None:
        self.left -= 1
        return {"frames": np.random.default_rng(self.left).integers(0, 255, (1, 64, 64, 3), np.uint8)} if self.left >= 0 else None


def test_onnxruntime_s_defaults_are_refused(folder: Path, tmp_path: Path) -> None:
    quantize_static(folder / "fp32.onnx", tmp_path / "default.onnx", Noise(), quant_format=QuantFormat.QDQ)
    faults = check_qdq(tmp_path / "default.onnx")
    rules = {fault.rule for fault in faults}
    assert rules == {"zero-point", "bias", "pair", "axis", "double-add", "output", "stem"}
    with_bias = [node for node in onnx.load(folder / "fp32.onnx").graph.node if node.op_type in ("Conv", "BatchNormalization")]
    assert sum(fault.rule == "bias" for fault in faults) == len(with_bias)
    assert sum(fault.rule == "stem" for fault in faults) == 1


def test_a_graph_in_floating_point_has_none(folder: Path) -> None:
    assert check_qdq(folder / "fp32.onnx") == []
    assert not is_quantised(onnx.load(folder / "fp32.onnx"))


def one_layer(operator: str, axis: int, transposed: int = 0) -> ModelProto:
    """A quantised Gemm, MatMul or 1x1 transposed convolution with weights of 6 x 4 channels."""
    weights = np.random.default_rng(0).normal(size=(6, 4, 1, 1) if operator == "ConvTranspose" else (6, 4))
    constants: dict[str, np.typing.NDArray[np.generic]] = {
        "w": weights.astype(np.float32),
        "ws": np.full(weights.shape[axis], 0.1, np.float32),
        "wz": np.zeros(weights.shape[axis], np.int8),
        "xs": np.array(0.1, np.float32),
        "xz": np.array(0, np.int8),
    }
    layer = helper.make_node(operator, ["xd", "wd"], ["y"], "layer")
    if transposed:
        layer.attribute.append(helper.make_attribute("transB", 1))
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"], "x_Q"),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"], "x_DQ"),
        helper.make_node("QuantizeLinear", ["w", "ws", "wz"], ["wq"], "w_Q", axis=axis),
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["wd"], "w_DQ", axis=axis),
        layer,
    ]
    outer = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    stored = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "one", outer[:1], outer[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


@pytest.mark.parametrize(
    ("operator", "transposed", "right"), [("Gemm", 1, 0), ("Gemm", 0, 1), ("MatMul", 0, 1), ("ConvTranspose", 0, 0)]
)
def test_the_axis_of_the_channels_differs_by_layer(operator: str, transposed: int, right: int) -> None:
    assert check_qdq(one_layer(operator, right, transposed)) == []
    (fault,) = check_qdq(one_layer(operator, 1 - right, transposed))
    assert (fault.rule, fault.node) == ("axis", "w_Q")
    assert f"along axis {right}" in fault.expected


def test_weights_with_one_scale_for_all_channels_are_named() -> None:
    graph = one_layer("Gemm", 0, transposed=1)
    for old in graph.graph.initializer:
        if old.name in ("ws", "wz"):
            old.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(old)[:1].reshape(()), old.name))
    (fault,) = check_qdq(graph)
    assert (fault.rule, fault.found) == ("axis", "one scale")


def test_activations_with_a_scale_per_channel_are_named() -> None:
    graph = one_layer("MatMul", 1)
    for old in graph.graph.initializer:
        if old.name in ("xs", "xz"):
            old.CopyFrom(numpy_helper.from_array(np.repeat(numpy_helper.to_array(old), 6), old.name))
    (fault,) = check_qdq(graph)
    assert (fault.rule, fault.node) == ("axis", "x_Q")


@pytest.mark.parametrize("content", [b"", b"no graph", None], ids=["empty", "text", "torn"])
def test_a_file_that_is_no_whole_graph_is_refused(content: bytes | None, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "torn.onnx"
    file.write_bytes((folder / "int8-qdq.onnx").read_bytes()[:20_000] if content is None else content)
    with pytest.raises(BundleError, match=r"torn\.onnx .*export again"):
        check_qdq(file)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="missing"):
        check_qdq(tmp_path / "none.onnx")

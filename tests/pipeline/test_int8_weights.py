"""Weights before they are quantised: channels made larger, and rounding that lets errors cancel out."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from deploy.preprocess import Picture
from pipeline.evaluation.calibration import NONE
from pipeline.export.graph import write_onnx
from pipeline.export.int8 import rounding
from pipeline.export.int8.equalise import DEAD, equalise
from pipeline.export.int8.layouts import CPU, TENSORRT, Layout, candidates, quantise
from pipeline.export.int8.ranges import choose, collect, showing
from pipeline.export.int8.rounding import round_weights
from pipeline.export.int8.weights import weights_of, with_weights
from pipeline.export.links import link
from tests.pipeline.networks import noise
from tests.pipeline.test_model import build

BACKBONES = {
    "ReLU6": "mobilenetv2_035",
    "ReLU, dense 3 x 3": "mobilenetv4_conv_small_035",
    "hard-swish": "tf_mobilenetv3_small_100",
}


def network(backbone: str, folder: Path, height: int = 64) -> onnx.ModelProto:
    model, recipe = build(backbone, height=height)
    write_onnx(model, NONE, recipe.preprocessing(), folder / "fp32.onnx")
    return onnx.load(folder / "fp32.onnx")


def log_odds(graph: onnx.ModelProto, frames: Picture) -> np.ndarray:
    """What the graph computes before its softmax: differences there are not squeezed."""
    last = link(graph).producers["probability"].input[0]
    return np.concatenate([showing(graph, [last]).run([last], {"frames": frame[None]})[0] for frame in frames])


def unused(done: int, total: int) -> None:
    """Progress that nobody watches."""


@pytest.mark.parametrize(("groups", "rows", "inputs"), [(1, 24, 40), (1, 3, 9), (16, 1, 9), (4, 5, 18)])
@pytest.mark.parametrize("seed", range(3))
def test_errors_cancel_out_in_the_answers(groups: int, rows: int, inputs: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    seen = random.normal(size=(groups, inputs, 4)) @ random.normal(size=(groups, 4, 500))  # inputs that go together
    seen = np.maximum(0, seen + 0.3 * random.normal(size=seen.shape) + 0.5)
    weights = random.normal(size=(groups * rows, inputs, 1, 1)).astype(np.float32)
    ours = rounding._rounded(weights, seen @ seen.transpose(0, 2, 1) / 500)
    step = np.abs(weights).max((1, 2, 3), keepdims=True) / 127
    nearest = np.round(weights / step) * step

    def error(rounded: np.ndarray) -> float:
        return float((((rounded - weights).reshape(groups, rows, inputs) @ seen) ** 2).mean())

    assert error(ours) < 0.9 * error(nearest)


@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
def test_a_quantiser_finds_the_steps_that_were_rounded_to(backbone: str, tmp_path: Path) -> None:
    graph = network(backbone, tmp_path)
    before, after = weights_of(graph), round_weights(graph, list(noise(3)), unused)
    assert set(after) == {node.input[1] for node in candidates(graph)}
    for name, rounded in after.items():
        step = np.abs(before[name]).max((1, 2, 3), keepdims=True) / 127
        assert np.abs(rounded).max((1, 2, 3)) == pytest.approx(np.abs(before[name]).max((1, 2, 3)), rel=1e-5)
        assert np.abs(rounded / step - np.round(rounded / step)).max() < 1e-3


@pytest.mark.parametrize("layout", [TENSORRT, CPU], ids=lambda layout: layout.precision)
def test_a_layer_in_floating_point_keeps_its_weights(layout: Layout, tmp_path: Path) -> None:
    graph, frames = network("mobilenetv2_035", tmp_path), list(noise(2))
    nodes = candidates(graph)
    ranges = choose(collect(graph, [node.input[0] for node in nodes], frames), "min-max", layout.symmetric)
    made = quantise(graph, layout, ranges, {nodes[4].name}, round_weights(graph, frames, unused))
    before, after = weights_of(graph), weights_of(made)
    assert np.array_equal(after[nodes[4].input[1]], before[nodes[4].input[1]])


def test_a_layer_that_sees_nothing_is_rounded_to_the_nearest_step() -> None:
    weights = np.random.default_rng(0).normal(size=(4, 6, 1, 1)).astype(np.float32)
    step = np.abs(weights).max((1, 2, 3), keepdims=True) / 127
    assert rounding._rounded(weights, np.zeros((1, 6, 6))) == pytest.approx(np.round(weights / step) * step, abs=1e-6)


# --- channels ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
def test_larger_channels_change_no_answer(backbone: str, tmp_path: Path) -> None:
    graph, frames = network(backbone, tmp_path), noise(4)
    larger = equalise(graph, list(frames))
    before = log_odds(graph, frames)
    assert log_odds(larger, frames) == pytest.approx(before, abs=1e-3 * float(np.abs(before).max()))
    changed = [name for name, weights in weights_of(graph).items() if not np.array_equal(weights, weights_of(larger)[name])]
    assert changed


def spoil(graph: onnx.ModelProto, factor: float) -> onnx.ModelProto:
    """Half of the channels before the first depthwise convolution behind a ReLU made quieter, and read the louder."""
    links, weights = link(graph), weights_of(graph)
    reader = next(node for node in candidates(graph) if weights[node.input[1]].shape[1] == 1 < len(weights[node.input[1]]))
    act = links.producers[reader.input[0]]
    maker = links.producers[act.input[0]]
    assert (act.op_type, maker.op_type) == ("Clip", "Conv")
    half = len(weights[maker.input[1]]) // 2
    changed = {name: weights[name].copy() for name in (*maker.input[1:], reader.input[1])}
    for name in maker.input[1:]:
        changed[name][:half] /= factor
    changed[reader.input[1]][:half] *= factor
    return with_weights(graph, changed)


def test_quiet_channels_no_longer_drown(tmp_path: Path) -> None:
    graph, frames = spoil(network("mobilenetv2_035", tmp_path), 80), noise(6)

    def error(one: onnx.ModelProto) -> float:
        nodes = candidates(one)
        ranges = choose(collect(one, [node.input[0] for node in nodes], list(frames)), "min-max", CPU.symmetric)
        return float(np.abs(log_odds(quantise(one, CPU, ranges, ()), frames) - log_odds(graph, frames)).mean())

    assert error(equalise(graph, list(frames))) < 0.5 * error(graph)


def test_dead_channels_stay_as_they_are(tmp_path: Path) -> None:
    graph, frames = spoil(network("mobilenetv2_035", tmp_path), 2 / DEAD), noise(2)
    larger = weights_of(equalise(graph, list(frames)))
    assert all(np.isfinite(weights).all() for weights in larger.values())


def test_a_graph_whose_activations_are_used_elsewhere_is_left_alone(tmp_path: Path) -> None:
    graph = network("mobilenetv2_035", tmp_path)
    acts = [node.output[0] for node in graph.graph.node if node.op_type in ("Clip", "Relu", "Conv")]
    graph.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in acts)
    assert equalise(graph, list(noise(2))).SerializeToString() == graph.SerializeToString()
    assert isinstance(onnxruntime.InferenceSession(graph.SerializeToString()), onnxruntime.InferenceSession)

"""Ranges, layouts, the search and the fine-tuning for INT8, on small networks whose answers are known."""

import math
import time
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from deploy.engines.onnxruntime import OnnxRuntimeEngine
from pipeline.data.pictures import Pictures
from pipeline.data.sample import Sample
from pipeline.evaluation.calibration import NONE
from pipeline.evaluation.limits import Limits
from pipeline.evaluation.predict import derive
from pipeline.export.candidates import frame_of
from pipeline.export.gate import noise as apart
from pipeline.export.gate import refer
from pipeline.export.graph import write_onnx
from pipeline.export.int8.frontier import write_frontier
from pipeline.export.int8.layouts import CPU, TENSORRT, Layout, candidates, quantise
from pipeline.export.int8.noise import multiplications, sensitivities, share_in_int8, together
from pipeline.export.int8.ranges import METHODS, Histogram, choose, collect
from pipeline.export.int8.repair import Bench, Search
from pipeline.export.int8.tune import Tuned, tune
from tests.pipeline.networks import noise
from tests.pipeline.test_model import build


def histogram(values: np.typing.NDArray[np.float32]) -> Histogram:
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    return Histogram(np.histogram(values, 2048, (low, high))[0], low, high)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symmetric", [True, False])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100), shift=st.floats(-3, 3))
def test_ranges_lie_within_what_was_seen_and_hold_zero(method, symmetric, seed, scale, shift) -> None:  # type: ignore[no-untyped-def]
    values = (scale * (np.random.default_rng(seed).normal(shift, 1, 3000))).astype(np.float32)
    seen = histogram(values)
    low, high = choose({"t": seen}, method, symmetric)["t"]
    reach = max(-seen.low, seen.high)
    bounds = (-reach, reach) if symmetric else (seen.low, seen.high)
    assert bounds[0] * 1.001 <= low <= 0 <= high <= bounds[1] * 1.001
    assert high > low


def test_one_outlier_costs_all_but_min_max_little() -> None:
    values = np.abs(np.random.default_rng(0).normal(0, 1, 100_000)).astype(np.float32)
    values[0] = 100
    seen = {"t": histogram(values)}
    reach = {method: choose(seen, method, symmetric=False)["t"][1] for method in METHODS}
    assert reach["min-max"] == pytest.approx(100)
    assert all(reach[method] < 10 for method in METHODS if method.startswith(("percentile", "entropy"))), reach
    assert reach["mse"] <= 100


def test_a_tensor_that_is_always_zero_has_a_range() -> None:
    dead = Histogram(np.zeros(2048, np.int64), 0.0, 0.0)
    for method in METHODS:
        assert choose({"t": dead}, method, symmetric=True)["t"] == (0.0, 0.0)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    """Fixed random weights, 64 px."""
    folder = tmp_path_factory.mktemp("int8")
    model, recipe = build("mobilenetv3_small_050", height=64)
    write_onnx(model, NONE, recipe.preprocessing(), folder / "fp32.onnx")
    return onnx.load(folder / "fp32.onnx")


def test_histograms_count_every_value_of_every_picture(graph: onnx.ModelProto) -> None:
    tensor = candidates(graph)[0].input[0]
    seen = collect(graph, [tensor], list(noise(3)))[tensor]
    once = collect(graph, [tensor], list(noise(1)))[tensor]
    assert seen.counts.sum() == 3 * once.counts.sum()
    assert seen.low <= once.low
    assert seen.high >= once.high


def test_multiplications_are_counted_by_hand() -> None:
    """A 3 x 3 convolution of 2 to 4 channels with stride 2 on 8 x 8, and a depthwise one on its 4 x 4."""
    first, second = np.zeros((4, 2, 3, 3), np.float32), np.zeros((4, 1, 3, 3), np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["y"], name="first", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["y", "second"], ["z"], name="second", group=4, pads=[1, 1, 1, 1]),
    ]
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, 8, 8])
    end = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 4, 4, 4])
    weights = [numpy_helper.from_array(array, name) for array, name in ((first, "first"), (second, "second"))]
    made = helper.make_model(helper.make_graph(nodes, "two", [entry], [end], weights))
    work = multiplications(made)
    assert work == {"first": 4 * 4 * 4 * 2 * 9, "second": 4 * 4 * 4 * 9}
    assert share_in_int8(work, ["second"]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("layout", [TENSORRT, CPU], ids=lambda layout: layout.precision)
def test_only_what_is_asked_for_is_quantised(graph: onnx.ModelProto, layout: Layout) -> None:
    nodes = candidates(graph)
    ranges = choose(collect(graph, [node.input[0] for node in nodes], list(noise(2))), "min-max", layout.symmetric)
    in_float = {nodes[3].name, nodes[7].name}
    made = quantise(graph, layout, ranges, in_float)
    makers = {name: node.op_type for node in made.graph.node for name in node.output}
    fed = {node.name: makers.get(node.input[0]) for node in made.graph.node if node.op_type in ("Conv", "Gemm")}
    stem = next(name for name in fed)
    assert {name for name, maker in fed.items() if maker != "DequantizeLinear"} == in_float | {stem}


# --- the search --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench(graph: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Forty pictures, half of them with a bright square that moves the network's answer, and FP32's answers to them."""
    folder = tmp_path_factory.mktemp("parts")
    samples = []
    for number in range(40):
        picture = noise(1, seed=number)[0] // 4
        if number % 2:
            picture[8:40, 8:40] = 255
        cv2.imwrite(str(folder / f"{number}.png"), picture)
        told = {"label": "defective", "defect_type": "dent"} if number % 2 else {"label": "good"}
        samples.append(Sample(str(folder), f"{number}.png", group=f"g{number}", **told))  # type: ignore[arg-type]
    onnx.save(graph, folder / "fp32.onnx")
    engine, spec = OnnxRuntimeEngine(folder / "fp32.onnx"), build("mobilenetv3_small_050", height=64)[1].preprocessing()
    reference = refer(engine.infer, spec, samples, derive(samples, spec, engine.infer, Limits()))
    frames = [frame_of(sample, spec) for sample in samples]
    return Bench(OnnxRuntimeEngine, engine, frames, reference, Limits())


def search(graph: onnx.ModelProto, bench: Bench, seconds: float = 600) -> Search:
    histograms = collect(graph, [node.input[0] for node in candidates(graph)], bench.frames[:8])
    ranges = {method: choose(histograms, method, CPU.symmetric) for method in ("min-max", "mse")}
    return Search(graph, CPU, ranges, bench, time.monotonic() + seconds, lambda trial: None)


def test_the_noise_of_one_alone_ranks_a_spoiled_convolution_first(graph: onnx.ModelProto, bench: Bench) -> None:
    nodes = candidates(graph)
    histograms = collect(graph, [node.input[0] for node in nodes], bench.frames[:8])
    ranges = choose(histograms, "min-max", CPU.symmetric)
    spoiled = nodes[-1]
    low, high = ranges[spoiled.input[0]]
    ranges[spoiled.input[0]] = (1000 * low, 1000 * high)  # every value rounds to zero
    shown: list[tuple[int, int]] = []

    def go_on(done: int, total: int) -> bool:
        shown.append((done, total))
        return True

    ranking = sensitivities(graph, CPU, ranges, bench.frames[:6], go_on)
    assert next(iter(ranking)) == spoiled.name
    assert shown == [(number, len(nodes)) for number in range(len(nodes))]
    assert together(ranking, list(ranking)) == 0
    assert together(ranking, []) >= max(ranking.values())


def test_what_there_was_no_time_to_rank_stays_in_floating_point_first(graph: onnx.ModelProto, bench: Bench) -> None:
    nodes = candidates(graph)
    ranges = choose(collect(graph, [node.input[0] for node in nodes], bench.frames[:2]), "mse", CPU.symmetric)
    ranking = sensitivities(graph, CPU, ranges, bench.frames[:2], lambda done, total: done < 3)
    assert list(ranking.values())[: len(nodes) - 3] == [math.inf] * (len(nodes) - 3)


def test_the_search_finds_a_trial_that_holds_and_none_that_holds_has_more(graph: onnx.ModelProto, bench: Bench) -> None:
    found = search(graph, bench)
    best = found.run(found.rank("mse", lambda done, total: None))
    assert best is not None
    assert not best.refused
    assert best.noise <= best.allowed
    assert all(trial.refused for trial in found.trials if trial.share > best.share)
    with_nothing = OnnxRuntimeEngine  # the graph of the trial gives the answers that were judged
    scores, _ = Bench(with_nothing, bench.fp32, bench.frames, bench.validation, bench.limits).run(found.made(best))
    assert apart(scores, bench.validation.scores) == pytest.approx(best.noise, rel=1e-3)


def test_a_search_without_time_says_so_instead_of_shipping_a_guess(graph: onnx.ModelProto, bench: Bench) -> None:
    found = search(graph, bench, seconds=-1)
    best = found.run(found.rank("mse", lambda done, total: None))
    assert best is None or not best.refused
    assert len(found.trials) == 1  # everything in INT8: the one trial that is always made


def test_the_frontier_is_drawn_and_written_down(graph: onnx.ModelProto, bench: Bench, tmp_path: Path) -> None:
    found = search(graph, bench)
    trials = [found.attempt("everything", "min-max", ()), found.attempt("ranges", "mse", [candidates(graph)[0].name])]
    write_frontier(tmp_path, "int8-cpu", trials, None)
    assert cv2.imread(str(tmp_path / "frontier.int8-cpu.png")) is not None
    assert (tmp_path / "frontier.int8-cpu.json").read_text().count('"share"') == 2


# --- fine-tuning -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [TENSORRT, CPU], ids=lambda layout: layout.precision)
def test_fine_tuning_brings_int8_nearer_to_fp32(graph: onnx.ModelProto, bench: Bench, layout: Layout) -> None:
    nodes = candidates(graph)
    wide = choose(collect(graph, [node.input[0] for node in nodes], bench.frames[:8]), "mse", layout.symmetric)
    ranges = {name: (low / 4, high / 4) for name, (low, high) in wide.items()}  # so narrow that there is something to learn
    before, _ = bench.run(quantise(graph, layout, ranges, ()))
    spec = build("mobilenetv3_small_050", height=64)[1].preprocessing()
    pictures = Pictures(bench.validation.samples, spec)
    tuned = tune(graph, Tuned(graph, ranges), layout, (), pictures, epochs=6, rate=1e-3, seed=0)
    after, _ = bench.run(quantise(tuned.graph, layout, tuned.ranges, ()))
    fp32 = bench.validation.scores
    assert apart(after, fp32) < 0.8 * apart(before, fp32)
    assert [node.name for node in tuned.graph.graph.node] == [node.name for node in graph.graph.node]


def test_the_tuned_graph_rounds_as_the_pupil_did(graph: onnx.ModelProto, bench: Bench) -> None:
    """What was learned is what runs: rounding in torch and in the engine give the same answer."""
    from pipeline.export.int8 import tune as module

    nodes = candidates(graph)
    ranges = choose(collect(graph, [node.input[0] for node in nodes], bench.frames[:8]), "min-max", TENSORRT.symmetric)
    pupil = module._torch(graph)
    for node in nodes:
        place = module._name(pupil, node.name)
        pupil.set_submodule(place, module._Rounded(pupil.get_submodule(place), ranges[node.input[0]], symmetric=True))
    import torch

    with torch.no_grad():
        log_odds = pupil(torch.from_numpy(np.stack(bench.frames[:8])))[0]
    ours = torch.softmax(log_odds, dim=1)[:, 1].double().numpy()
    theirs, _ = Bench(OnnxRuntimeEngine, bench.fp32, bench.frames[:8], bench.validation, bench.limits).run(
        quantise(graph, TENSORRT, ranges, ())
    )
    np.testing.assert_allclose(ours, theirs, atol=0.02)

"""Ranges, layouts, the search and the fine-tuning for INT8, on small networks whose answers are known."""

import itertools
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from deploy.bundle_spec import GateEvidence
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
from pipeline.export.int8 import repair
from pipeline.export.int8 import tune as module
from pipeline.export.int8.frontier import write_frontier
from pipeline.export.int8.layouts import CPU, TENSORRT, Layout, candidates, quantise
from pipeline.export.int8.noise import multiplications, sensitivities, share_in_int8, together
from pipeline.export.int8.ranges import METHODS, Histogram, choose, collect
from pipeline.export.int8.repair import Bench, Search, Trial
from pipeline.export.int8.repair import best as best_of
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
    return Search(graph, CPU, ranges, {}, bench, time.monotonic() + seconds, lambda trial: None)


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

    ranking = sensitivities(graph, CPU, ranges, {}, bench.frames[:6], go_on)
    assert next(iter(ranking)) == spoiled.name
    assert shown == [(number, len(nodes)) for number in range(len(nodes))]
    assert together(ranking, list(ranking)) == 0
    assert together(ranking, []) >= max(ranking.values())


def test_what_there_was_no_time_to_rank_stays_in_floating_point_first(graph: onnx.ModelProto, bench: Bench) -> None:
    nodes = candidates(graph)
    ranges = choose(collect(graph, [node.input[0] for node in nodes], bench.frames[:2]), "mse", CPU.symmetric)
    ranking = sensitivities(graph, CPU, ranges, {}, bench.frames[:2], lambda done, total: done < 3)
    assert list(ranking.values())[: len(nodes) - 3] == [math.inf] * (len(nodes) - 3)


def test_a_trial_can_be_made_again_and_answers_as_it_was_judged(graph: onnx.ModelProto, bench: Bench) -> None:
    found = search(graph, bench)
    best = found.run(found.rank("mse", lambda done, total: None))
    assert best is not None
    scores, _ = bench.run(found.made(best))
    assert apart(scores, bench.validation.scores) == pytest.approx(best.noise, rel=1e-3)


class Stub(Search):
    """Twenty equal convolutions; `holds` says with how many in floating point, and with which method, a trial holds."""

    def __init__(self, holds: Callable[[str, int], bool], estimate: float = 1.0, seconds: float = 600) -> None:
        self.names = [f"c{number}" for number in range(20)]
        self.work, self.ranges, self.trials, self.allowed = dict.fromkeys(self.names, 1), {"one": {}, "two": {}}, [], 1.0
        self.deadline, self.holds = time.monotonic() + seconds, holds
        self.ranking = dict.fromkeys(self.names, estimate)
        self.refuses: Callable[[Sequence[str]], bool] = lambda in_float: False

    def attempt(self, step: str, method: str, in_float: Sequence[str]) -> Trial:
        refused = "" if self.holds(method, len(in_float)) and not self.refuses(in_float) else "no"
        amount = {"one": 0.4, "two": 0.2}[method]
        gate = GateEvidence(pictures=1, auroc=1, auroc_fp32=1, agreement=1, escapes=0, escapes_fp32=0, max_difference=0)
        trial = Trial(step, method, tuple(in_float), False, 1 - len(in_float) / 20, amount, 1.0, 1.0, gate, refused)
        self.trials.append(trial)
        return trial


@pytest.mark.parametrize("estimate", [0.001, 0.3, 1.0, 9.0, math.inf])
@pytest.mark.parametrize("enough", range(19))
def test_the_search_ends_with_as_few_in_floating_point_as_it_takes(enough: int, estimate: float) -> None:
    found = Stub(lambda method, count: count >= enough, estimate)
    best = found.run(found.ranking)
    assert best is not None
    assert len(best.in_float) == enough
    assert len([trial for trial in found.trials if trial.step != "taken back"]) <= 13


def test_what_the_others_no_longer_need_goes_back_into_int8() -> None:
    """Only c2 and c5 have to stay in floating point, and six are taken out with them, by their rank."""
    found = Stub(lambda method, count: True)
    found.refuses = lambda names: not {"c2", "c5"} <= set(names)
    best = found.run(found.ranking)
    assert best is not None
    assert set(best.in_float) == {"c2", "c5"}


@pytest.mark.parametrize("enough", [19, 20])
def test_too_little_int8_is_none(enough: int) -> None:
    assert Stub(lambda method, count: count >= enough).run(Stub(lambda *_: True).ranking) is None


def test_the_method_with_less_noise_goes_on() -> None:
    found = Stub(lambda method, count: method == "two" and count >= 7)
    best = found.run(found.ranking)
    assert best is not None
    assert (best.ranges, len(best.in_float)) == ("two", 7)


def test_a_method_that_holds_goes_on_before_one_with_less_noise() -> None:
    found = Stub(lambda method, count: method == "one" and count >= 3)
    best = found.run(found.ranking)
    assert best is not None
    assert (best.ranges, len(best.in_float)) == ("one", 3)


def test_of_equal_shares_the_one_with_less_noise_is_best() -> None:
    found = Stub(lambda method, count: True)
    trials = [found.attempt("ranges", method, found.names[:3]) for method in ("one", "two")]
    assert best_of(trials) is trials[1]


def test_a_search_without_time_says_so_instead_of_shipping_a_guess() -> None:
    found = Stub(lambda method, count: count > 0, seconds=-1)
    assert found.run(found.ranking) is None
    assert len(found.trials) == 1  # everything in INT8: the one trial that is always made


def test_ranking_leaves_half_of_the_time_to_the_trials(
    graph: onnx.ModelProto, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = search(graph, bench)
    monkeypatch.setattr(repair, "time", SimpleNamespace(monotonic=itertools.count().__next__))  # a second for each look
    found.deadline = 20
    ranking = found.rank("mse", lambda done, total: None)
    assert math.inf in ranking.values()
    assert not found.over()


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


def test_fine_tuning_may_have_ten_steps(graph: onnx.ModelProto, bench: Bench) -> None:
    """A tenth of them less one, which its warm-up takes, is none."""
    ranges = choose(collect(graph, [node.input[0] for node in candidates(graph)], bench.frames[:2]), "min-max", False)
    pictures = Pictures(bench.validation.samples[:4], build("mobilenetv3_small_050", height=64)[1].preprocessing())
    tune(graph, Tuned(graph, ranges), CPU, (), pictures, epochs=10, rate=1e-4, seed=0)


@pytest.mark.parametrize("layout", [TENSORRT, CPU], ids=lambda layout: layout.precision)
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
@pytest.mark.parametrize(("backbone", "head"), [("mobilenetv2_035", "localising"), ("tf_mobilenetv3_small_100", "pooled")])
def test_the_pupil_answers_as_the_graph_that_ships(backbone: str, head: str, layout: Layout, tmp_path: Path) -> None:
    """Residual sums, shared weights and uneven padding: the same in torch and in the graph, before and after fine-tuning."""
    model, recipe = build(backbone, head, height=64)
    write_onnx(model, NONE, recipe.preprocessing(), tmp_path / "fp32.onnx")
    fp32, frames = onnx.load(tmp_path / "fp32.onnx"), noise(6)
    nodes = candidates(fp32)
    ranges = choose(collect(fp32, [node.input[0] for node in nodes], list(frames)), "min-max", layout.symmetric)
    samples = []
    for number, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f"{number}.png"), frame)
        samples.append(Sample(str(tmp_path), f"{number}.png", "good"))
    for in_float in ((), tuple(node.name for node in nodes[::2])):
        start = Tuned(fp32, ranges)
        tuned = tune(fp32, start, layout, in_float, Pictures(samples, recipe.preprocessing()), epochs=3, rate=1e-3, seed=0)
        for one in (start, tuned):
            pupil = module._torch(one.graph)
            module.round_as_int8(pupil, one, layout, in_float)
            with torch.no_grad():
                log_odds, heatmap = pupil(torch.from_numpy(frames))
            onnx.save(quantise(one.graph, layout, one.ranges, in_float), tmp_path / "int8.onnx")
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # Q/DQ as it is written
            session = onnxruntime.InferenceSession(tmp_path / "int8.onnx", options, providers=["CPUExecutionProvider"])
            probability, heat = session.run(["probability", "heatmap"], {"frames": frames})
            assert np.median(np.abs(torch.softmax(log_odds, dim=1).numpy() - probability)) < 5e-3
            assert np.median(np.abs(heatmap.sigmoid().numpy() - heat)) < 5e-3  # one value that rounds otherwise moves some

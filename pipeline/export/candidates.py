"""The candidates of a bundle: which precisions a target takes, how each is made, and what each lab engine makes of it."""

import importlib.util
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import onnx

from deploy.bundle_spec import REFERENCE, Int8, Judged
from deploy.command import console, say
from deploy.engines import Engine
from deploy.engines.onnxruntime import OnnxRuntimeEngine
from deploy.errors import GateFailed
from deploy.preprocess import Picture, Preprocessing, letterbox, read_picture
from pipeline.data.pictures import Pictures
from pipeline.data.prepare import counting
from pipeline.data.sample import Sample
from pipeline.evaluation.limits import Limits
from pipeline.evaluation.metrics import Scores
from pipeline.export.check_qdq import check_qdq
from pipeline.export.gate import Reference, judge, thinned
from pipeline.export.half import write_fp16
from pipeline.export.int8.equalise import equalise
from pipeline.export.int8.frontier import tell, write_frontier
from pipeline.export.int8.layouts import CPU, TENSORRT, Layout, candidates, with_rounded
from pipeline.export.int8.noise import Sensitivity, together
from pipeline.export.int8.ranges import METHODS, Histogram, Ranges, choose, collect
from pipeline.export.int8.repair import Bench, Search, Trial, best
from pipeline.export.int8.rounding import round_weights
from pipeline.export.int8.tune import Tuned, tune
from pipeline.export.int8.weights import Weights

FILES = {"fp32": "model.onnx", "fp16": "model.fp16.onnx", "int8-qdq": "model.int8.qdq.onnx", "int8-cpu": "model.int8.cpu.onnx"}
Target = Literal["jetson", "gpu", "cpu"]
PRECISIONS_OF: dict[Target, tuple[str, ...]] = {
    "jetson": ("fp32", "fp16", "int8-qdq"),
    "gpu": ("fp32", "fp16", "int8-qdq"),
    "cpu": ("fp32", "int8-cpu"),
}
RANKED_WITH = "percentile 99.99"
TUNED_FROM = 1.5
"""Fine-tuning begins where the noise of each convolution alone adds up to so many times what is allowed."""
SEARCHED_ON = 600
"""Validation pictures at most: all are in memory, and every trial runs them."""
ENOUGH = 0.9
"""With this share of multiplications in INT8 there is nothing left to fine-tune for."""
ROUNDS, EPOCHS = 3, 2
"""Fine-tuning goes on for so many rounds of so many epochs, at half the rate each time, until it holds."""
RATE = 2e-5
"""Ten times as much tears apart what was almost right: noise 0.20 became 0.30 on real tiles, with this 0.10."""


@dataclass(frozen=True)
class Lab:
    """What candidates are made from and judged by."""

    fp32: Path
    spec: Preprocessing
    limits: Limits
    validation: Reference
    test: Reference
    torch: Scores
    """The trained model's scores of the test groups."""
    calibration: tuple[Sample, ...]
    training: Callable[[], Pictures]
    """Augmented, to fine-tune on."""
    tunes: bool
    seconds: float
    """For the search, of each INT8 layout."""
    seed: int

    @cached_property
    def calibrated(self) -> tuple[onnx.ModelProto, dict[str, Histogram], Weights]:
        """The equalised graph, what its activations are like on the calibration pictures, and its weights rounded for these.

        The same for every layout.
        """
        frames = [frame_of(sample, self.spec) for sample in self.calibration]
        with console.status("measuring the range of every activation"):
            graph = equalise(onnx.load(self.fp32), frames)
            histograms = collect(graph, [node.input[0] for node in candidates(graph)], frames)
        with counting("rounding the weights") as show:
            return graph, histograms, round_weights(graph, frames, show)


def engines() -> dict[str, Callable[[Path], Engine]]:
    """The engines of this lab, by runtime: onnxruntime always, OpenVINO where it is installed."""
    here: dict[str, Callable[[Path], Engine]] = {REFERENCE: OnnxRuntimeEngine}
    if importlib.util.find_spec("openvino"):
        from deploy.engines.openvino import OpenVinoEngine

        here["openvino"] = OpenVinoEngine
    return here


def judge_all(file: Path, lab: Lab) -> dict[str, Judged]:
    """What each engine of this lab makes of a file."""
    return {
        runtime: judge(opened(file), lab.spec, lab.validation, lab.test, lab.limits, lab.torch)
        for runtime, opened in engines().items()
    }


def make(precision: str, file: Path, lab: Lab) -> Int8 | None:
    """Make the candidate of a precision. Raises GateFailed where there is none worth judging."""
    if precision == "fp16":
        with console.status("making fp16"):
            write_fp16(lab.fp32, file)
        return None
    return _make_int8(TENSORRT if precision == "int8-qdq" else CPU, file, lab)


def _make_int8(layout: Layout, file: Path, lab: Lab) -> Int8:
    deadline = time.monotonic() + lab.seconds
    # TensorRT is not here, and onnxruntime stands for it. OpenVINO, where it is, makes INT8 fast on a CPU.
    runtime = "openvino" if layout is CPU and "openvino" in engines() else REFERENCE
    opened = engines()[runtime]
    say(f"{layout.precision}: searching for up to {lab.seconds / 60:.2g} min for as much INT8 as the gate allows ({runtime})")
    graph, histograms, weights = lab.calibrated
    validation = thinned(lab.validation, SEARCHED_ON)
    bench = Bench(opened, opened(lab.fp32), [frame_of(one, lab.spec) for one in validation.samples], validation, lab.limits)

    def told(trial: Trial) -> None:
        tell(layout.precision, trial)

    ranges: dict[str, Ranges] = {method: choose(histograms, method, layout.symmetric) for method in METHODS}
    searches = [Search(graph, layout, ranges, weights, bench, deadline, told)]
    with counting("ranking the convolutions") as show:
        ranking = searches[0].rank(RANKED_WITH, show)
    chosen = searches[0].run(ranking)
    if lab.tunes and (chosen is None or chosen.share < ENOUGH):
        try:
            searches += _tuned(searches[0], ranking, lab, told)
        except (RuntimeError, ValueError, ArithmeticError) as error:  # what was found without it stays
            say(f"fine-tuning failed ({type(error).__name__}: {error}); going on without it", style="yellow")
        chosen = best([one for one in (search.best() for search in searches) if one])
    trials = [trial for search in searches for trial in search.trials]
    write_frontier(file.parent, layout.precision, trials, chosen)
    if chosen is None:
        advice = "" if lab.tunes else "; --qat fine-tunes for INT8"
        least = min(trials, key=lambda trial: trial.noise)
        told_of = f"none of {len(trials)} quantisations holds on the validation groups; of the nearest {least.refused}"
        raise GateFailed(told_of + advice)
    onnx.save(next(search for search in searches if chosen in search.trials).made(chosen), file)
    if layout is TENSORRT and (faults := check_qdq(file)):
        raise GateFailed(f"TensorRT would not take it: {len(faults)} faults, the first: {faults[0]}")
    return Int8(share=chosen.share, ranges=chosen.ranges, in_float=list(chosen.in_float), tuned=chosen.tuned)


def _tuned(search: Search, ranking: Sensitivity, lab: Lab, told: Callable[[Trial], None]) -> list[Search]:
    """Fine-tune with so much in INT8 that it can be mended, in rounds until it holds; one search with one trial for each round.

    What is in floating point stays so from then on: weights that learned to live with rounding miss it where it is taken away.
    """
    ranked, bearable = list(ranking), TUNED_FROM * search.allowed
    few = next((count for count in range(len(ranked)) if together(ranking, ranked[:count]) <= bearable), len(ranked) // 2)
    alike = [trial for trial in search.trials if trial.step == "ranges"] or search.trials
    method = min(alike, key=lambda trial: trial.noise).ranges
    tuned, rounds = Tuned(with_rounded(search.graph, search.weights, ranked[:few]), search.ranges[method]), []
    for number in range(ROUNDS):
        tuned = tune(
            search.graph, tuned, search.layout, ranked[:few], lab.training(), EPOCHS, RATE / 2**number, lab.seed + number
        )
        ranges = {"learned": tuned.ranges}
        rounds.append(Search(tuned.graph, search.layout, ranges, {}, search.bench, math.inf, told, tuned=True))
        if not rounds[-1].attempt("fine-tuned", "learned", ranked[:few]).refused:
            break
    return rounds


def frame_of(sample: Sample, spec: Preprocessing) -> Picture:
    """H x W x 3, as the line would feed it."""
    return letterbox(read_picture(sample.file), spec)

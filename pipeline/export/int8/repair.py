"""The search for as much INT8 as the gate allows: better ranges, then the most sensitive convolutions left in floating point.

It is scored on the validation groups, through the engine that will run the result; the test groups are the gate's alone. A trial
holds if it would pass the gate there with noise to spare: the verdicts of some hundred pictures are too coarse to steer by.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from deploy.bundle_spec import GateEvidence
from deploy.engines import Engine
from deploy.preprocess import Picture
from pipeline.evaluation.limits import Limits
from pipeline.evaluation.metrics import Scores
from pipeline.export.gate import Reference, allowed_noise, compare, noise, rederive, refusal
from pipeline.export.int8.layouts import Layout, candidates, quantise
from pipeline.export.int8.noise import Sensitivity, multiplications, sensitivities, share_in_int8, together
from pipeline.export.int8.ranges import Ranges
from pipeline.export.int8.weights import Weights

RANKED_ON = 32
"""Frames for the ranking of convolutions; each is run once for each of them."""
NOISE_TO_SPARE = 0.6
"""Of the noise at which verdicts would just agree: what a trial that was chosen among others may have."""
LEAST_SHARE = 0.1
"""Less INT8 than that is not worth a second file."""
TIMED = 20
"""Frames that FP32's time is taken on before each trial."""


@dataclass(frozen=True)
class Trial:
    """One quantised graph, measured on the validation groups."""

    step: str
    """What the repair did: everything, ranges, in floating point, taken back, fine-tuned."""
    ranges: str
    in_float: tuple[str, ...]
    """Convolutions left in floating point, the most sensitive first."""
    tuned: bool
    share: float
    """Of all multiplications, in INT8."""
    noise: float
    """Standard deviation from FP32, in log-odds."""
    allowed: float
    """The noise that a trial may have."""
    speed: float
    """Times as fast as FP32 on the same engine, measured in turn."""
    evidence: GateEvidence
    refused: str
    """Why it does not hold; empty when it does."""


@dataclass(frozen=True)
class Bench:
    """What every trial is measured with."""

    open_engine: Callable[[Path], Engine]
    fp32: Engine
    frames: Sequence[Picture]
    """One letterboxed picture H x W x 3 for each sample of `validation`."""
    validation: Reference
    limits: Limits

    def run(self, graph: onnx.ModelProto) -> tuple[Scores, float]:
        """N scores, and how many times as fast as FP32 they came."""
        with tempfile.TemporaryDirectory(prefix="int8-") as folder:
            file = Path(folder) / "trial.onnx"
            onnx.save(graph, file)
            scores, ours = _timed(self.open_engine(file), self.frames)
        _, theirs = _timed(self.fp32, self.frames[:TIMED])
        return scores, theirs / ours


def _timed(engine: Engine, frames: Sequence[Picture]) -> tuple[Scores, float]:
    scores, seconds = [], []
    for frame in frames:
        start = time.perf_counter()
        scores.append(float(engine.infer(frame[None]).defect[0]))
        seconds.append(time.perf_counter() - start)
    return np.array(scores), float(np.median(seconds))


def best(trials: Sequence[Trial]) -> Trial | None:
    """The one with most INT8, and of those the one with least noise; None of none."""
    return max(trials, key=lambda trial: (trial.share, -trial.noise), default=None)


class Search:
    """Trials of one layout on one graph, with any of `ranges` (by the name of their method), until the deadline.

    `weights` are those of quantised convolutions where they differ from the graph's.
    """

    def __init__(
        self,
        graph: onnx.ModelProto,
        layout: Layout,
        ranges: dict[str, Ranges],
        weights: Weights,
        bench: Bench,
        deadline: float,
        tell: Callable[[Trial], None],
        tuned: bool = False,
    ) -> None:
        self.graph, self.layout, self.ranges, self.weights, self.bench = graph, layout, ranges, weights, bench
        self.deadline, self.tell, self.tuned = deadline, tell, tuned
        self.trials: list[Trial] = []
        self.names = [node.name for node in candidates(graph)]
        self.work = multiplications(graph)
        self.allowed = NOISE_TO_SPARE * allowed_noise(bench.validation)

    def best(self) -> Trial | None:
        """The trial that holds with most INT8; None where none does."""
        return best([trial for trial in self.trials if not trial.refused])

    def made(self, trial: Trial) -> onnx.ModelProto:
        """The graph of a trial."""
        return quantise(self.graph, self.layout, self.ranges[trial.ranges], trial.in_float, self.weights)

    def over(self) -> bool:
        """Is the time up?"""
        return time.monotonic() > self.deadline

    def rank(self, method: str, show: Callable[[int, int], None]) -> Sensitivity:
        """How sensitive each convolution is, the most sensitive first, on RANKED_ON frames over the whole range of scores."""
        order = np.argsort(self.bench.validation.scores)
        chosen = order[np.linspace(0, len(order) - 1, min(RANKED_ON, len(order))).astype(int)]

        half = (time.monotonic() + self.deadline) / 2  # the trials need time too

        def go_on(done: int, total: int) -> bool:
            show(done, total)
            return time.monotonic() < half

        frames = [self.bench.frames[index] for index in chosen]
        return sensitivities(self.graph, self.layout, self.ranges[method], self.weights, frames, go_on)

    def run(self, sensitivity: Sensitivity) -> Trial | None:
        """Search; returns the best trial, or None where none holds."""
        ranked = list(sensitivity)
        if not self.attempt("everything", next(iter(self.ranges)), ()).refused:
            return self.best()
        counts = range(1, len(ranked) + 1)
        most = max((count for count in counts if share_in_int8(self.work, ranked[count:]) >= LEAST_SHARE), default=0)
        count = next((count for count in range(most) if together(sensitivity, ranked[:count]) <= self.allowed), most)
        tried = [self.attempt("ranges", method, ranked[:count]) for method in self.ranges if not self.over()]
        if not tried:
            return None
        method = min(tried, key=lambda trial: (bool(trial.refused), trial.noise)).ranges
        low, high = -1, most + 1  # so many in floating point are too few, are enough
        while high - low > 1 and not self.over():
            holds = not self.attempt("in floating point", method, ranked[:count]).refused
            low, high = (low, count) if holds else (count, high)
            count = (low + high) // 2 if high <= most else min(most, max(low + 1, 2 * low))
        if (found := self.best()) is not None:
            self._take_back(found)
        return self.best()

    def _take_back(self, found: Trial) -> None:
        """Put into INT8 again what does without floating point by now, the convolutions with most multiplications first."""
        for name in sorted(found.in_float, key=self.work.__getitem__, reverse=True):
            if self.over():
                break
            trial = self.attempt("taken back", found.ranges, [other for other in found.in_float if other != name])
            found = found if trial.refused else trial

    def attempt(self, step: str, method: str, in_float: Sequence[str]) -> Trial:
        """Quantise all but these nodes, measure, and remember."""
        for before in self.trials:
            if (before.ranges, before.in_float) == (method, tuple(in_float)):
                return before
        scores, speed = self.bench.run(quantise(self.graph, self.layout, self.ranges[method], in_float, self.weights))
        validation = self.bench.validation
        evidence = compare(validation, scores, rederive(validation, scores, self.bench.limits).thresholds)
        amount = noise(scores, validation.scores)
        share = share_in_int8(self.work, [name for name in self.names if name not in in_float])
        refused = refusal(evidence) or ""
        if not refused and amount > self.allowed:
            refused = f"its noise of {amount:.2f} in log-odds is above {self.allowed:.2f}"
        trial = Trial(step, method, tuple(in_float), self.tuned, share, amount, self.allowed, speed, evidence, refused)
        self.trials.append(trial)
        self.tell(trial)
        return trial

"""How large each activation becomes on the calibration pictures, and which part of that range INT8 should cover."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from deploy.preprocess import Picture

Method = Literal["min-max", "percentile 99.99", "percentile 99.9", "entropy", "mse"]
METHODS: tuple[Method, ...] = ("min-max", "percentile 99.99", "percentile 99.9", "entropy", "mse")
BINS = 2048
LEVELS = 255
"""Steps of an INT8 activation."""
ENTROPY_LEVELS = 128

Range = tuple[float, float]
Ranges = dict[str, Range]
"""Lowest and highest value by tensor; zero is always between them."""


@dataclass(frozen=True)
class Histogram:
    """How often a tensor took which values: BINS counts between `low` and `high`."""

    counts: npt.NDArray[np.int64]
    low: float
    high: float


def collect(graph: onnx.ModelProto, tensors: Iterable[str], pictures: Iterable[Picture]) -> dict[str, Histogram]:
    """Histograms of tensors over pictures (H x W x 3 each), which are gone through twice: for the range, then for the counts.

    onnxruntime's own calibrators keep every activation of every picture in memory, some 8 GB for an EfficientNet-B0 at 320 px.
    """
    names = sorted(set(tensors))
    frames = list(pictures)
    session = showing(graph, names)
    low, high = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    for frame in frames:
        for name, values in zip(names, session.run(names, {"frames": frame[None]}), strict=True):
            low[name], high[name] = min(low[name], float(values.min())), max(high[name], float(values.max()))
    counts = {name: np.zeros(BINS, np.int64) for name in names}
    for frame in frames:
        for name, values in zip(names, session.run(names, {"frames": frame[None]}), strict=True):
            if high[name] > low[name]:
                counts[name] += np.histogram(values, BINS, (low[name], high[name]))[0]
    return {name: Histogram(counts[name], low[name], high[name]) for name in names}


def choose(histograms: dict[str, Histogram], method: Method, symmetric: bool) -> Ranges:
    """The range of each tensor by one method; `symmetric` ranges reach as far below zero as above."""
    return {name: _range(_mirrored(histogram) if symmetric else histogram, method) for name, histogram in histograms.items()}


def showing(graph: onnx.ModelProto, names: list[str]) -> onnxruntime.InferenceSession:
    """A session of the graph that also gives these tensors."""
    shown = onnx.ModelProto()
    shown.CopyFrom(graph)
    shown.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _mirrored(histogram: Histogram) -> Histogram:
    """The same counts over a range with zero in its middle."""
    reach = max(-histogram.low, histogram.high)
    if not reach:
        return histogram
    counts, _ = np.histogram(_centres(histogram), BINS, (-reach, reach), weights=histogram.counts)
    return Histogram(np.asarray(counts, np.int64), -reach, reach)


def _centres(histogram: Histogram) -> npt.NDArray[np.float64]:
    edges = np.linspace(histogram.low, histogram.high, BINS + 1)
    return np.asarray((edges[:-1] + edges[1:]) / 2)


def _range(histogram: Histogram, method: Method) -> Range:
    if histogram.high <= histogram.low or method == "min-max":
        return histogram.low, histogram.high
    if method == "mse":
        return _least_error(histogram)
    if method == "entropy":
        return _least_divergence(histogram)
    beyond = (1 - float(method.split()[1]) / 100) / (2 if histogram.low < 0 else 1)
    share = np.cumsum(histogram.counts) / histogram.counts.sum()
    edges = np.linspace(histogram.low, histogram.high, BINS + 1)
    low = edges[int(np.searchsorted(share, beyond))] if histogram.low < 0 else 0.0
    return min(0.0, float(low)), max(0.0, float(edges[int(np.searchsorted(share, 1 - beyond)) + 1]))


def _least_error(histogram: Histogram) -> Range:
    """The part of the range with the least mean squared error of rounding and clipping together."""
    centres, counts = _centres(histogram), histogram.counts

    def error(part: float) -> float:
        low, high = histogram.low * part, histogram.high * part
        step = (high - low) / LEVELS
        nearest = np.clip(np.round(centres / step), np.round(low / step), np.round(high / step)) * step
        return float((counts * (nearest - centres) ** 2).sum())

    best = min(np.geomspace(0.05, 1, 60), key=error)
    return histogram.low * best, histogram.high * best


def _least_divergence(histogram: Histogram) -> Range:
    """Least Kullback-Leibler divergence of the quantised distribution: TensorRT's entropy calibration (Migacz, GTC 2017)."""
    reach = max(-histogram.low, histogram.high)
    counts = np.histogram(np.abs(_centres(histogram)), BINS, (0, reach), weights=histogram.counts)[0]

    def divergence(kept: int) -> float:
        level = np.arange(kept) * ENTROPY_LEVELS // kept
        filled = counts[:kept] > 0
        spread = np.bincount(level, counts[:kept]) / np.maximum(np.bincount(level, filled), 1)
        rounded = np.where(filled, spread[level], 0) + 1e-9
        true = counts[:kept].astype(float)
        true[-1] += counts[kept:].sum()
        true, rounded = true / true.sum(), rounded / rounded.sum()
        return float((true[true > 0] * np.log(true[true > 0] / rounded[true > 0])).sum())

    best = min(range(ENTROPY_LEVELS, BINS + 1, 8), key=divergence) / BINS * reach
    return max(histogram.low, -best), min(histogram.high, best)

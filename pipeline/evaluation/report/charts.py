"""Charts as inline SVG: they stay sharp in print and need no script."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator, PercentFormatter

from deploy.verdict import Thresholds
from pipeline.evaluation.calibration import Reliability, to_log_odds, to_probability
from pipeline.evaluation.metrics import PartScore, rate
from pipeline.evaluation.report.content import CurvePoint

GOOD, DEFECTIVE, INK, GREY = "#0f766e", "#c2410c", "#1e293b", "#94a3b8"
"""Told apart by the colour-blind and in grey print, where lines also differ in their dashes."""
TICKS = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999)
FINE = (1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99, 0.997, 0.999)
BINS = 40


def threshold_chart(curve: Sequence[CurvePoint], parts: Sequence[PartScore], thresholds: Thresholds | None) -> str:
    """What each threshold would do, above the scores of the parts, both over log-odds; without thresholds none is marked."""
    cuts = to_log_odds(np.array([point.threshold for point in curve]))
    chosen = [thresholds.accept, thresholds.reject] if thresholds else []
    seen = [*cuts, *to_log_odds(np.array([mark for mark in chosen if 0 < mark < 1]))]  # 0 and 1 are at no finite place
    low, high = float(min(seen)), float(max(seen))
    room = max(0.5, 0.04 * (high - low))
    marks = np.clip(to_log_odds(np.array(chosen)), low - room, high + room)
    canvas = Canvas(figsize=(8.2, 5.0), layout="constrained")
    above, below = canvas.subplots(2, 1, sharex=True, height_ratios=(1.7, 1))
    ends = [low - room, *cuts, high + room]
    if total := curve[0].escape.total:  # a part passes below the threshold: its score counts from just above it
        rates = [rate(0, total), *(point.escape for point in curve), rate(total, total)]
        above.fill_between(
            ends,
            [one.low or 0 for one in rates],
            [one.high or 0 for one in rates],
            step="pre",
            color=DEFECTIVE,
            alpha=0.18,
            linewidth=0,
        )
        told = "escape: defective parts below the threshold (band: 95 %)"
        above.step(ends, [one.value or 0 for one in rates], where="pre", color=DEFECTIVE, linewidth=1.8, label=told)
    if total := curve[0].overkill.total:
        rates = [rate(total, total), *(point.overkill for point in curve), rate(0, total)]
        told = "overkill: good parts above it"
        above.step(ends, [one.value or 0 for one in rates], where="post", color=GOOD, linewidth=1.8, linestyle="--", label=told)
    odds = [to_log_odds(np.array([part.score for part in parts if part.defective == label])) for label in (False, True)]
    below.hist(
        odds,
        bins=np.linspace(low - room, high + room, BINS + 1).tolist(),
        color=[GOOD, DEFECTIVE],
        label=[f"{len(scores)} {name} parts" for name, scores in zip(("good", "defective"), odds, strict=True)],
        stacked=True,
        edgecolor="white",
        linewidth=0.4,
    )
    if thresholds:
        _mark((above, below), (float(marks[0]), float(marks[1])))
    above.set(ylabel="rate of parts", ylim=(-0.02, 1.02), xlim=(low - room, high + room))
    above.yaxis.set_major_formatter(PercentFormatter(1))
    below.set(xlabel="defect probability (spaced by log-odds)", ylabel="parts")
    canvas.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    ticks = _ticks(low - room, high + room)
    below.set_xticks([float(to_log_odds(np.array(tick))) for tick in ticks], [f"{tick:g}" for tick in ticks])
    return _svg(canvas)


def reliability_chart(before: Reliability, after: Reliability) -> str:
    """Share of defective parts over their mean score, with 95 % intervals, before and after the calibration."""
    canvas = Canvas(figsize=(8.2, 3.6), layout="constrained")
    for axes, title, one in zip(canvas.subplots(1, 2, sharey=True), ("before", "after"), (before, after), strict=True):
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="a probability that means what it says")
        score = [piece.score for piece in one.bins]
        share = np.array([piece.defective.value or 0.0 for piece in one.bins])
        low, high = (np.array([getattr(piece.defective, end) or 0.0 for piece in one.bins]) for end in ("low", "high"))
        axes.errorbar(
            score,
            share,
            yerr=[np.maximum(share - low, 0), np.maximum(high - share, 0)],
            fmt="o",
            color=INK,
            ecolor=GREY,
            markersize=5,
            capsize=3,
            label="parts of like score, 95 % interval",
        )
        axes.set(title=f"{title}: ECE {one.expected_error:.3f}, Brier {one.brier:.3f}", xlabel="mean defect probability")
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    canvas.axes[0].set_ylabel("share that is defective")
    canvas.legend(*canvas.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return _svg(canvas)


def _ticks(low: float, high: float) -> list[float]:
    """Round probabilities between two log-odds, not too near each other."""
    if high - low < 4:
        round_ones = MaxNLocator(7).tick_values(*to_probability(np.array([low, high])))
        return [float(tick) for tick in round_ones if 0 < tick < 1 and low <= to_log_odds(np.array(tick)) <= high]
    ladder = FINE if high - low < 10 else TICKS if high - low < 20 else TICKS[::2]
    return [tick for tick in ladder if low <= to_log_odds(np.array(tick)) <= high]


def _mark(panels: Sequence[Any], marks: tuple[float, float]) -> None:
    """Dashed lines at accept and reject, and what lies between them in grey."""
    for axes in panels:
        axes.axvspan(*marks, color=GREY, alpha=0.2, linewidth=0, zorder=0)
        for mark in marks:
            axes.axvline(mark, color=INK, linestyle=":", linewidth=1.2)
    apart = marks[1] > marks[0]
    names = (("accept", "right", marks[0]), ("reject", "left", marks[1])) if apart else (("accept = reject", "center", marks[0]),)
    for name, side, mark in names:
        panels[0].annotate(
            name,
            (mark, 1),
            xycoords=("data", "axes fraction"),
            xytext=({"right": -4, "left": 4, "center": 0}[side], 3),
            textcoords="offset points",
            ha=side,
            color=INK,
            fontsize=9,
        )


def _svg(canvas: Canvas) -> str:
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "report", "font.family": "sans-serif"}):
        canvas.savefig(stream, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = stream.getvalue()
    return text[text.index("<svg") :]

"""Learning curves: how good each arm is with so many defective groups to learn from."""

import io
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import NullLocator

from pipeline.comparison.result import ArmResult, Comparison, Spread

INKS = ("#d1495b", "#334155", "#2a9d8f", "#e9a23b", "#6d5acf", "#8a5a44", "#4c9be8", "#7a9e3f")
MARKS = "osD^vPX*"
ASIDE = 0.012
"""Arms are drawn this share of the axis beside each other, so that their intervals can be told apart."""


def draw_curves(comparison: Comparison) -> bytes:
    """A PNG with AUROC and average precision over defective groups learned from, and their 95 % intervals over groups."""
    canvas = Canvas(figsize=(9.6, 4.6), layout="constrained")
    left, right = canvas.subplots(1, 2)
    _draw(left, comparison, "AUROC", lambda one: one.auroc)
    _draw(right, comparison, "average precision", lambda one: one.average_precision)
    handles, labels = left.get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False)
    repeats = f"{comparison.folds} folds, {comparison.seeds} seed{'s' * (comparison.seeds > 1)}"
    canvas.suptitle(f"{comparison.dataset}: {repeats}, with 95 % intervals over the groups that were tested on")
    stream = io.BytesIO()
    canvas.savefig(stream, format="png", dpi=150)
    return stream.getvalue()


def _draw(axes: Axes, comparison: Comparison, title: str, figure: Callable[[ArmResult], Spread]) -> None:
    counts = np.array([point.groups for point in comparison.points])
    span = np.log(counts[-1] / counts[0])
    arms = comparison.whole.arms
    for number, arm in enumerate(arms):
        spreads = [figure(point.arms[number]) for point in comparison.points]
        values = np.array([one.value for one in spreads])
        around = [(one.value - (one.low or one.value), (one.high or one.value) - one.value) for one in spreads]
        places = counts * np.exp(span * ASIDE * (number - (len(arms) - 1) / 2))
        axes.errorbar(
            places,
            values,
            np.clip(np.array(around).T, 0, None),
            color=INKS[number % len(INKS)],
            marker=MARKS[number % len(MARKS)],
            markersize=5,
            linewidth=1.6,
            elinewidth=0.9,
            capsize=2.5,
            label=arm.arm.name,
        )
    axes.set_xscale("log")
    axes.set_xticks(counts, [f"{count:.0f}" for count in counts[:-1]] + [f"all ({counts[-1]:.0f})"])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(title=title, xlabel="defective groups to learn from")
    axes.grid(axis="y", color="#e2e8f0", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)

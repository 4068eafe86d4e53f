"""Charts as inline SVG: they stay sharp in print and need no script."""

import io

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure as Canvas
from sklearn.metrics import roc_curve

from deploy.verdict import Thresholds
from pipeline.evaluation.metrics import Scores

GOOD, DEFECTIVE, INK = "#2a9d8f", "#d1495b", "#334155"


def roc_chart(defective: npt.NDArray[np.bool_], scores: Scores, thresholds: Thresholds) -> str:
    """The ROC over pictures, with the two thresholds on it."""
    false_alarms, hits, _ = roc_curve(defective, scores)
    canvas = Canvas(figsize=(4.4, 3.4), layout="constrained")
    axes = canvas.subplots()
    axes.plot(false_alarms, hits, color=INK, linewidth=1.8)
    axes.plot([0, 1], [0, 1], color="#cbd5e1", linewidth=0.8, linestyle="--")
    for name, threshold, marker in (("accept", thresholds.accept, "o"), ("reject", thresholds.reject, "s")):
        axes.plot(
            (scores[~defective] > threshold).mean(),
            (scores[defective] > threshold).mean(),
            marker,
            color=DEFECTIVE,
            label=f"{name} {threshold:.3g}",
            linestyle="none",
        )
    axes.set(xlabel="good pictures above the threshold", ylabel="defective pictures above it", title="ROC")
    axes.legend(loc="lower right", frameon=False)
    return _svg(canvas)


def score_chart(defective: npt.NDArray[np.bool_], scores: Scores, thresholds: Thresholds) -> str:
    """Histograms of the defect probability of good and defective pictures, in log-odds, where both ends are visible."""
    canvas = Canvas(figsize=(5.6, 3.4), layout="constrained")
    axes = canvas.subplots()
    odds = np.log10(np.clip(scores, 1e-5, 1 - 1e-5) / (1 - np.clip(scores, 1e-5, 1 - 1e-5)))
    bins = np.linspace(-5, 5, 41).tolist()
    axes.hist([odds[~defective], odds[defective]], bins=bins, color=[GOOD, DEFECTIVE], label=["good", "defective"], stacked=True)
    for threshold in (thresholds.accept, thresholds.reject):
        clipped = min(max(threshold, 1e-5), 1 - 1e-5)
        axes.axvline(float(np.log10(clipped / (1 - clipped))), color=INK, linestyle="--", linewidth=1)
    ticks = [1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999]
    axes.set_xticks([float(np.log10(tick / (1 - tick))) for tick in ticks], [f"{tick:g}" for tick in ticks], fontsize=8)
    axes.set(xlabel="defect probability (dashed: accept and reject)", ylabel="pictures", title="Scores")
    axes.legend(frameon=False)
    return _svg(canvas)


def _svg(canvas: Canvas) -> str:
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "report", "font.family": "sans-serif"}):
        canvas.savefig(stream, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = stream.getvalue()
    return text[text.index("<svg") :]

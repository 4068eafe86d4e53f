"""What the search tried: a line for each trial, and a picture of accuracy against the share of INT8."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import PercentFormatter

from deploy.command import say
from deploy.files import write_whole
from pipeline.evaluation.report.charts import DEFECTIVE, GOOD, GREY, INK
from pipeline.export.gate import needed_agreement
from pipeline.export.int8.repair import Trial


def tell(precision: str, trial: Trial) -> None:
    """One trial in one line."""
    left = f", {len(trial.in_float)} convolutions in floating point" if trial.in_float else ""
    say(
        f"{precision}: {'fine-tuned, ' if trial.tuned else ''}{trial.ranges}{left}: {trial.share:.0%} of multiplications "
        f"in INT8, {trial.speed:.2f} times as fast, verdicts {trial.evidence.agreement:.1%}, noise {trial.noise:.3f} of "
        f"{trial.allowed:.3f}: {'no' if trial.refused else 'holds'}"
    )


def write_frontier(folder: Path, precision: str, trials: Sequence[Trial], chosen: Trial | None) -> None:
    """`frontier.<precision>.json` and `.png`: every trial, on the validation groups."""
    told = [asdict(trial) | {"evidence": trial.evidence.model_dump()} for trial in trials]
    content = {"chosen": trials.index(chosen) if chosen else None, "trials": told}
    write_whole(folder / f"frontier.{precision}.json", json.dumps(content, indent=2))
    gate = needed_agreement(trials[0].evidence)
    canvas = Canvas(figsize=(9.5, 3.9), layout="constrained")
    left, right = canvas.subplots(1, 2)
    _draw(left, [trial.evidence.agreement for trial in trials], trials, chosen, gate, f"the gate: {gate:.1%}")
    left.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    left.set_title("verdicts as FP32's, validation groups", fontsize=10, loc="left")
    _draw(right, [trial.noise for trial in trials], trials, chosen, trials[0].allowed, "allowed")
    right.set_yscale("log")
    right.set_title("noise against FP32, log-odds", fontsize=10, loc="left")
    canvas.suptitle(f"{precision}: larger is faster; green: chosen, red: refused, triangles: fine-tuned", fontsize=10, color=INK)
    canvas.savefig(folder / f"frontier.{precision}.png", dpi=110)


def _draw(axis: Any, values: Sequence[float], trials: Sequence[Trial], chosen: Trial | None, limit: float, name: str) -> None:
    axis.axhline(limit, color=INK, linewidth=1, linestyle="--")
    axis.annotate(name, (0.99, limit), xycoords=("axes fraction", "data"), va="bottom", ha="right", fontsize=8)
    for value, trial in zip(values, trials, strict=True):
        colour = DEFECTIVE if trial.refused else GOOD if trial is chosen else GREY
        marker = "^" if trial.tuned else "o"
        axis.scatter(trial.share, value, s=25 + 45 * trial.speed, color=colour, marker=marker, alpha=0.8, linewidth=0)
        if trial is chosen or trial is trials[0]:
            what = "chosen" if trial is chosen else "everything"
            place = {"xytext": (0, 11), "textcoords": "offset points", "ha": "center", "fontsize": 8}
            axis.annotate(f"{what}, {trial.speed:.1f} x", (trial.share, value), **place)
    axis.set_xlabel("share of multiplications in INT8")
    axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.margins(0.16)
    axis.grid(color=GREY, alpha=0.25)

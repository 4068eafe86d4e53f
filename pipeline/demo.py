"""`make demo`: the whole way on the built-in line, with the commands a user would give, and the verdicts against the truth."""

import csv
import json
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from deploy.command import console, say
from deploy.errors import InspectionError
from deploy.files import write_whole
from deploy.verdict import Verdict
from pipeline.data.demo.line import write_demo_line
from pipeline.data.prepare import counting, prepare
from pipeline.export.export import export_run
from pipeline.training.recipe import STARTER_ORIGIN
from pipeline.training.train import train
from pipeline.training.weights import resolve_start

SIDE = 224
WEAK_SOURCE_EPOCHS = 24
"""With the starter weights there is more to learn, and on clean pictures like these it is learned soon."""
CROP = 256
PARTS = 240
INT8_MINUTES = 2.0


@dataclass(frozen=True)
class Truth:
    """One part of the conveyor video."""

    part: str
    label: str
    defect_type: str
    first_frame: int
    last_frame: int


@dataclass(frozen=True)
class Seen:
    """One part as the inspector counted it."""

    verdict: str
    probability: float | None
    first_frame: int
    last_frame: int


@dataclass(frozen=True)
class Summary:
    """`demo/summary.json`."""

    auroc: float
    parts_true: int
    parts_counted: int
    parts_missed: int
    """True parts that match no counted one."""
    escapes: int
    """Defective parts passed as good, or not seen at all."""
    overkill: int
    review: int
    seconds: float
    source_weights: str


def run_demo(out: Path) -> Summary:
    """Render, train, evaluate, export, inspect; returns and writes the summary."""
    started = time.monotonic()
    line = out / "line"
    conveyor = line / "conveyor"
    _heading("1. The built-in demo line: pictures of machined parts, and a conveyor video")
    if not line.is_dir():
        with counting("rendering") as progress:
            write_demo_line(line, PARTS, progress=progress)
    say(f"pictures: {line}  video: {conveyor / 'belt.avi'}")

    _heading("2. Training and evaluation on groups never learned from")
    recipe, source = resolve_start(height=SIDE, width=SIDE)
    if source.about.origin == STARTER_ORIGIN:
        recipe = recipe.model_copy(update={"epochs": WEAK_SOURCE_EPOCHS})
    say(f"source weights: {source.about.origin}")
    run = train(prepare(line, recipe.seed), recipe, source, out / "runs")
    metrics = json.loads((run / "metrics.json").read_text())

    _heading("3. Export to the edge")
    bundle = export_run(run, out / "bundles", minutes=INT8_MINUTES)

    _heading("4. The inspector on the conveyor video")
    inspection = out / "inspection"
    shutil.rmtree(inspection, ignore_errors=True)  # of an earlier demo
    _inspect(bundle, conveyor / "belt.avi", inspection)
    truth, seen = read_truth(conveyor / "truth.csv"), read_parts(inspection / "parts.csv")
    matches = match(truth, seen)
    _print_verdicts(matches)
    verdicts = [(part.label, one.verdict if one else Verdict.GOOD) for part, one in matches]  # what is not seen passes
    summary = Summary(
        auroc=metrics["auroc"]["value"],
        parts_true=len(truth),
        parts_counted=len(seen),
        parts_missed=sum(one is None for _, one in matches),
        escapes=sum(label == "defective" and verdict == Verdict.GOOD for label, verdict in verdicts),
        overkill=sum(label == "good" and verdict == Verdict.DEFECTIVE for label, verdict in verdicts),
        review=sum(verdict == Verdict.REVIEW for _, verdict in verdicts),
        seconds=round(time.monotonic() - started, 1),
        source_weights=source.about.origin,
    )
    write_whole(out / "summary.json", json.dumps(asdict(summary), indent=2))
    _print_summary(summary, run, inspection, out)
    return summary


def _inspect(bundle: Path, video: Path, out: Path) -> None:
    command = ["run", str(bundle), str(video), "--parts", "belt", "--crop", str(CROP), "--out", str(out), "--annotate", str(out)]
    say(f"inspector {' '.join(command)}")
    finished = subprocess.run([sys.executable, "-c", "from deploy.cli import main; main()", *command], check=False)
    if finished.returncode:
        raise InspectionError(f"the inspector ended with exit code {finished.returncode}; its message is above")


def read_truth(file: Path) -> list[Truth]:
    """The parts of the conveyor video, in order of arrival."""
    with file.open(newline="") as stream:
        return [
            Truth(row["part"], row["label"], row["defect_type"], int(row["first_frame"]), int(row["last_frame"]))
            for row in csv.DictReader(stream)
        ]


def read_parts(file: Path) -> list[Seen]:
    """The parts the inspector counted."""
    with file.open(newline="") as stream:
        return [
            Seen(
                row["verdict"],
                float(row["probability"]) if row["probability"] else None,
                int(row["first_frame"]),
                int(row["last_frame"]),
            )
            for row in csv.DictReader(stream)
        ]


def match(truth: list[Truth], seen: list[Seen]) -> list[tuple[Truth, Seen | None]]:
    """Give each true part the counted part that was in the picture at the same time the longest, each at most once."""
    free = list(seen)
    matches: list[tuple[Truth, Seen | None]] = []
    for part in truth:
        best = max(free, key=lambda one: _overlap(part, one), default=None)
        if best is None or _overlap(part, best) <= 0:
            matches.append((part, None))
        else:
            free.remove(best)
            matches.append((part, best))
    return matches


def _overlap(part: Truth, one: Seen) -> int:
    return min(part.last_frame, one.last_frame) - max(part.first_frame, one.first_frame) + 1


def _print_verdicts(matches: list[tuple[Truth, Seen | None]]) -> None:
    table = Table(title="Every part of the conveyor", title_justify="left")
    for column in ("part", "truth", "verdict", "defect probability", ""):
        table.add_column(column)
    for part, one in matches:
        truth = part.defect_type or part.label
        if one is None:
            table.add_row(part.part, truth, "[red]not counted[/]", "", "")
            continue
        expected = Verdict.DEFECTIVE if part.label == "defective" else Verdict.GOOD
        remark = "" if one.verdict == expected else "to a person" if one.verdict == Verdict.REVIEW else "[red]wrong[/]"
        table.add_row(part.part, truth, one.verdict, "" if one.probability is None else f"{one.probability:.4f}", remark)
    console.print(table)


def _print_summary(summary: Summary, run: Path, inspection: Path, out: Path) -> None:
    _heading("Result")
    say(
        f"test AUROC {summary.auroc:.4f}; conveyor: {summary.parts_counted} of {summary.parts_true} parts counted, "
        f"{summary.escapes} escapes, {summary.overkill} overkill, {summary.review} to review; {summary.seconds:.0f} s",
    )
    say(f"report:          {run / 'report.html'}")
    say(f"annotated video: {inspection / 'annotated.mp4'}")
    say(f"these figures:   {out / 'summary.json'}")


def _heading(text: str) -> None:
    console.rule(f"[bold]{text}", align="left")

"""`pipeline evaluate`: a run's figures on groups it never learned from, as metrics.json and one report.html."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from deploy.command import console, say
from deploy.files import write_whole
from pipeline.data.groups import is_guessed, met_before, named_alike
from pipeline.data.layouts import Layout
from pipeline.data.manifest import Manifest, check_unchanged, holds_manifest
from pipeline.data.prepare import read_samples, take_version
from pipeline.data.sample import Sample
from pipeline.evaluation.heatmaps import HeatmapQuality, HeatmapTally
from pipeline.evaluation.metrics import (
    Counts,
    Figure,
    Scores,
    auroc,
    average_precision,
    count_by_type,
    count_verdicts,
    part_scores,
    upper_bound,
)
from pipeline.evaluation.predict import predict, torch_infer
from pipeline.evaluation.report import write_report
from pipeline.training.model import InspectionModel
from pipeline.training.recipe import Recipe
from pipeline.training.run import Decision, load_run


@dataclass(frozen=True)
class Evaluation:
    """Everything that metrics.json and the report say."""

    dataset: str
    samples: tuple[Sample, ...]
    scores: Scores
    decision: Decision
    auroc: Figure
    average_precision: Figure
    counts: Counts
    by_type: dict[str, Counts]
    learned: int = 0
    """Pictures among these that the run has learned from, by their own hash or their group's name."""
    trained_on: dict[str, Any] | None = None
    """Identity of the manifest the run was trained on."""
    heatmaps: HeatmapQuality | None = None
    """Heatmaps against masks, where they were looked at."""

    @property
    def groups_are_guessed(self) -> bool:
        """Nobody named the parts: look-alikes stand in for them."""
        return any(is_guessed(sample) for sample in self.samples)

    @property
    def leakage(self) -> str:
        """What the split that the run was trained on leaks; empty when it does not."""
        return str(self.trained_on["leakage"]) if self.trained_on else ""

    def caveats(self) -> list[str]:
        """What makes the figures less than they seem, the gravest first."""
        found = [self.leakage] if self.leakage else []
        if self.learned:
            found.append(
                f"{self.learned} of these {len(self.samples)} pictures show what the run learned from: the figures flatter it."
            )
        if self.groups_are_guessed:
            found.append(
                "Nobody named the parts; pictures that look alike were taken for one, so counts and intervals are a guess."
            )
        return found

    def statement(self) -> str:
        """What these parts prove about escapes, in one sentence."""
        escape = self.counts.escape
        if escape.value is None:
            return "There are no defective parts here, so nothing is known of escapes."
        return (
            f"{escape.count} of {escape.total} defective parts escaped: with 95 % confidence the escape rate is below "
            f"{upper_bound(escape.count, escape.total):.1%}. To show less than 1 % takes 299 such parts without a miss."
        )

    def metrics(self) -> dict[str, Any]:
        """The content of metrics.json, documented in the README."""
        return {
            "dataset": self.dataset,
            "manifest": self.trained_on,
            "pictures": len(self.samples),
            "groups": len({sample.group for sample in self.samples}),
            "auroc": asdict(self.auroc),
            "average_precision": asdict(self.average_precision),
            "escape": asdict(self.counts.escape),
            "overkill": asdict(self.counts.overkill),
            "review": asdict(self.counts.review),
            "verdicts": self.counts.verdicts,
            "by_type": {
                kind: {"escape": asdict(counts.escape), "review": asdict(counts.review)} for kind, counts in self.by_type.items()
            },
            "thresholds": self.decision.thresholds.model_dump(),
            "temperature": self.decision.temperature,
            "statement": self.statement(),
            "learned": self.learned,
            "caveats": self.caveats(),
            **(self.heatmaps.metrics() if self.heatmaps else {}),
        }


def assess(
    dataset: str,
    samples: Sequence[Sample],
    scores: Scores,
    decision: Decision,
    learned: int = 0,
    trained_on: Manifest | None = None,
    heatmaps: HeatmapQuality | None = None,
) -> Evaluation:
    """Judge scores N of samples N by a run that was `trained_on` a manifest."""
    parts = part_scores(samples, scores)
    return Evaluation(
        dataset,
        tuple(samples),
        scores,
        decision,
        auroc(samples, scores),
        average_precision(samples, scores),
        count_verdicts(parts, decision.thresholds),
        count_by_type(parts, decision.thresholds),
        learned,
        trained_on.identity() if trained_on else None,
        heatmaps,
    )


def evaluate_samples(
    folder: Path,
    name: str,
    samples: Sequence[Sample],
    model: InspectionModel,
    recipe: Recipe,
    decision: Decision,
    trained_on: Manifest | None,
    learned: int = 0,
) -> Evaluation:
    """Score samples, and write metrics.json and report.html into `folder`."""
    infer = torch_infer(model, decision.temperature)
    spec = recipe.preprocessing()
    tally = HeatmapTally(spec)
    scores = predict(samples, spec, infer, tally.see)
    evaluation = assess(name, samples, scores, decision, learned, trained_on, tally.quality())
    write_whole(folder / "metrics.json", json.dumps(evaluation.metrics(), indent=2))
    write_report(evaluation, recipe, infer, folder / "report.html")
    return evaluation


def evaluate_run(folder: Path, model: InspectionModel, recipe: Recipe, manifest: Manifest, decision: Decision) -> Evaluation:
    """Evaluate on the run's own test groups."""
    return evaluate_samples(folder, manifest.dataset, manifest.split("test"), model, recipe, decision, manifest)


def print_evaluation(evaluation: Evaluation) -> None:
    """Show the figures as a table."""
    table = Table(title=f"{evaluation.dataset}: {len(evaluation.samples)} test pictures", title_justify="left")
    table.add_column("figure")
    table.add_column("value (95 % interval)")
    table.add_row("AUROC (pictures, interval over groups)", str(evaluation.auroc))
    table.add_row("average precision", str(evaluation.average_precision))
    table.add_row("escapes (defective parts passed)", str(evaluation.counts.escape))
    table.add_row("overkill (good parts rejected)", str(evaluation.counts.overkill))
    table.add_row("sent to review", str(evaluation.counts.review))
    for kind, counts in evaluation.by_type.items():
        table.add_row(f"  escapes of type {kind}", str(counts.escape))
    if evaluation.heatmaps and evaluation.heatmaps.masked_pictures:
        table.add_row("heatmap peak on the defect (parts with a mask)", str(evaluation.heatmaps.localised))
        table.add_row("AUROC of the heatmap's cells", str(evaluation.heatmaps.pixel_auroc))
        table.add_row("average precision of the heatmap's cells", str(evaluation.heatmaps.pixel_average_precision))
    console.print(table)
    say(evaluation.statement())
    if evaluation.trained_on:
        say(f"trained on {evaluation.trained_on['name']} (sha256 {evaluation.trained_on['sha256'][:12]})")
    for caveat in evaluation.caveats():
        say(caveat, style="bold red" if caveat == evaluation.leakage else "yellow")


def count_learned(manifest: Manifest, samples: Sequence[Sample]) -> int:
    """How many of the samples show what a run of the manifest learned from.

    By file, by the name of a group of the same folder, as a picture saved again or, where groups are guessed, by look. What the
    run is tested on itself is of no such group. Pictures it learned from that no longer lie there are known by their file only.
    """
    old = [sample for sample in manifest.samples if sample.split != "test"]
    tested = {sample.sha256 for sample in manifest.split("test")}
    named = named_alike(samples, old)
    unsure = [sample for sample, known in zip(samples, named, strict=True) if not known and sample.sha256 not in tested]
    there = [sample for sample in old if sample.file.is_file()]
    if unsure and len(there) < len(old):
        say(
            f"{len(old) - len(there)} pictures the run learned from are gone (first: "
            f"{next(sample.path for sample in old if not sample.file.is_file())}): whether these show the same is not looked for",
            style="yellow",
        )
    if not unsure or not there:
        return sum(named)
    met = met_before(unsure, there)
    return sum(named) + sum(bool(one.siblings(sample.group)) for sample, one in zip(unsure, met, strict=True))


def evaluate_command(path: Path, dataset: Path | None, out: Path | None, layout: Layout | None = None) -> Evaluation:
    """Evaluate a run on its own test groups, on all of another dataset with the same classes, or on a version's test part."""
    run = load_run(path)
    learned = 0
    if dataset is None:
        name, samples = run.manifest.dataset, run.manifest.split("test")
        check_unchanged(samples)
        folder = out or run.path
    else:
        if holds_manifest(dataset):
            version = take_version(dataset, layout=layout)
            samples, name = version.split("test"), version.name
        else:
            samples, name = read_samples(dataset, both_classes=False, layout=layout)  # good parts alone still tell the overkill
        with console.status("looking for what the run learned from"):
            learned = count_learned(run.manifest, samples)
        folder = out or run.path / "evaluations" / Path(name).name
    folder.mkdir(parents=True, exist_ok=True)
    with console.status("evaluating"):
        evaluation = evaluate_samples(folder, name, samples, run.model(), run.recipe, run.decision, run.manifest, learned)
    print_evaluation(evaluation)
    say(f"figures: {folder / 'metrics.json'}  report: {folder / 'report.html'}")
    return evaluation

"""`pipeline evaluate`: a run's figures on groups it never learned from, as metrics.json and one report.html."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from deploy.command import console, say
from deploy.files import write_whole
from pipeline.data.groups import met_before, named_alike
from pipeline.data.layouts import Layout
from pipeline.data.manifest import Manifest, check_unchanged, holds_manifest
from pipeline.data.prepare import read_samples, take_version
from pipeline.data.sample import Sample
from pipeline.evaluation.assessment import Evaluation, assess
from pipeline.evaluation.cuts import describe
from pipeline.evaluation.decision import Decision
from pipeline.evaluation.heatmaps import HeatmapTally
from pipeline.evaluation.predict import predict, torch_infer
from pipeline.evaluation.report import write_report
from pipeline.evaluation.robustness.kept import UNMEASURED, made_from, read_card
from pipeline.evaluation.slices import slice_table
from pipeline.training.model import InspectionModel
from pipeline.training.recipe import Recipe
from pipeline.training.run import WEIGHTS, load_run


def evaluate_samples(
    folder: Path,
    name: str,
    samples: Sequence[Sample],
    model: InspectionModel,
    recipe: Recipe,
    decision: Decision,
    trained_on: Manifest | None,
    learned: int = 0,
    run: Path | None = None,
) -> Evaluation:
    """Score samples, and write metrics.json and the report into `folder`, with the robustness card there if it is still true."""
    infer = torch_infer(model, decision.calibration)
    spec = recipe.preprocessing()
    tally = HeatmapTally(spec)
    scores = predict(samples, spec, infer, tally.see)
    slices = slice_table(samples, scores, decision.thresholds, describe(samples))
    evaluation = assess(name, samples, scores, decision, learned, trained_on, tally.quality(), slices)
    write_whole(folder / "metrics.json", json.dumps(evaluation.metrics(), indent=2))
    card, why_none = None, UNMEASURED
    if run is not None:
        card, why_none = read_card(folder, made_from(run / WEIGHTS, decision, samples, spec))
    write_report(evaluation, recipe, infer, folder / "report.html", run=run, robustness=card, no_robustness=why_none)
    return evaluation


def evaluate_run(
    folder: Path, model: InspectionModel, recipe: Recipe, manifest: Manifest, decision: Decision, run: Path
) -> Evaluation:
    """Evaluate on the run's own test groups."""
    return evaluate_samples(folder, manifest.dataset, manifest.split("test"), model, recipe, decision, manifest, run=run)


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
        table.add_row("overlap of the heatmap with each defect (PRO; luck 0.15)", str(evaluation.heatmaps.region_overlap))
    console.print(table)
    if evaluation.heatmaps and evaluation.heatmaps.masked_pictures:
        say(evaluation.heatmaps.sentence(), style="yellow" if evaluation.heatmaps.looks_elsewhere else None)
    for sentence in evaluation.slices.sentences() if evaluation.slices else []:
        say(sentence)
    for promise in evaluation.decision.promises:
        say(f"{promise}", style=None if promise.shown else "yellow")
    if (cost := evaluation.cost()) is not None:
        say(f"on these parts, at the line's defect rate, a part costs {cost:.3g}; costs promise nothing, limits do")
    say(evaluation.verdict(), style="bold red" if evaluation.unproven else "bold")
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
        evaluation = evaluate_samples(
            folder, name, samples, run.model(), run.recipe, run.decision, run.manifest, learned, run.path
        )
    print_evaluation(evaluation)
    say(f"figures: {folder / 'metrics.json'}  report: {folder / 'report.html'}")
    return evaluation

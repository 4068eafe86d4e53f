"""`pipeline retrain`: learn newly collected pictures on top of the old ones, then compare honestly."""

import json
from collections.abc import Sequence
from pathlib import Path

from deploy.bundle import sha256_of
from deploy.command import say
from deploy.errors import GateFailed, RunError
from deploy.files import write_whole
from pipeline.data.layouts import Layout
from pipeline.data.manifest import check_unchanged
from pipeline.data.prepare import read_samples
from pipeline.data.sample import SPLITS, Sample
from pipeline.export.export import export_run
from pipeline.retraining.compare import Comparison, compare_runs, is_better, print_comparison
from pipeline.retraining.intake import take_in
from pipeline.training.run import load_run
from pipeline.training.train import train
from pipeline.training.weights import Source


def retrain(
    path: Path,
    new_pictures: Path,
    out: Path,
    epochs: int | None = None,
    export_bundle: bool = False,
    layout: Layout | None = None,
) -> Path:
    """Train on old and new pictures from the run's weights; returns the new run folder.

    Writes comparison.json into it. Raises GateFailed when an export is asked for and the new run is not better.
    """
    old = load_run(path)
    if old.recipe.source is None:
        raise RunError(f"{path}/recipe.yaml names no source weights; restore it, or train again")
    learned = old.model().state_dict()
    check_unchanged(old.manifest.samples)
    samples, _ = read_samples(new_pictures, both_classes=False, layout=layout)
    intake = take_in(old.manifest, samples, old.recipe.seed)
    _tell("refused: the same picture is known already", intake.duplicates)
    _tell("refused: the run is tested on their group", intake.tested)
    _tell("refused: their group has siblings in training and in validation", intake.between)
    manifest = intake.manifest
    say(
        f"manifest version {manifest.version}: "
        + ", ".join(f"{split} {manifest.pictures()[split] - old.manifest.pictures()[split]} new" for split in SPLITS),
    )
    # Half of a first training's rate: what the run knows is to be added to, not overwritten. Halved once, not every time.
    rate = old.recipe.learning_rate * (1 if old.recipe.source.origin.startswith("run ") else 0.5)
    recipe = old.recipe.model_copy(update={"epochs": epochs or old.recipe.epochs, "head_epochs": 0, "learning_rate": rate})
    about = old.recipe.source.model_copy(update={"origin": f"run {old.path}", "sha256": sha256_of(old.weights)})
    new = load_run(train(manifest, recipe, Source(about, learned, with_head=True), out, old.decision.limits))

    comparisons = [compare_runs("old test groups, untouched", old, new, old.manifest.split("test"))]
    if intake.held_out:
        comparisons.append(compare_runs("held-out groups of the new pictures", old, new, intake.held_out))
    for comparison in comparisons:
        print_comparison(comparison)
    better, why = is_better(comparisons[0], comparisons[1] if intake.held_out else None)
    say(why, style="bold")
    _write(comparisons, better, why, new.path / "comparison.json")
    if export_bundle and not better:
        raise GateFailed(f"nothing was exported: {why}; export it all the same with `pipeline export {new.path}`")
    if export_bundle:
        export_run(new.path, Path("bundles"))
    else:
        say(f"nothing was exported; to do so: pipeline export {new.path}")
    return new.path


def _tell(why: str, samples: Sequence[Sample]) -> None:
    if samples:
        say(f"{len(samples)} pictures {why} (first: {samples[0].path})", style="yellow")


def _write(comparisons: Sequence[Comparison], better: bool, why: str, file: Path) -> None:
    content = {"better": better, "why": why, "comparisons": [comparison.figures() for comparison in comparisons]}
    write_whole(file, json.dumps(content, indent=2))

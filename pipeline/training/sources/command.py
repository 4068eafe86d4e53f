"""`pipeline sources` and `pipeline train --backbone auto`: a table, and a sentence that says what to take."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from deploy.command import console, say
from deploy.files import write_whole
from pipeline.data.layouts import Layout
from pipeline.data.manifest import Manifest, holds_manifest
from pipeline.data.prepare import read_samples, take_version
from pipeline.data.sample import Sample
from pipeline.training.recipe import Recipe
from pipeline.training.sources.listing import LeftOut, list_sources, random_floor
from pipeline.training.sources.ranking import SAME, Ranked, choose, rank
from pipeline.training.weights import Source


def sources_command(dataset: Path, recipe: Recipe, runs: Path, out: Path | None, layout: Layout | None = None) -> None:
    """Rank the source weights at hand on a dataset, beside random weights; print the table, and write it as JSON to `out`.

    JSON: `dataset`, `pictures`, `groups`, `used` (which pictures), `input` [height, width], `take` (name; null without
    any), `why`, `sources` (best first, each with `name`, `kind`, `backbone`, `file`, `sha256`, `auroc` {value, low, high},
    `log_me`, `parameters`, `multiply_adds`, `milliseconds`) and `left_out` (`origin`, `reason`). Raises DatasetError for data
    that cannot tell sources apart.
    """
    if holds_manifest(dataset):
        manifest = take_version(dataset, layout=layout)
        name, known, samples = manifest.name, manifest.samples, _learned_from(manifest)
        used = "train and validation groups"
    else:
        samples, name = read_samples(dataset, layout=layout)
        known, used = samples, "all groups, as no split is drawn yet"
    candidates, left_out = list_sources(known, runs)
    ranked, unfit = rank(samples, (*candidates, *random_floor(candidates)), recipe)
    left_out += unfit
    _print(f"{name}: {len(samples)} pictures, {used}", ranked, left_out, recipe)
    taken = choose(ranked) if any(not one.is_random for one in ranked) else None
    why = _sentence(taken, ranked) if taken else "no source weights are at hand; only random ones were measured"
    say(why, style="bold")
    if out is not None:
        content = {
            "dataset": name,
            "pictures": len(samples),
            "groups": len({sample.group for sample in samples}),
            "used": used,
            "input": [recipe.height, recipe.width],
            "take": taken.candidate.name if taken else None,
            "why": why,
            "sources": [_row(one) for one in ranked],
            "left_out": [asdict(one) for one in left_out],
        }
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, json.dumps(content, indent=2))
        say(f"figures: {out}")


def best_source(manifest: Manifest, recipe: Recipe, runs: Path | None = None) -> tuple[str, Source]:
    """Backbone and source weights that tell most of the manifest's train and validation groups; says which, and why.

    Test groups are never measured; they only count for which earlier runs are left out, because they learned from these pictures.
    Raises WeightsError when no source weights are at hand, DatasetError when the groups are too few to compare them.
    """
    samples = _learned_from(manifest)
    candidates, left_out = list_sources(manifest.samples, runs)
    ranked, unfit = rank(samples, candidates, recipe)
    taken = choose(ranked)
    floor, _ = rank(samples, random_floor([taken.candidate]), recipe)
    ranked = tuple(sorted((*ranked, *floor), key=lambda one: -(one.auroc.value or 0)))
    _print(f"{manifest.name}: {len(samples)} pictures, train and validation groups", ranked, left_out + unfit, recipe)
    say(_sentence(taken, ranked), style="bold")
    return taken.candidate.backbone, taken.source


def _learned_from(manifest: Manifest) -> tuple[Sample, ...]:
    return tuple(sample for sample in manifest.samples if sample.split != "test")


def _sentence(taken: Ranked, ranked: Sequence[Ranked]) -> str:
    others = [one for one in ranked if one is not taken and not one.is_random]
    text = (
        f"take {taken.candidate.name}: a linear probe on its frozen features reaches AUROC {taken.auroc} on groups it never saw"
    )
    value = taken.auroc.value or 0
    better = [one for one in others if (one.auroc.value or 0) > value]
    if better:
        text += f"; {better[0].candidate.name} is better by less than {SAME} and heavier"
    close = sum((one.auroc.value or 0) >= (taken.auroc.low or value) for one in others)
    if close:
        text += f"; {close} of {len(others)} others are within its interval, so training may order them differently"
    floor = [one for one in ranked if one.is_random]
    if floor and value <= (floor[0].auroc.value or 0):
        text += f". But {floor[0].candidate.name} tell as much ({floor[0].auroc}): expect little of this source"
    return text


def _print(title: str, ranked: Sequence[Ranked], left_out: Sequence[LeftOut], recipe: Recipe) -> None:
    say(title)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("source weights", overflow="fold")
    table.add_column("probe AUROC", no_wrap=True)
    for column in ("LogME", "million weights", "million mult-adds", "ms"):
        table.add_column(column, justify="right")
    for one in ranked:
        table.add_row(
            escape(one.candidate.name),
            str(one.auroc),
            f"{one.log_me:.3f}",
            f"{one.cost.parameters / 1e6:.2f}",
            f"{one.cost.multiply_adds / 1e6:.0f}",
            f"{one.cost.milliseconds:.1f}",
            style="dim" if one.is_random else None,
        )
    console.print(table)
    say(f"mult-adds and ms: one picture of {recipe.width} x {recipe.height}, in torch on this processor", style="dim")
    for left in left_out:
        say(f"left out {left.origin}: {left.reason}", style="yellow")


def _row(one: Ranked) -> dict[str, Any]:
    return {
        "name": one.candidate.name,
        "kind": one.candidate.kind,
        "backbone": one.candidate.backbone,
        "file": str(one.candidate.file) if one.candidate.file else None,
        "sha256": None if one.is_random else one.source.about.sha256,
        "auroc": asdict(one.auroc),
        "log_me": one.log_me,
        **asdict(one.cost),
    }

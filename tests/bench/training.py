"""Training speed against a bare PyTorch loop with the same network, batches and augmentation, taking turns in one run."""

import csv
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from deploy.command import console
from pipeline.data.demo.line import write_demo_line
from pipeline.data.manifest import Manifest
from pipeline.data.prepare import prepare
from pipeline.training.batch import Batch
from pipeline.training.loaders import build_loaders
from pipeline.training.losses import cell_truth, picture_loss, pixel_loss
from pipeline.training.recipe import Recipe, resolve_recipe
from pipeline.training.train import fit, start_model
from pipeline.training.weights import STARTER, Source, find_source

ROUNDS = 3
EPOCHS = 3
"""The first one of each training warms up."""
CASES: dict[str, dict[str, Any]] = {
    "frozen backbone": {"strategy": "full", "epochs": EPOCHS + 1, "head_epochs": EPOCHS},
    "fine-tuned": {"strategy": "full", "epochs": EPOCHS, "head_epochs": 0},
    "cached features": {"strategy": "feature_extraction", "epochs": EPOCHS, "head_epochs": EPOCHS},
}


def ours(manifest: Manifest, recipe: Recipe, source: Source) -> list[float]:
    """Pictures per second of each epoch of `pipeline train`, as its history says; validation is not in them."""
    with tempfile.TemporaryDirectory() as folder:
        fit(start_model(recipe, source), manifest, recipe, Path(folder))
        rows = csv.DictReader((Path(folder) / "history.csv").read_text().splitlines())
        return [float(row["pictures_per_second"]) for row in rows][1:EPOCHS]


def bare(manifest: Manifest, recipe: Recipe, source: Source) -> list[float]:
    """The same of a loop that does nothing but train: no averaging, no clipping, no logs."""
    model = start_model(recipe, source)
    training, _ = build_loaders(model, manifest, recipe)
    model.to(memory_format=torch.channels_last).train()
    model.backbone.eval().requires_grad_(recipe.head_epochs == 0)
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=recipe.learning_rate)
    speeds = []
    for _ in range(EPOCHS):
        started = time.monotonic()
        shown = 0
        for item in training:
            batch = Batch(*item)
            answer = model(batch.picture) if isinstance(batch.picture, torch.Tensor) else model.answer(batch.picture)
            logit, heatmap = answer
            target, known = cell_truth(batch.mask, batch.known, *heatmap.shape[-2:])
            loss = picture_loss(logit, batch.label) + recipe.pixel_loss * pixel_loss(heatmap, target, known)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            shown += len(logit)
        speeds.append(shown / (time.monotonic() - started))
    return speeds[1:]


def main() -> None:
    """Print a table of pictures per second, and ours as a share of the bare loop's."""
    table = Table(title="training on this machine: pictures per second, the default recipe", title_justify="left")
    for column in ("what learns", "pipeline train", "bare PyTorch loop", "ratio"):
        table.add_column(column)
    with tempfile.TemporaryDirectory() as folder:
        write_demo_line(Path(folder) / "line", 64)
        manifest = prepare(Path(folder) / "line")
        for name, changes in CASES.items():
            recipe = resolve_recipe(**changes)
            source = find_source(recipe.backbone, STARTER / f"{recipe.backbone}.safetensors")
            recipe = recipe.model_copy(update={"source": source.about})
            loops: dict[Callable[[Manifest, Recipe, Source], list[float]], list[float]] = {ours: [], bare: []}
            for _ in range(ROUNDS):
                for loop, speeds in loops.items():
                    speeds += loop(manifest, recipe, source)
            whole, plain = statistics.median(loops[ours]), statistics.median(loops[bare])
            table.add_row(name, f"{whole:.1f}", f"{plain:.1f}", f"{whole / plain:.2f}")
    console.print(table)

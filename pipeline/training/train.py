"""`pipeline train`: pictures and source weights in, a finished run out. Goes on where an interrupted one stopped."""

import json
import logging
import os
import warnings
from functools import partial
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from torch.utils.data import DataLoader

from deploy.command import say
from pipeline.data.augment import augment, build_augmentation
from pipeline.data.manifest import Manifest, write_manifest
from pipeline.data.pictures import Item, Pictures
from pipeline.data.split.leaks import refuse_leaks
from pipeline.evaluation.evaluate import evaluate_run, print_evaluation
from pipeline.evaluation.predict import fix_decision
from pipeline.training.model import InspectionModel
from pipeline.training.module import TrainingModule
from pipeline.training.progress import EpochLines
from pipeline.training.recipe import Recipe, write_recipe
from pipeline.training.run import environment, finish, open_partial, save_model
from pipeline.training.weights import Source, load_source

LAST = "last.ckpt"


def train(manifest: Manifest, recipe: Recipe, source: Source, out: Path) -> Path:
    """Train one run on the manifest's train and validation groups and evaluate it on its test groups; returns the run folder.

    The same manifest, recipe and source weights continue an interrupted training from its last finished epoch. Raises
    DatasetError when the split leaks and the manifest does not say so: nobody shall read such figures unwarned.
    """
    if not manifest.leakage:
        refuse_leaks(manifest.samples, "give siblings one group, or delete the copies")
    recipe = recipe.model_copy(update={"source": source.about})
    identity = {"manifest": manifest.sha256(), "recipe": recipe.model_dump(mode="json")}
    model = start_model(recipe, source)
    folder, resumed = open_partial(out, manifest.dataset, identity)
    if resumed:
        say(f"going on with the interrupted training in {folder}")
    write_recipe(recipe, folder / "recipe.yaml")
    write_manifest(manifest, folder)
    (folder / "environment.json").write_text(json.dumps(environment(), indent=2))

    fit(model, manifest, recipe, folder)
    save_model(model, recipe, folder / "weights.safetensors")
    decision = fix_decision(model, recipe, manifest.split("validation"))
    (folder / "decision.json").write_text(decision.model_dump_json(indent=2))
    print_evaluation(evaluate_run(folder, model, recipe, manifest, decision))
    final = finish(folder)
    for checkpoint in final.glob("*.ckpt"):
        checkpoint.unlink()
    return final


def start_model(recipe: Recipe, source: Source) -> InspectionModel:
    """The network before its first step, the same for the same seed."""
    lightning.seed_everything(recipe.seed, workers=True, verbose=False)
    model = InspectionModel(recipe)
    load_source(model, source)
    return model


def fit(model: InspectionModel, manifest: Manifest, recipe: Recipe, folder: Path) -> None:
    """Run both stages in `folder`; leaves the network with the weights of the best validation score, in evaluation mode."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    training, validation = loaders(manifest, recipe)
    labels = [sample.label for sample in manifest.split("train")]
    defect_weight = labels.count("good") / labels.count("defective")
    module = TrainingModule(model, recipe, defect_weight, len(training))
    best = ModelCheckpoint(
        folder, "best", monitor="score", mode="max", save_last=True, save_on_train_epoch_end=True, enable_version_counter=False
    )
    trainer = lightning.Trainer(
        max_epochs=recipe.epochs,
        callbacks=[
            EMAWeightAveraging(decay=recipe.averaging),
            EpochLines(folder / "history.csv"),
            EarlyStopping("score", mode="max", patience=recipe.patience),
            best,
        ],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        gradient_clip_val=1.0,
        devices=1,
        default_root_dir=folder,
    )
    last = _whole_checkpoint(folder / LAST)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(does not have many workers|Checkpoint directory|litlogger|treespec).*")
        try:
            trainer.fit(module, training, validation, ckpt_path=last, weights_only=False)
        except SystemExit as ended:  # Lightning's way to end on Ctrl-C
            say(f"stopped; the same command goes on from the last finished epoch, in {folder}")
            raise SystemExit(130) from ended
    stored = torch.load(best.best_model_path, map_location="cpu", weights_only=False)
    module.load_state_dict(stored["state_dict"])
    model.eval()


def _whole_checkpoint(file: Path) -> Path | None:
    """The checkpoint to go on from; one that a power cut tore is told and set aside."""
    if not file.is_file():
        return None
    try:
        torch.load(file, map_location="cpu", weights_only=False)
    except Exception as error:  # a torn file fails in as many ways as it has bytes
        say(f"{file} is damaged ({type(error).__name__}); starting this training again", style="yellow")
        file.unlink()
        return None
    return file


def loaders(manifest: Manifest, recipe: Recipe) -> tuple[DataLoader[Item], DataLoader[Item]]:
    """Batches of the train and validation groups."""
    spec = recipe.preprocessing()
    change = partial(augment, build_augmentation(recipe.augmentation, spec))
    # Workers pay when a GPU does the arithmetic; on a CPU they would take the cores that train.
    workers = min(8, (os.cpu_count() or 1) - 1) if torch.cuda.is_available() else 0
    training = Pictures(manifest.split("train"), spec, change)
    return (
        DataLoader(
            training,
            recipe.batch_size,
            shuffle=True,
            drop_last=len(training) > recipe.batch_size,
            num_workers=workers,
            persistent_workers=workers > 0,
        ),
        DataLoader(Pictures(manifest.split("validation"), spec), 2 * recipe.batch_size),
    )

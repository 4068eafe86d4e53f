"""`pipeline train`: pictures and source weights in, a finished run out. Goes on where an interrupted one stopped."""

import json
import logging
import warnings
from datetime import timedelta
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, Timer
from lightning.pytorch.loggers import TensorBoardLogger

from deploy.command import say
from pipeline.data.manifest import Manifest, write_manifest
from pipeline.data.split.leaks import refuse_leaks
from pipeline.evaluation.evaluate import evaluate_run, print_evaluation
from pipeline.evaluation.limits import Limits
from pipeline.evaluation.predict import fix_decision
from pipeline.training.averaging import LearnedAverage
from pipeline.training.lineage import refuse_learned
from pipeline.training.loaders import build_loaders
from pipeline.training.lora import add_lora, merge_lora
from pipeline.training.machine import join_processes, process, told_by_first, trainer_options
from pipeline.training.model import InspectionModel
from pipeline.training.module import TrainingModule
from pipeline.training.progress import EpochLines
from pipeline.training.recipe import Recipe, write_recipe
from pipeline.training.run import WEIGHTS, environment, final_name, finish, open_partial, save_model
from pipeline.training.teacher import load_teacher
from pipeline.training.weights import Source, load_source

LAST = "last.ckpt"


def train(manifest: Manifest, recipe: Recipe, source: Source, out: Path, limits: Limits | None = None) -> Path:
    """Train one run on the manifest's train and validation groups and evaluate it on its test groups; returns the run folder.

    Thresholds come from `limits`; None: from the default ones. Under torchrun all processes train; the first one writes,
    evaluates and tells.

    The same manifest, recipe and source weights continue an interrupted training from its last finished epoch. Raises
    DatasetError when the split leaks and the manifest does not say so: nobody shall read such figures unwarned.
    """
    if not manifest.leakage:
        refuse_leaks(manifest.samples, "give siblings one group, or delete the copies")
        refuse_learned(source.about.origin, manifest.split("test"), "the source weights")
    recipe = recipe.started_from(source.about)
    load_teacher(recipe, manifest)  # refused before anything is written
    identity = {"manifest": manifest.sha256(), "recipe": recipe.model_dump(mode="json")}
    model = start_model(recipe, source)
    join_processes()
    main = process() == 0
    if main:
        folder, resumed = open_partial(out, manifest.dataset, identity)
        if resumed:
            say(f"going on with the interrupted training in {folder}")
        write_recipe(recipe, folder / "recipe.yaml")
        write_manifest(manifest, folder)
        (folder / "environment.json").write_text(json.dumps(environment(), indent=2))
    folder = Path(told_by_first(str(folder) if main else ""))

    fit(model, manifest, recipe, folder)
    if not main:
        return final_name(folder)
    save_model(model, recipe, folder / WEIGHTS)
    decision = fix_decision(model, recipe, manifest.split("validation"), limits or Limits())
    (folder / "decision.json").write_text(decision.model_dump_json(indent=2))
    print_evaluation(evaluate_run(folder, model, recipe, manifest, decision, folder))
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
    """Run all phases in `folder`; leaves the network with the weights of the best validation score, in evaluation mode.

    Raises RunError when the recipe's teacher cannot be used.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    training, validation = build_loaders(model, manifest, recipe)
    labels = [sample.label for sample in manifest.split("train")]
    defect_weight = labels.count("good") / labels.count("defective")
    teacher = load_teacher(recipe, manifest)
    adapted = add_lora(model.backbone, recipe.lora_rank) if recipe.strategy == "lora" else None
    module = TrainingModule(model, recipe, defect_weight, len(training), teacher)
    best = ModelCheckpoint(
        folder, "best", monitor="score", mode="max", save_last=True, save_on_train_epoch_end=True, enable_version_counter=False
    )
    trainer = lightning.Trainer(
        max_epochs=recipe.epochs,
        callbacks=[
            LearnedAverage(recipe.averaging),
            EpochLines(folder / "history.csv"),
            EarlyStopping("score", mode="max", patience=recipe.patience),
            Timer(timedelta(minutes=recipe.budget) if recipe.budget else None, interval="step", verbose=False),
            best,
        ],
        logger=TensorBoardLogger(folder, name="", version="tensorboard"),
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        gradient_clip_val=1.0,
        use_distributed_sampler=False,
        default_root_dir=folder,
        **trainer_options(),
    )
    last = _whole_checkpoint(folder / LAST)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(does not have many workers|Checkpoint directory|litlogger|treespec).*")
        try:
            trainer.fit(module, training, validation, ckpt_path=last, weights_only=False)
        except SystemExit as ended:  # Lightning's way to end on Ctrl-C
            say(f"stopped; the same command goes on from the last finished epoch, in {folder}")
            raise SystemExit(130) from ended
    if recipe.budget and len(module.phases) > 1 and trainer.current_epoch <= recipe.head_epochs:
        say("the time ended before the backbone learned anything; give it more, or fewer head_epochs", style="yellow")
    stored = torch.load(best.best_model_path, map_location="cpu", weights_only=False)
    module.load_state_dict(stored["state_dict"])
    if adapted is not None:
        merge_lora(adapted)
    model.requires_grad_(True).eval()


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

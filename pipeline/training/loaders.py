"""Batches of the train and validation groups: of augmented pictures, or of a frozen backbone's maps."""

from typing import Any

from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from pipeline.data.manifest import Manifest
from pipeline.data.pictures import Pictures
from pipeline.training.frozen import frozen_maps
from pipeline.training.machine import device, loader_workers, process, processes
from pipeline.training.model import InspectionModel
from pipeline.training.order import EpochBatches, EpochOrder, balanced_weights
from pipeline.training.recipe import Recipe


def build_loaders(model: InspectionModel, manifest: Manifest, recipe: Recipe) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Loaders of this process's share of training and validation."""
    train, validation = manifest.split("train"), manifest.split("validation")
    spec, batch = recipe.preprocessing(), max(1, recipe.batch_size // processes())
    order = EpochOrder(
        len(train),
        max(len(train), recipe.steps_per_epoch * recipe.batch_size),
        recipe.seed,
        balanced_weights(train) if recipe.balance == "sampling" else (),
        process(),
        processes(),
    )
    if recipe.strategy == "feature_extraction":
        model.eval().to(device())
        learned, held = frozen_maps(model, train, recipe, mirror=True), frozen_maps(model, validation, recipe, mirror=False)
        model.train()
        # These give whole batches at once.
        return (
            DataLoader(learned, batch_size=None, sampler=EpochBatches(order, batch, drop_last=len(order) > batch)),
            DataLoader(held, batch_size=None, sampler=BatchSampler(_in_turn(held), 2 * batch, drop_last=False)),
        )
    workers = loader_workers()
    pictures = Pictures(validation, spec)
    return (
        DataLoader(
            Pictures(train, spec, recipe.augmentation),
            batch,
            sampler=order,
            drop_last=len(order) > batch,
            num_workers=workers,
            persistent_workers=workers > 0,
        ),
        DataLoader(pictures, 2 * batch, sampler=_in_turn(pictures)),
    )


def _in_turn(dataset: Dataset[Any]) -> Sampler[int]:
    """Every picture once, over all processes."""
    return UnrepeatedDistributedSampler(dataset, num_replicas=processes(), rank=process(), shuffle=False)

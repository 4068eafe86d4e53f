"""Feature extraction: the frozen backbone's maps, computed once and kept on disk, so that a head is trained in seconds."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.data.pictures import Pictures
from pipeline.data.prepare import counting
from pipeline.data.sample import Sample
from pipeline.data.survey.cache import cache_folder
from pipeline.training.batch import Batch
from pipeline.training.head import heatmap_size
from pipeline.training.losses import cell_truth
from pipeline.training.model import InspectionModel
from pipeline.training.recipe import Recipe

BATCH = 16
KEPT_BYTES = 8 << 30
"""Of maps on disk; beyond that the longest unused are deleted."""
VERSION = 1

Stored = npt.NDArray[np.float16]


class FrozenMaps(Dataset[Batch]):
    """The backbone's maps of pictures, with the truth of every heatmap cell; indexed by whole batches."""

    def __init__(
        self, maps: Sequence[Stored], labels: Tensor, target: Tensor, known: Tensor, mirrored: Sequence[int] = ()
    ) -> None:
        self.maps, self.labels, self.target, self.known = maps, labels, target, known
        self.mirrored = mirrored
        """Dimensions to mirror at random: nearly the maps of the mirrored picture."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indices: list[int]) -> Batch:
        dimensions = [dimension for dimension in self.mirrored if torch.rand(()) < 0.5]
        maps = [torch.from_numpy(one[indices]).float().flip(dimensions) for one in self.maps]
        return Batch(maps, self.labels[indices], self.target[indices].flip(dimensions), self.known[indices].flip(dimensions))


def frozen_maps(model: InspectionModel, samples: Sequence[Sample], recipe: Recipe, mirror: bool) -> FrozenMaps:
    """The maps of samples by the model's backbone as it is; read from the cache where they are there."""
    pictures = Pictures(samples, recipe.preprocessing())
    device = next(model.parameters()).device
    labels, targets, knowns = [], [], []
    folder = cache_folder() / f"maps-{VERSION}" / _stamp(model, samples, recipe)
    computed: list[Stored] = []
    stored = _read(folder)
    with counting("computing features") as progress, torch.inference_mode():
        for start in range(0, len(samples), BATCH):
            items = [pictures[index] for index in range(start, min(start + BATCH, len(samples)))]
            target, known = cell_truth(
                torch.stack([item.mask for item in items]), torch.stack([item.known for item in items]), *heatmap_size(recipe)
            )
            labels += [item.label for item in items]
            targets.append(target)
            knowns.append(known)
            if not stored:
                maps = model.features(torch.stack([item.picture for item in items]).to(device))
                values = [one.cpu().numpy().astype(np.float16) for one in maps]
                computed = computed or [np.empty((len(samples), *value.shape[1:]), np.float16) for value in values]
                for table, value in zip(computed, values, strict=True):
                    table[start : start + len(value)] = value
                progress(start + len(items), len(samples))
    if not stored:
        _keep(computed, folder)
    switches = recipe.augmentation
    mirrored = [-1] * (mirror and switches.flip_horizontal) + [-2] * (mirror and switches.flip_vertical)
    return FrozenMaps(stored or computed, torch.stack(labels), torch.cat(targets), torch.cat(knowns), mirrored)


def _stamp(model: InspectionModel, samples: Sequence[Sample], recipe: Recipe) -> str:
    """What the maps depend on: the pictures, how they are framed and normalised, and every value of the backbone."""
    digest = hashlib.sha256(recipe.preprocessing().model_dump_json().encode())
    digest.update(f"{recipe.backbone} {recipe.heatmap_stride} {recipe.source}".encode())
    for value in model.backbone.state_dict().values():
        digest.update(value.cpu().numpy().tobytes())
    for sample in samples:
        digest.update(sample.sha256.encode())
    return digest.hexdigest()[:32]


def _read(folder: Path) -> list[Stored]:
    try:
        maps = [np.load(file, mmap_mode="r") for file in sorted(folder.glob("*.npy"))]
        os.utime(folder)
    except (OSError, ValueError):  # not there, or torn: compute them again
        return []
    return maps


def _keep(maps: Sequence[Stored], folder: Path) -> None:
    """Write beside, then rename; a cache that cannot be written is an empty one."""
    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        for number, one in enumerate(maps):
            np.save(partial / f"{number}.npy", one)
        partial.rename(folder)
        _make_room(folder)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)


def _make_room(newest: Path) -> None:
    kept = 0
    for folder in sorted(newest.parent.iterdir(), key=lambda one: one.stat().st_mtime, reverse=True):
        kept += sum(file.stat().st_size for file in folder.glob("*.npy"))
        if kept > KEPT_BYTES and folder != newest:
            shutil.rmtree(folder, ignore_errors=True)

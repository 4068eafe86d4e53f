"""Feature extraction: the frozen backbone's maps, computed once and kept on disk, so that a head is trained in seconds."""

import errno
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

from deploy.errors import RunError
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
SPARE_BYTES = 1 << 28
VERSION = 2

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
    """The maps of samples by the model's backbone as it is, where the model is; read from the cache where they are there."""
    folder = cache_folder() / f"maps-{VERSION}" / _stamp(model, samples, recipe)
    tables = _read(folder) or _compute(model, samples, recipe, folder)
    labels = torch.tensor([float(sample.label == "defective") for sample in samples])
    switches = recipe.augmentation
    mirrored = [-1] * (mirror and switches.flip_horizontal) + [-2] * (mirror and switches.flip_vertical)
    target, known = (torch.from_numpy(one.astype(np.float32)) for one in tables[-2:])
    return FrozenMaps(tables[:-2], labels, target, known, mirrored)


def _stamp(model: InspectionModel, samples: Sequence[Sample], recipe: Recipe) -> str:
    """What the maps depend on: pictures and masks, how they are framed and normalised, and every value of the backbone."""
    digest = hashlib.sha256(recipe.preprocessing().model_dump_json().encode())
    digest.update(f"{recipe.backbone} {recipe.head} {recipe.heatmap_stride} {recipe.source}".encode())
    for value in model.backbone.state_dict().values():
        digest.update(value.cpu().numpy().tobytes())
    for sample in samples:
        digest.update(f"{sample.sha256} {sample.label} {sample.mask_sha256}".encode())
    return digest.hexdigest()[:32]


def _compute(model: InspectionModel, samples: Sequence[Sample], recipe: Recipe, folder: Path) -> list[Stored]:
    """Maps, target and known cells of all samples, in files that are read as they are needed; written beside, then renamed."""
    pictures = Pictures(samples, recipe.preprocessing(), keep=False)
    device = next(model.parameters()).device
    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    tables: list[Stored] = []
    try:
        with counting("computing features") as progress, torch.inference_mode():
            for start in range(0, len(samples), BATCH):
                items = [pictures[index] for index in range(start, min(start + BATCH, len(samples)))]
                truth = cell_truth(
                    torch.stack([item.mask for item in items]), torch.stack([item.known for item in items]), *heatmap_size(recipe)
                )
                maps = model.features(torch.stack([item.picture for item in items]).to(device))
                values = [one.cpu().numpy().astype(np.float16) for one in (*maps, *truth)]
                tables = tables or [_table(partial, number, len(samples), one) for number, one in enumerate(values)]
                for table, value in zip(tables, values, strict=True):
                    table[start : start + len(value)] = value
                progress(start + len(items), len(samples))
        shutil.rmtree(folder, ignore_errors=True)  # a torn one
        partial.rename(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise RunError(
            f"the features of {len(samples)} pictures cannot be kept in {folder.parent} ({error.strerror or error}); make room "
            "there, or name another folder with INSPECTOR_CACHE"
        ) from error
    _make_room(folder)
    return _read(folder)


def _table(folder: Path, number: int, rows: int, like: Stored) -> Stored:
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < rows * like[0].nbytes + SPARE_BYTES:  # a full disk would kill the process: no error
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return np.lib.format.open_memmap(folder / f"{number:02d}.npy", "w+", np.float16, (rows, *like.shape[1:]))


def _read(folder: Path) -> list[Stored]:
    try:
        tables = [np.load(file, mmap_mode="r") for file in sorted(folder.glob("*.npy"))]
        os.utime(folder)
    except (OSError, ValueError):  # not there, or torn: compute them again
        return []
    return tables


def _make_room(newest: Path) -> None:
    """Delete the longest unused, but never the two that a training is using: its train and its validation part."""
    kept = 0
    folders = sorted(newest.parent.iterdir(), key=lambda one: one.stat().st_mtime, reverse=True)
    for place, folder in enumerate(folders):
        kept += sum(file.stat().st_size for file in folder.glob("*.npy"))
        if kept > KEPT_BYTES and place >= 2:
            shutil.rmtree(folder, ignore_errors=True)

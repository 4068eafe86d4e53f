"""What a frozen backbone sees in pictures: computed once per picture and weights, and kept in the cache."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from deploy.preprocess import Picture, read_picture
from pipeline.data.sample import Sample
from pipeline.data.survey.cache import Cache
from pipeline.training.model import InspectionModel
from pipeline.training.recipe import Recipe
from pipeline.training.weights import Source, load_source, source_at_hand

SIDE = 224
"""Pictures are squashed to this square: crops of one part in other sizes then compare place by place."""
CELLS = 4
BATCH = 32
VERSION = 1


@dataclass(frozen=True)
class Features:
    """Of N pictures."""

    cells: npt.NDArray[np.float16]
    """N x C: the mean of the stride 8 map in each of 4 x 4 cells, which tells one part from another."""
    pooled: npt.NDArray[np.float16]
    """N x D: mean and maximum of the maps at strides 8, 16 and 32, which tell good from defective."""


def compute_features(
    samples: Sequence[Sample], backbone: str, source: Source, progress: Callable[[int, int], None] | None = None
) -> Features:
    """Features of hashed samples by a backbone with the source's weights; raises WeightsError when these do not fit it."""
    model = InspectionModel(Recipe(backbone=backbone, head="pooled", source=source.about)).eval()
    load_source(model, source)
    rows: list[npt.NDArray[np.float16]] = []
    with Cache(f"features-{VERSION}") as cache, ThreadPoolExecutor() as pool, torch.inference_mode():
        for start in range(0, len(samples), BATCH):
            batch = samples[start : start + BATCH]
            stamps = [f"{sample.sha256}|{backbone}|{source.about.sha256}" for sample in batch]
            known = cache.get(stamps)
            missing = {one: sample for one, sample in zip(stamps, batch, strict=True) if one not in known}
            if missing:
                pictures = np.stack(list(pool.map(_squashed, missing.values())))
                values = _features(model, torch.from_numpy(pictures)).numpy().astype(np.float16)
                new = {one: row.tobytes() for one, row in zip(missing, values, strict=True)}
                cache.put(new)
                known |= new
            rows += [np.frombuffer(known[one], np.float16) for one in stamps]
            if progress:
                progress(start + len(batch), len(samples))
    table = np.stack(rows)
    channels = model.backbone.feature_info.channels()  # type: ignore[union-attr, operator]
    return Features(table[:, : channels[0] * CELLS**2], table[:, channels[0] * CELLS**2 :])


def features_at_hand(
    samples: Sequence[Sample], weights: Path | None = None, progress: Callable[[int, int], None] | None = None
) -> Features | None:
    """Features by the default backbone, with the weights of a file or of the weights folder; None where neither has any."""
    backbone = Recipe.model_fields["backbone"].default
    source = source_at_hand(backbone, weights)
    return compute_features(samples, backbone, source, progress) if source else None


def _squashed(sample: Sample) -> Picture:
    return np.asarray(cv2.resize(read_picture(sample.file), (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def _features(model: InspectionModel, pictures: Tensor) -> Tensor:
    """N x SIDE x SIDE x 3, BGR, uint8 -> N x (C + D)."""
    colour = pictures.permute(0, 3, 1, 2).flip(1).float()
    maps: list[Tensor] = model.backbone((colour - model.mean) / model.std)  # type: ignore[operator]
    cells = F.adaptive_avg_pool2d(maps[0], CELLS).flatten(1)
    return torch.cat([cells, *(one.mean(dim=(2, 3)) for one in maps), *(one.amax(dim=(2, 3)) for one in maps)], dim=1)

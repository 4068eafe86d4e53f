"""Batches of procedural pictures: every batch is made from the seed and its own number alone, so a resumed run sees the same."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.training.pretraining.defects import show_defect
from pipeline.training.pretraining.scenes import Picture, draw_scene, draw_view, show
from pipeline.training.pretraining.textures import KINDS, SIDE

BATCH = 32
"""Pictures: half of them faultless, half the same scenes, turned, with a defect."""


class Batch(NamedTuple):
    """N pictures; the faultless ones come first."""

    pictures: Tensor
    """N x 3 x SIDE x SIDE, RGB, uint8."""
    kinds: Tensor
    """N: which texture."""
    masks: Tensor
    """N x SIDE x SIDE, 1.0 where the defect is."""


class Batches(Dataset[Batch]):
    """The batches of a seed, from `start` on."""

    def __init__(self, seed: int, start: int, stop: int) -> None:
        self.seed, self.start, self.stop = seed, start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: int) -> Batch:
        return make_batch(self.seed, self.start + index)


def make_batch(seed: int, number: int, size: int = BATCH) -> Batch:
    """Batch `number` of a seed, of `size` pictures."""
    dice = np.random.default_rng([seed, number])
    pictures: list[Picture] = []
    twins: list[Picture] = []
    masks = [np.zeros((SIDE, SIDE), np.bool_)] * (size // 2)
    kinds = dice.integers(KINDS, size=size // 2)
    for kind in kinds:
        scene, view = draw_scene(int(kind), dice), draw_view(dice)
        picture, mask = show_defect(scene, view, dice)
        turns = int(dice.integers(4))  # the twin is to be a new picture of its texture too
        pictures.append(show(scene, view))
        twins.append(np.rot90(picture, turns))
        masks.append(np.rot90(mask, turns))
    rgb = torch.from_numpy(np.stack(pictures + twins)[..., ::-1].copy()).permute(0, 3, 1, 2)
    return Batch(rgb, torch.from_numpy(np.tile(kinds, 2)), torch.from_numpy(np.stack(masks).astype(np.float32)))

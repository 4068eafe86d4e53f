"""Samples as tensors: decoded once, cached at training size, varied each time they are asked for."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from deploy.preprocess import Preprocessing
from pipeline.data.augment import augment, build_augmentation
from pipeline.data.augment.cut_paste import cut_defects
from pipeline.data.augment.settings import Augmentation
from pipeline.data.example import DEFECT, UNKNOWN, Example, read_example
from pipeline.data.sample import Sample

CACHE_BYTES = 3 << 30
"""Decoded pictures are kept in memory up to this much; the rest is decoded again each time."""


class Item(NamedTuple):
    """One training example, or a batch of them."""

    picture: Tensor
    """3 x H x W, RGB, uint8."""
    label: Tensor
    """1.0 is defective."""
    mask: Tensor
    """H x W, uint8, 1 where the defect is."""
    known: Tensor
    """H x W, uint8, 1 where the mask tells the truth: nowhere in a defective picture whose place nobody told, outside the boxes
    where only boxes tell it, everywhere else."""


class Pictures(Dataset[Item]):
    """The samples of one split, as they are, or varied anew each time as `augmentation` says.

    With `keep` decoded pictures stay in memory. Variation draws from torch's generator alone. Pasted defects are cut from these
    very samples. Raises DatasetError for a sample that cannot be read, RunError for an augmentation that does not fit the input.
    """

    def __init__(
        self, samples: Sequence[Sample], spec: Preprocessing, augmentation: Augmentation | None = None, keep: bool = True
    ) -> None:
        self.samples = samples
        self.spec = spec
        self.changes = build_augmentation(augmentation, spec) if augmentation else None
        # Filled before loader workers fork, so that they share it.
        room = CACHE_BYTES // (spec.height * spec.width * 4) if keep else 0
        self._cache = [read_example(sample, spec) for sample in samples[:room]]
        if self.changes and self.changes.cut_paste:
            masked = [index for index, sample in enumerate(samples) if sample.label == "defective" and sample.mask]
            self.changes = replace(self.changes, bank=cut_defects(map(self._example, masked)))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Item:
        example = self._example(index)
        if self.changes:
            example = augment(self.changes, example)
        mask, known = example.truth == DEFECT, example.truth != UNKNOWN
        return Item(example.picture, torch.tensor(float(example.defective)), mask.byte(), known.byte())

    def _example(self, index: int) -> Example:
        return self._cache[index] if index < len(self._cache) else read_example(self.samples[index], self.spec)

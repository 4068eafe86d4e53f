"""Samples as tensors: decoded, letterboxed by the edge's own code, cached at training size."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from deploy.preprocess import Picture, Preprocessing, letterbox, read_picture
from pipeline.data.masks import INSIDE, read_shades
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
    mask_known: Tensor
    """False for a defective picture without a mask, or with an empty one. Good pictures have a known, empty one."""


class Pictures(Dataset[Item]):
    """The samples of one split."""

    def __init__(
        self,
        samples: Sequence[Sample],
        spec: Preprocessing,
        change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
    ) -> None:
        self.samples = samples
        self.spec = spec
        self.change = change
        # Filled before loader workers fork, so that they share it.
        room = CACHE_BYTES // (spec.height * spec.width * 4)
        self._cache = [self._decode(sample) for sample in samples[:room]]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Item:
        sample = self.samples[index]
        framed, mask = self._cache[index] if index < len(self._cache) else self._decode(sample)
        picture = torch.from_numpy(framed).permute(2, 0, 1).flip(0)  # BGR to RGB
        place = torch.from_numpy(mask)
        if self.change is not None:
            picture, place = self.change(picture, place)
        known = sample.label == "good" or bool(mask.any())  # an empty mask of a defective picture says nothing of the place
        return Item(picture, torch.tensor(float(sample.label == "defective")), place, torch.tensor(known))

    def _decode(self, sample: Sample) -> tuple[Picture, Picture]:
        picture = read_picture(sample.file)
        return letterbox(picture, self.spec), read_mask(sample, picture.shape[:2], self.spec)


def read_mask(sample: Sample, size: tuple[int, int], spec: Preprocessing) -> Picture:
    """The sample's mask, letterboxed as its picture of `size` (height, width) is: H x W, 1 where the defect is."""
    if not sample.mask:
        return np.zeros((spec.height, spec.width), np.uint8)
    mask = read_shades(sample, size)
    if max(size) > max(spec.height, spec.width):
        mask = np.asarray(cv2.dilate(mask, np.ones((3, 3), np.uint8)), np.uint8)  # thin cracks must survive the shrinking
    black = spec.model_copy(update={"pad_bgr": (0, 0, 0)})
    return (letterbox(mask, black)[..., 0] > INSIDE).astype(np.uint8)

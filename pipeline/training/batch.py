"""What the network is trained on at each step, and how a batch is mixed with itself."""

from typing import NamedTuple

import torch
from timm.data.mixup import Mixup
from torch import Tensor

from pipeline.training.recipe import Recipe

MIX_PROBABILITY = 0.5


class Batch(NamedTuple):
    """N examples."""

    picture: Tensor | list[Tensor]
    """N x 3 x H x W, RGB, 0..255; in feature extraction the backbone's maps of it."""
    label: Tensor
    """N, 1.0 is defective, in between after mixing."""
    mask: Tensor
    """N x H x W or of heatmap cells, 1 where the defect is."""
    known: Tensor
    """As `mask`, 1 where it is known whether there is a defect."""


def build_mixup(recipe: Recipe) -> Mixup | None:
    """Mixup (Zhang et al., ICLR 2018) and CutMix (Yun et al., ICCV 2019) of half of the batches; None where both are off."""
    if not recipe.mixup and not recipe.cutmix:
        return None
    return Mixup(  # type: ignore[no-untyped-call]
        recipe.mixup, recipe.cutmix, prob=MIX_PROBABILITY, label_smoothing=0.0, num_classes=2
    )


def mix(batch: Batch, mixup: Mixup) -> Batch:
    """Mix pictures with their masks, as further planes of them, so that a defect's place moves with it."""
    assert isinstance(batch.picture, Tensor)
    if len(batch.label) % 2:  # timm pairs the first with the last
        return batch
    planes = torch.cat([batch.picture.float(), batch.mask.unsqueeze(1).float(), batch.known.unsqueeze(1).float()], dim=1)
    mixed, soft = mixup(planes, batch.label.long())
    return Batch(mixed[:, :3], soft[:, 1], mixed[:, 3], (mixed[:, 4] > 0.99).float())

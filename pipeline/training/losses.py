"""What the network is punished for: the wrong answer, and the right answer from the wrong place."""

import torch
import torch.nn.functional as F
from torch import Tensor


def picture_loss(logit: Tensor, label: Tensor, defect_weight: float, smoothing: float = 0.0) -> Tensor:
    """Binary cross-entropy of N logits; `defect_weight` makes up for class imbalance, `smoothing` pulls labels to the middle."""
    weight = torch.where(label > 0.5, defect_weight, 1.0)
    return F.binary_cross_entropy_with_logits(logit, label * (1 - smoothing) + smoothing / 2, weight)


def mask_target(mask: Tensor, height: int, width: int) -> Tensor:
    """Masks N x H x W in 0..1 -> N x height x width; max pooling, so that a defect smaller than a cell is not lost."""
    return F.adaptive_max_pool2d(mask.unsqueeze(1), (height, width)).squeeze(1)


DEFECT_PIXEL_WEIGHT = 8.0
"""Defects cover a thousandth of a picture; without this an empty heatmap is a good answer for many epochs."""


def pixel_loss(heatmap: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Weighted cross-entropy of heatmap logits N x h x w, over the pictures whose defect places are `known` (N, bool)."""
    if not known.any():
        return heatmap.sum() * 0
    weight = torch.where(target[known] > 0.5, DEFECT_PIXEL_WEIGHT, 1.0)
    return F.binary_cross_entropy_with_logits(heatmap[known], target[known], weight)

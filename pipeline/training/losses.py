"""What the network is punished for: the wrong answer, the right answer from the wrong place, and not answering as its teacher."""

import torch
import torch.nn.functional as F
from torch import Tensor


def picture_loss(
    logit: Tensor, label: Tensor, defect_weight: float = 1.0, smoothing: float = 0.0, focal_gamma: float = 0.0
) -> Tensor:
    """Binary cross-entropy of N logits against labels in 0..1.

    `defect_weight` makes up for class imbalance, `smoothing` pulls labels to the middle, `focal_gamma` makes pictures that are
    answered well count less (Lin et al.: Focal loss for dense object detection, ICCV 2017; for labels in between as Li et al.:
    Generalized focal loss, NeurIPS 2020).
    """
    label = label * (1 - smoothing) + smoothing / 2
    weight = 1 + (defect_weight - 1) * label.round()
    if focal_gamma:
        weight = weight * (label - logit.sigmoid()).abs().detach() ** focal_gamma
    return F.binary_cross_entropy_with_logits(logit, label, weight)


DEFECT_PIXEL_WEIGHT = 8.0
"""Defects cover a thousandth of a picture; without this an empty heatmap is a good answer for many epochs."""


def mask_target(mask: Tensor, height: int, width: int) -> Tensor:
    """Masks N x H x W in 0..1 -> N x height x width, by max pooling."""
    return F.adaptive_max_pool2d(mask.unsqueeze(1), (height, width)).squeeze(1)


def cell_truth(mask: Tensor, known: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Pixel masks and known maps N x H x W in 0..1 -> those of N x height x width heatmap cells.

    Max pooling, so that a defect smaller than a cell is not lost; a cell is known where a defect is, or all its pixels are known.
    """
    target = mask_target(mask.float(), height, width)
    unknown = mask_target(1 - known.float(), height, width)
    return target, torch.maximum(1 - unknown, (target > 0.5).float())


def pixel_loss(heatmap: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Weighted cross-entropy of heatmap logits over the cells whose truth is `known`; all N x h x w."""
    weight = known * (1 + (DEFECT_PIXEL_WEIGHT - 1) * target)
    losses = F.binary_cross_entropy_with_logits(heatmap, target, weight, reduction="sum")
    return losses / known.sum().clamp(min=1)


def distillation_loss(logit: Tensor, heatmap: Tensor, teacher_logit: Tensor, teacher_heatmap: Tensor) -> Tensor:
    """Cross-entropy against the teacher's probabilities, of pictures and of cells where both heatmaps have the same size.

    Hinton, Vinyals, Dean: Distilling the knowledge in a neural network, 2015; two classes need no temperature.
    """
    loss = F.binary_cross_entropy_with_logits(logit, teacher_logit.sigmoid())
    if heatmap.shape == teacher_heatmap.shape:
        loss = loss + F.binary_cross_entropy_with_logits(heatmap, teacher_heatmap.sigmoid())
    return loss

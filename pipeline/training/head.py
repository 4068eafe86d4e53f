"""Heads: backbone maps in, the picture's logit and a heatmap of the defect out."""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.training.recipe import Recipe

TOP_SHARE_POOLED = 0.1
"""Of the stride 32 cells, by `pooling: top-k`: at 320 px ten of a hundred."""


def build_head(recipe: Recipe, channels: Sequence[int], strides: Sequence[int]) -> nn.Module:
    """The recipe's head on maps of so many channels at these strides."""
    if recipe.head == "pooled":
        return PooledHead(channels[-1], recipe)
    return LocalisingHead(channels, strides, recipe)


class LocalisingHead(nn.Module):
    """All maps at a common width and the finest stride, a depthwise 3x3 and a 1x1 make one heatmap of the defect.

    The picture's logit is the mean of the heatmap's top 1 %, so a defect of ten pixels is learned from its place instead of
    being drowned by global pooling. After Bozic, Tabernik, Skocaj: Mixed supervision for surface-defect detection, Computers in
    Industry 129, 2021, but without their classifier on global features: those tell which part it is, and with few parts a
    network learns the parts by heart.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], recipe: Recipe) -> None:
        super().__init__()
        width, cells = recipe.head_width, recipe.height * recipe.width // strides[0] ** 2
        self.top = max(1, math.ceil(recipe.top_share * cells))
        self.scales = [stride / strides[0] for stride in strides]
        self.lateral = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels)
        self.mix = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout2d(recipe.dropout),
            nn.Conv2d(width, 1, 1),
        )

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Maps N x C x h x w, finest first -> logit N, heatmap logits N x h x w at the finest stride."""
        fused = self.lateral[0](maps[0])
        for lateral, deeper, scale in zip(list(self.lateral)[1:], maps[1:], self.scales[1:], strict=True):
            fused = fused + F.interpolate(lateral(deeper), scale_factor=scale, mode="bilinear", align_corners=False)
        heatmap = self.mix(fused).squeeze(1)
        return heatmap.flatten(1).topk(self.top, dim=1).values.mean(dim=1), heatmap


class PooledHead(nn.Module):
    """The usual transfer-learning classifier: pooling, a linear layer; its heatmap is the class activation map."""

    def __init__(self, channels: int, recipe: Recipe) -> None:
        super().__init__()
        self.pooling = recipe.pooling
        self.top = max(1, math.ceil(TOP_SHARE_POOLED * (recipe.height // 32) * (recipe.width // 32)))
        self.dropout = nn.Dropout(recipe.dropout)
        self.classifier = nn.Conv2d(channels, 1, 1)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """See LocalisingHead.forward; the heatmap is at stride 32."""
        pooled = self.dropout(self._pool(maps[-1]).unsqueeze(-1).unsqueeze(-1))
        return self.classifier(pooled).flatten(), self.classifier(maps[-1]).squeeze(1)

    def _pool(self, features: Tensor) -> Tensor:
        if self.pooling == "avg":
            return features.mean(dim=(2, 3))
        if self.pooling == "max":
            return features.amax(dim=(2, 3))
        if self.pooling == "avgmax":
            return 0.5 * (features.mean(dim=(2, 3)) + features.amax(dim=(2, 3)))
        return features.flatten(2).topk(self.top, dim=2).values.mean(dim=2)


def heatmap_size(recipe: Recipe) -> tuple[int, int]:
    """Height and width of the heatmap, in cells."""
    stride = recipe.heatmap_stride if recipe.head == "localising" else 32
    return recipe.height // stride, recipe.width // stride

"""The network: a timm backbone that gives features at strides 8, 16 and 32, and a light head that says where."""

import math
from typing import Any, cast

import timm
import torch
import torch.nn.functional as F
from timm.models import FeatureInfo
from torch import Tensor, nn

from deploy.errors import WeightsError
from pipeline.training.recipe import Recipe

STRIDES = (8, 16, 32)
HEAD_WIDTH = 64
TOP_SHARE = 0.01
"""Share of the heatmap whose mean is the picture's logit."""


class LocalisingHead(nn.Module):
    """Three maps at a common width at stride 8, a depthwise 3x3 and a 1x1 make one heatmap of the defect.

    The picture's logit is the mean of the heatmap's top 1 %, so a defect of ten pixels is learned from its place instead of
    being drowned by global pooling. After Bozic, Tabernik, Skocaj: Mixed supervision for surface-defect detection, Computers in
    Industry 129, 2021, but without their classifier on global features: those tell which part it is, and with few parts a
    network learns the parts by heart.
    """

    def __init__(self, channels: list[int], dropout: float, cells: int) -> None:
        super().__init__()
        self.top = max(1, math.ceil(TOP_SHARE * cells))
        self.lateral = nn.ModuleList(nn.Conv2d(count, HEAD_WIDTH, 1) for count in channels)
        self.mix = nn.Sequential(
            nn.BatchNorm2d(HEAD_WIDTH),
            nn.ReLU(),
            nn.Conv2d(HEAD_WIDTH, HEAD_WIDTH, 3, padding=1, groups=HEAD_WIDTH, bias=False),
            nn.BatchNorm2d(HEAD_WIDTH),
            nn.ReLU(),
            nn.Dropout2d(dropout),
            nn.Conv2d(HEAD_WIDTH, 1, 1),
        )

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Maps N x C x h x w at strides 8, 16, 32 -> logit N, heatmap logits N x h x w at stride 8."""
        fused = self.lateral[0](maps[0])
        for lateral, deeper, stride in zip(list(self.lateral)[1:], maps[1:], STRIDES[1:], strict=True):
            fused = fused + F.interpolate(lateral(deeper), scale_factor=stride / STRIDES[0], mode="bilinear", align_corners=False)
        heatmap = self.mix(fused).squeeze(1)
        return heatmap.flatten(1).topk(self.top, dim=1).values.mean(dim=1), heatmap


class PooledHead(nn.Module):
    """The usual transfer-learning classifier: global average pooling, a linear layer; its heatmap is the class activation map."""

    def __init__(self, channels: list[int], dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Conv2d(channels[-1], 1, 1)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """See LocalisingHead.forward; the heatmap is at stride 32."""
        pooled = self.dropout(maps[-1].mean(dim=(2, 3), keepdim=True))
        return self.classifier(pooled).flatten(), self.classifier(maps[-1]).squeeze(1)


class InspectionModel(nn.Module):
    """Backbone and head on normalised pictures."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        if recipe.source is None:
            raise ValueError("the recipe's source weights must be resolved first")
        padding: dict[str, Any] = {"pad_type": "same"} if recipe.source.same_padding else {}
        # Stages of these families lie at strides 2, 4, 8, 16 and 32.
        unfit = f"{recipe.backbone} does not give features at strides 8, 16 and 32; choose a MobileNet or EfficientNet"
        try:
            self.backbone = timm.create_model(
                recipe.backbone, features_only=True, pretrained=False, out_indices=(2, 3, 4), **padding
            )
        except (AssertionError, IndexError, RuntimeError, TypeError) as error:  # each family has its own way to refuse
            raise WeightsError(f"{unfit} (timm: {error})") from error
        info = cast(FeatureInfo, self.backbone.feature_info)
        if tuple(info.reduction()) != STRIDES:
            raise WeightsError(unfit)
        channels = info.channels()
        cells = recipe.height * recipe.width // STRIDES[0] ** 2
        self.head: nn.Module = (
            LocalisingHead(channels, recipe.dropout, cells)
            if recipe.head == "localising"
            else PooledHead(channels, recipe.dropout)
        )
        self.register_buffer("mean", 255 * torch.tensor(recipe.source.mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(recipe.source.std).view(1, 3, 1, 1))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures N x 3 x H x W, RGB, 0..255 -> logit N, heatmap logits N x h x w."""
        normalised = (pictures.float() - cast(Tensor, self.mean)) / cast(Tensor, self.std)
        return cast(tuple[Tensor, Tensor], self.head(self.backbone(normalised)))

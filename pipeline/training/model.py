"""The network: a timm backbone that gives features at strides 8, 16 and 32 (or 4, or from 16 on), and a light head."""

from collections.abc import Sequence
from typing import Any, cast

import timm
import torch
from timm.models import FeatureInfo
from torch import Tensor, nn

from deploy.errors import WeightsError
from pipeline.training.head import build_head
from pipeline.training.recipe import Recipe

STRIDES = (4, 8, 16, 32)


class InspectionModel(nn.Module):
    """Backbone and head on normalised pictures."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        if recipe.source is None:
            raise ValueError("the recipe's source weights must be resolved first")
        finest = recipe.heatmap_stride if recipe.head == "localising" else 8
        strides = STRIDES[STRIDES.index(finest) :]
        options: dict[str, Any] = {"pad_type": "same"} if recipe.source.same_padding else {}
        if recipe.drop_path:
            options["drop_path_rate"] = recipe.drop_path
        # Stages of these families lie at strides 2, 4, 8, 16 and 32.
        unfit = f"{recipe.backbone} does not give features at strides 8, 16 and 32; choose a MobileNet or EfficientNet"
        try:
            self.backbone = timm.create_model(
                recipe.backbone,
                features_only=True,
                pretrained=False,
                out_indices=tuple(range(STRIDES.index(finest) + 1, 5)),
                **options,
            )
        except (AssertionError, IndexError, RuntimeError, TypeError) as error:  # each family has its own way to refuse
            raise WeightsError(f"{unfit} (timm: {error})") from error
        info = cast(FeatureInfo, self.backbone.feature_info)
        if tuple(info.reduction()) != strides:
            raise WeightsError(unfit)
        self.head = build_head(recipe, info.channels(), strides)
        self.register_buffer("mean", 255 * torch.tensor(recipe.source.mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(recipe.source.std).view(1, 3, 1, 1))

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Pictures N x 3 x H x W, RGB, 0..255 -> the backbone's maps N x C x h x w, finest first."""
        normalised = (pictures.float() - cast(Tensor, self.mean)) / cast(Tensor, self.std)
        return cast(list[Tensor], self.backbone(normalised))

    def answer(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The backbone's maps -> logit N, heatmap logits N x h x w."""
        return cast(tuple[Tensor, Tensor], self.head(maps))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures N x 3 x H x W, RGB, 0..255 -> logit N, heatmap logits N x h x w."""
        return self.answer(self.features(pictures))

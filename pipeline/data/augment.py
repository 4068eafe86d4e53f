"""Training-time variation of pictures and their masks, by torchvision's transforms."""

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from deploy.preprocess import Preprocessing
from pipeline.training.recipe import Augmentation


def build_augmentation(augmentation: Augmentation, spec: Preprocessing) -> v2.Transform:
    """Turn the recipe's switches into one transform of (picture 3 x H x W RGB uint8, mask H x W uint8)."""
    blue, green, red = spec.pad_bgr
    fill = {tv_tensors.Image: [red, green, blue], tv_tensors.Mask: 0}
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(0.5 if augmentation.flip_horizontal else 0.0),
            v2.RandomVerticalFlip(0.5 if augmentation.flip_vertical else 0.0),
            v2.RandomAffine(
                augmentation.rotation,
                translate=(augmentation.shift, augmentation.shift),
                scale=(1 - augmentation.scale, 1 + augmentation.scale),
                interpolation=v2.InterpolationMode.BILINEAR,
                fill=fill,
            ),
            v2.ColorJitter(brightness=augmentation.brightness, contrast=augmentation.contrast),
        ]
    )


def augment(transform: v2.Transform, picture: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Apply one transform to a picture 3 x H x W and its mask H x W alike."""
    changed, moved = transform(tv_tensors.Image(picture), tv_tensors.Mask(mask))
    return changed.as_subclass(torch.Tensor), moved.as_subclass(torch.Tensor)

"""Moving pictures whose surroundings have the colour of the letterbox bars.

Pixels are moved as differences to that colour, so that the zeros which torchvision moves in from outside are it. Its own `fill`
is slower, and draws a dark line where a picture ends: with bilinear weights it multiplies the border by its share twice.
"""

import torch
from torch import Tensor
from torchvision import tv_tensors

from deploy.preprocess import Preprocessing


def pad_rgb(spec: Preprocessing) -> Tensor:
    """The colour of the letterbox bars: 3 x 1 x 1, float."""
    return torch.tensor(spec.pad_bgr[::-1], dtype=torch.float32).view(3, 1, 1)


def sink(picture: Tensor, pad: Tensor) -> tv_tensors.Image:
    """Picture 3 x H x W uint8 -> float, 0 where it has the colour `pad`."""
    return tv_tensors.Image(picture.as_subclass(Tensor).float().sub_(pad))


def lift(picture: Tensor, pad: Tensor) -> tv_tensors.Image:
    """Undo `sink`."""
    return tv_tensors.Image(picture.as_subclass(Tensor).add(pad).round_().clamp_(0, 255).byte())

"""What a camera does to a part's picture and torchvision has no random transform for."""

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

READ_NOISE = 0.25
"""Noise in the dark, as a share of that at white: a well exposed 8 bit industrial camera has less, a dim one more."""


def bend_brightness(picture: Tensor, most: float) -> Tensor:
    """Apply a random gamma between 1 / (1 + most) and 1 + most, as likely below 1 as above."""
    exponent = (1 + most) ** float(torch.empty(()).uniform_(-1, 1))
    bent: Tensor = F.adjust_gamma(picture, exponent)
    return bent


def add_noise(picture: Tensor, most: float) -> Tensor:
    """Add a camera's noise of a random strength up to `most` grey levels at white: see `camera_noise`."""
    return camera_noise(picture, most * float(torch.rand(())))


def camera_noise(picture: Tensor, strength: float) -> Tensor:
    """Noise of 3 x H x W uint8 with a standard deviation of `strength` grey levels at white.

    Shot noise grows with the square root of the brightness, read noise is there in the dark too: the linear camera model of
    EMVA 1288, its variance = read noise + brightness.
    """
    value = picture.float()
    deviation = strength * (value / 255 * (1 - READ_NOISE**2) + READ_NOISE**2).sqrt()
    return (value + deviation * torch.randn(value.shape)).round_().clamp_(0, 255).byte()

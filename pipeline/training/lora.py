"""Low-rank adaptation: the backbone stays as it is, and small additions to its layers learn; merged, they leave no trace.

Hu et al.: LoRA, low-rank adaptation of large language models, ICLR 2022. By peft for pointwise convolutions and linear layers.
peft cannot merge into depthwise convolutions, and its additions to them have more parameters than they: here these get a low-rank
matrix over (channel, kernel place), by torch's parametrization.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

if TYPE_CHECKING:
    from peft.tuners.lora import LoraModel


class DepthwiseAddition(nn.Module):
    """Adds a matrix of low rank to a depthwise kernel C x 1 x k x k; nothing at first."""

    def __init__(self, kernel: Tensor, rank: int) -> None:
        super().__init__()
        channels, places = kernel.shape[0], kernel[0].numel()
        self.down = nn.Parameter(torch.randn(rank, places) * places**-0.5)
        self.up = nn.Parameter(torch.zeros(channels, rank))

    def forward(self, kernel: Tensor) -> Tensor:
        """The kernel with its addition."""
        return kernel + (self.up @ self.down).view_as(kernel)


def add_lora(backbone: nn.Module, rank: int) -> LoraModel:
    """Freeze a backbone and give its layers additions that learn, in place; hand the result to `merge_lora` after training."""
    from peft import LoraConfig  # seconds to import, and only for this strategy
    from peft.tuners.lora import LoraModel

    backbone.requires_grad_(False)
    layers = dict(backbone.named_modules())
    depthwise = [one for one in layers.values() if isinstance(one, nn.Conv2d) and one.groups == one.in_channels > 1]
    dense = [
        name
        for name, one in layers.items()
        if isinstance(one, nn.Linear) or (isinstance(one, nn.Conv2d) and one.groups == 1 and one.kernel_size == (1, 1))
    ]
    adapted = LoraModel(backbone, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=dense), "default")
    for layer in depthwise:
        parametrize.register_parametrization(layer, "weight", DepthwiseAddition(layer.weight, rank))
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(is_addition(name))
    return adapted


def is_addition(name: str) -> bool:
    """Whether a parameter of an adapted backbone is one of the additions."""
    return ".lora_" in name or ".parametrizations.weight.0." in name


def merge_lora(adapted: LoraModel) -> None:
    """Add the additions to the backbone's own weights, in place: afterwards it has the layers it had before."""
    backbone = adapted.merge_and_unload()
    for layer in list(backbone.modules()):
        if parametrize.is_parametrized(layer):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    backbone.requires_grad_(True)

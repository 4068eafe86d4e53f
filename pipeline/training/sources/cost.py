"""What a backbone costs on the line: parameters, multiply-adds, and milliseconds a picture on this processor."""

import time
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from pipeline.training.model import InspectionModel
from pipeline.training.recipe import Recipe

PASSES = 5


@dataclass(frozen=True)
class Cost:
    """Of one picture at the recipe's size, with the recipe's head."""

    parameters: int
    multiply_adds: int
    milliseconds: float
    """The fastest of a few passes in torch, batch 1, on this processor: engines on the line are faster, in about this order."""


def measure_cost(recipe: Recipe) -> Cost:
    """Cost of the recipe's network; its source must be resolved. Raises WeightsError for a backbone that does not fit."""
    model = InspectionModel(recipe).eval()
    picture = torch.zeros(1, 3, recipe.height, recipe.width, dtype=torch.uint8)
    seconds = []
    with torch.inference_mode():
        for _ in range(PASSES):
            started = time.perf_counter()
            model(picture)
            seconds.append(time.perf_counter() - started)
        with FlopCounterMode(display=False) as counter:
            model.to("meta")(picture.to("meta"))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Cost(parameters, counter.get_total_flops() // 2, round(1000 * min(seconds), 1))

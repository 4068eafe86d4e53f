"""Quantisation-aware fine-tuning: the network learns to answer as before although its activations and weights are rounded.

The FP32 graph is the teacher, the same graph with rounding is the pupil: no label is needed, and what is asked of INT8 is what is
taught. Gradients pass rounding as if it were not there (Bengio et al., 2013), and the steps of activations are learned too (LSQ,
Esser et al., 2020).
"""

import copy
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pipeline.data.pictures import Item, Pictures
from pipeline.data.prepare import counting
from pipeline.export.int8.layouts import Layout, candidates
from pipeline.export.int8.ranges import Range, Ranges

BATCH = 16


@dataclass(frozen=True)
class Tuned:
    """A graph with other weights, and the ranges it was tuned for."""

    graph: onnx.ModelProto
    ranges: Ranges


class _Round(torch.autograd.Function):
    """Values, the length of a step (1), the number that zero has, the lowest and the highest number -> rounded values.

    torch's own learnable fake quantisation does the same at five times the time of an epoch.
    """

    @staticmethod
    def forward(context: Any, values: Tensor, step: Tensor, zero: float, lowest: int, highest: int) -> Tensor:
        steps = values / step
        number = torch.clamp(torch.round(steps) + zero, lowest, highest) - zero
        inside = (steps >= lowest - zero) & (steps <= highest - zero)
        context.save_for_backward(torch.where(inside, number - steps, number), inside)
        context.scale = (values.numel() * highest) ** -0.5  # as LSQ has it: or the step would learn faster the larger a map is
        return number * step

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        of_step, inside = context.saved_tensors
        return gradients[0] * inside, (gradients[0] * of_step).sum().reshape(1) * context.scale, None, None, None


class _Rounded(nn.Module):
    """A convolution or matrix product as INT8 does it."""

    def __init__(self, layer: nn.Module, span: Range, symmetric: bool) -> None:
        super().__init__()
        self.layer = layer
        self.lowest, self.highest = (-127, 127) if symmetric else (0, 255)
        low, high = span
        step = max(abs(low), abs(high)) / 127 if symmetric else (high - low) / 255
        self.step = nn.Parameter(torch.tensor([max(step, 1e-8)], dtype=torch.float32))
        self.zero = 0.0 if symmetric else float(round(-low / max(step, 1e-8)))

    def forward(self, values: Tensor) -> Tensor:
        """N x C x H x W -> N x D x H' x W'."""
        rounded = cast(Tensor, _Round.apply(values, self.step.abs(), self.zero, self.lowest, self.highest))
        weight = cast(Tensor, self.layer.weight)
        # The last step is a little longer than rounding needs: the largest weight of a channel must not be clipped.
        steps = (weight.detach().abs().flatten(1).amax(1) / 127).clamp(min=1e-12)
        zeros = torch.zeros_like(steps, dtype=torch.int32)
        stood = torch.fake_quantize_per_channel_affine(weight, steps, zeros, 0, -127, 127)
        return cast(Tensor, torch.func.functional_call(self.layer, {"weight": stood}, (rounded,)))

    def span(self) -> Range:
        """Lowest and highest value that the learned steps reach."""
        step = float(self.step.detach().abs())
        return step * (self.lowest - self.zero), step * (self.highest - self.zero)


def tune(
    fp32: onnx.ModelProto,
    start: Tuned,
    layout: Layout,
    in_float: Collection[str],
    pictures: Pictures,
    epochs: int,
    rate: float,
    seed: int,
) -> Tuned:
    """Fine-tune for the quantisation of all candidates but `in_float`, on augmented pictures of the training groups.

    `fp32` is the teacher; weights and ranges begin as in `start`, which may be the same graph.
    """
    teacher, pupil = _torch(fp32), _torch(start.graph)
    for parameter in teacher.parameters():
        parameter.requires_grad_(False)
    nodes = [node for node in candidates(fp32) if node.name not in in_float]
    layers = {node.name: _name(pupil, node.name) for node in candidates(fp32)}
    for node in nodes:
        rounded = _Rounded(pupil.get_submodule(layers[node.name]), start.ranges[node.input[0]], layout.symmetric)
        pupil.set_submodule(layers[node.name], rounded)
    steps = [parameter for name, parameter in pupil.named_parameters() if name.endswith(".step")]
    weights = [parameter for name, parameter in pupil.named_parameters() if name.endswith((".weight", ".bias"))]
    torch.manual_seed(seed)
    loader: DataLoader[Any] = DataLoader(pictures, BATCH, shuffle=True, drop_last=len(pictures) > BATCH)
    optimiser = torch.optim.Adam([{"params": weights, "lr": rate}, {"params": steps, "lr": rate / 10}])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [rate, rate / 10], total_steps=epochs * len(loader), pct_start=0.1)
    with counting("fine-tuning for INT8") as show:
        for epoch in range(epochs):
            for number, item in enumerate(loader):
                frames = _frames(item)
                with torch.no_grad():
                    wanted = teacher(frames)
                loss = torch.stack(
                    [nn.functional.mse_loss(one, two) for one, two in zip(pupil(frames), wanted, strict=True)]
                ).sum()
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
                show(epoch * len(loader) + number + 1, epochs * len(loader))
    learned = {node.input[0]: cast(_Rounded, pupil.get_submodule(layers[node.name])).span() for node in nodes}
    return Tuned(_with_weights(start.graph, pupil, layers), {**start.ranges, **learned})


def _torch(graph: onnx.ModelProto) -> nn.Module:
    """The graph as a torch module from frames to the log-odds behind both outputs."""
    from onnx2torch import convert

    cut = onnx.ModelProto()
    cut.CopyFrom(graph)
    makers = {name: node for node in graph.graph.node for name in node.output}
    before = [makers[output.name].input[0] for output in graph.graph.output]  # of the softmax, of the sigmoid
    del cut.graph.output[:]
    cut.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in before)
    kept = {node.name for node in cut.graph.node} - {makers[output.name].name for output in graph.graph.output}
    nodes = [node for node in cut.graph.node if node.name in kept]
    del cut.graph.node[:]
    cut.graph.node.extend(nodes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module: nn.Module = convert(cut)
    return module.eval()


def _name(module: nn.Module, node: str) -> str:
    """Where onnx2torch puts a node's layer: uneven padding makes two layers of it."""
    name = node.strip("/").replace(".", "/")
    return f"{name}.1" if isinstance(module.get_submodule(name), nn.Sequential) else name


def _frames(item: Item) -> Tensor:
    """N x 3 x H x W of RGB -> N x H x W x 3 of BGR, as the graph takes them."""
    return item.picture.flip(1).permute(0, 2, 3, 1).contiguous()


def _with_weights(graph: onnx.ModelProto, pupil: nn.Module, layers: dict[str, str]) -> onnx.ModelProto:
    """A copy of the graph with the pupil's weights and biases."""
    changed = onnx.ModelProto()
    changed.CopyFrom(graph)
    constants = {one.name: one for one in changed.graph.initializer}
    for node in candidates(graph):
        layer = pupil.get_submodule(layers[node.name])
        plain = copy.deepcopy(layer.layer if isinstance(layer, _Rounded) else layer)
        for name, values in zip(node.input[1:], (plain.weight, plain.bias), strict=False):
            array = cast(Tensor, values).detach().numpy().astype(np.float32)
            constants[name].CopyFrom(numpy_helper.from_array(array, name))
    return changed

"""Quantisation-aware fine-tuning: the network learns to answer as before although its activations and weights are rounded.

The FP32 graph is the teacher, the same graph with rounding is the pupil: no label is needed, and what is asked of INT8 is what is
taught. Gradients pass rounding as if it were not there (Bengio et al., 2013), and the steps of activations are learned too (LSQ,
Esser et al., 2020).
"""

import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, cast

import onnx
import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.utils.data import DataLoader

from pipeline.data.pictures import Item, Pictures
from pipeline.data.prepare import counting
from pipeline.export.int8.layouts import Layout, candidates
from pipeline.export.int8.ranges import Range, Ranges
from pipeline.export.int8.weights import Weights, with_weights

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


class _Activation(nn.Module):
    """A tensor as INT8 holds it, with a step that is learned."""

    def __init__(self, span: Range, symmetric: bool) -> None:
        super().__init__()
        self.lowest, self.highest = (-127, 127) if symmetric else (0, 255)
        low, high = span
        step = max(1e-8, max(abs(low), abs(high)) / 127 if symmetric else (high - low) / 255)
        self.step = nn.Parameter(torch.tensor([step], dtype=torch.float32))
        self.zero = 0.0 if symmetric else float(round(-low / step))

    def forward(self, values: Tensor) -> Tensor:
        """Of any shape."""
        return cast(Tensor, _Round.apply(values, self.step.abs(), self.zero, self.lowest, self.highest))

    def span(self) -> Range:
        """Lowest and highest value that the learned step reaches."""
        step = float(self.step.detach().abs())
        return step * (self.lowest - self.zero), step * (self.highest - self.zero)


class _Weights(nn.Module):
    """A convolution with its weights as INT8 holds them, per output channel."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, values: Tensor) -> Tensor:
        """N x C x H x W -> N x D x H' x W'."""
        weight = cast(Tensor, self.layer.weight)
        steps = (weight.detach().abs().flatten(1).amax(1) / 127).clamp(min=1e-12)
        rounded = torch.fake_quantize_per_channel_affine(weight, steps, torch.zeros_like(steps, dtype=torch.int32), 0, -127, 127)
        return cast(Tensor, torch.func.functional_call(self.layer, {"weight": rounded}, (values,)))


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
    for parameter in [*teacher.parameters(), *pupil.parameters()]:
        parameter.requires_grad_(False)  # of the pupil only what the graph gets back learns
    rounded = round_as_int8(pupil, start, layout, in_float)
    weights = list(dict.fromkeys(parameter for _, layer in _layers(pupil, fp32) for parameter in layer.parameters()))
    steps = [module.step for module in rounded.values()]
    for parameter in weights:
        parameter.requires_grad_(True)
    torch.manual_seed(seed)
    loader: DataLoader[Any] = DataLoader(pictures, BATCH, shuffle=True, drop_last=len(pictures) > BATCH)
    optimiser = torch.optim.Adam([{"params": weights, "lr": rate}, {"params": steps, "lr": rate / 10}])
    total = epochs * len(loader)
    # Of ten steps a tenth would be a warm-up of no steps, which torch divides by.
    warm_up = max(0.1, 1.5 / total)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [rate, rate / 10], total_steps=total, pct_start=warm_up)
    with counting("fine-tuning for INT8") as show, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Using a non-tuple sequence")  # onnx2torch's, of its own slicing
        for epoch in range(epochs):
            for number, item in enumerate(loader):
                frames = _frames(item)
                with torch.no_grad():
                    wanted = teacher(frames)
                losses = [nn.functional.mse_loss(one, two) for one, two in zip(pupil(frames), wanted, strict=True)]
                loss = torch.stack(losses).sum()
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
                show(epoch * len(loader) + number + 1, total)
    learned = {name: module.span() for name, module in rounded.items()}
    return Tuned(with_weights(start.graph, _learned(start.graph, pupil)), {**start.ranges, **learned})


def round_as_int8(pupil: GraphModule, start: Tuned, layout: Layout, in_float: Collection[str]) -> dict[str, _Activation]:
    """Put the rounding of all candidates but `in_float` into a network, in place; returns that of each tensor.

    A tensor is rounded for all that read it, as the quantiser's Q/DQ pair does: the sum of a residual block too.
    """
    rounded: dict[str, _Activation] = {}
    for node in candidates(start.graph):
        if node.name in in_float:
            continue
        place, tensor = _place(node.name), node.input[0]
        if tensor not in rounded:
            rounded[tensor] = _Activation(start.ranges[tensor], layout.symmetric)
            name = f"rounded_{len(rounded)}"
            pupil.add_submodule(name, rounded[tensor])
            source = next(one for one in pupil.graph.nodes if one.target == place).args[0]
            with pupil.graph.inserting_after(source):
                after = pupil.graph.call_module(name, (source,))
            source.replace_all_uses_with(after, delete_user_cb=lambda user, after=after: user is not after)
        inner = f"{place}.1" if isinstance(pupil.get_submodule(place), nn.Sequential) else place  # the first pads
        pupil.set_submodule(inner, _Weights(pupil.get_submodule(inner)))
    pupil.recompile()
    return rounded


def _torch(graph: onnx.ModelProto) -> GraphModule:
    """The graph as a torch module from frames to the log-odds behind both outputs; what shares weights there shares them here."""
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
        module: GraphModule = convert(cut).eval()
    first: dict[str, nn.Parameter] = {}
    for node, layer in _layers(module, graph):
        for slot, name in zip(("weight", "bias"), node.input[1:], strict=False):
            setattr(layer, slot, first.setdefault(name, getattr(layer, slot)))
    return module


def _place(node: str) -> str:
    """Where onnx2torch puts a node's layer."""
    return node.strip("/").replace(".", "/")


def _layers(module: nn.Module, graph: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto, nn.Module]]:
    """Each candidate with its convolution, whatever it is wrapped in."""
    for node in candidates(graph):
        layer = module.get_submodule(_place(node.name))
        layer = layer[1] if isinstance(layer, nn.Sequential) else layer
        yield node, layer.layer if isinstance(layer, _Weights) else layer


def _frames(item: Item) -> Tensor:
    """N x 3 x H x W of RGB -> N x H x W x 3 of BGR, as the graph takes them."""
    return item.picture.flip(1).permute(0, 2, 3, 1).contiguous()


def _learned(graph: onnx.ModelProto, pupil: nn.Module) -> Weights:
    """The pupil's weights and biases, by their names in the graph."""
    return {
        name: cast(Tensor, values).detach().numpy()
        for node, layer in _layers(pupil, graph)
        for name, values in zip(node.input[1:], (layer.weight, layer.bias), strict=False)
    }

"""Is a quantised ONNX graph laid out as TensorRT 8.5 to 11 take it? Answered without TensorRT, before any bundle ships.

TensorRT refuses some layouts at parsing, others at building, and takes others but runs them slowly in floating point. Each rule
says which, and for which version it is known. Where a rule is about speed, NVIDIA's developer guide ("Q/DQ layer placement
recommendations", the same since 8.0) is the source; the sources of the others stand with their rule.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper

from deploy.errors import BundleError
from pipeline.export.graph import OPSET

LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Layers with weights, the ones with INT8 kernels; the picture or map is input 0, the weights input 1, the bias input 2."""

LINEAR = frozenset({"QuantizeLinear", "DequantizeLinear"})
INTEGER = frozenset({"QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"})
CONTROL = frozenset({"ScatterND", "NonZero", "If", "Loop"})


@dataclass(frozen=True)
class Fault:
    """One place where the graph breaks a rule."""

    rule: str
    node: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.rule} at {self.node}: found {self.found}, expected {self.expected}"


def check_qdq(graph: onnx.ModelProto | Path) -> list[Fault]:
    """All faults of a graph, in the order of these rules; empty for a sound graph and for one in floating point.

    Raises BundleError for a file that cannot be read whole.

    - `opset`: 17. The parsers of 8.x misread the ReduceMean of 18, which squeeze-and-excite uses.
    - `operator`: no ScatterND, NonZero, If or Loop (this project's own rule, for 8.5), nothing from other domains, and no
      integer operators such as QLinearConv: no version imports them, Q/DQ alone tells TensorRT what is INT8.
    - `pair`: DequantizeLinears of the same scale, and nothing else, follow a QuantizeLinear; a QuantizeLinear precedes every
      DequantizeLinear; both lead somewhere. Weights too: floating point, then both. Newer versions also document INT8 constants,
      8.6 was seen to fail on them (TensorRT issue 3360).
    - `bias`: no quantised bias. All versions refuse a DequantizeLinear of INT32 at parsing.
    - `signed-int8`: zero points, and so the quantised values, are INT8. Older parsers read UINT8 as INT8 with a mere warning (and
      give wrong answers), newer ones refuse. The graph's own UINT8 input is no quantised value.
    - `zero-point`: constant and 0. All versions refuse others at parsing.
    - `scale`: constant, finite and positive. All versions refuse others (8.6: "Scale coefficients must all be positive").
    - `axis`: weights have one scale per channel along the axis of `_axis`, activations one scale altogether. All versions.
    - `half-quantised`: a layer's input and weights are both quantised, or neither is: one alone brings the losses of INT8 without
      its kernel. A layer left in floating point may share its input with a quantised one.
    - `stem`: a convolution of three channels stays in floating point. 11.3 has no INT8 kernel for it: the build fails.
    - `double-add`: at most one input of an Add is quantised. All versions fuse the Add into the convolution that makes the other
      input, unless that one is quantised as well.
    - `output`: a layer's own output is not quantised, because a Q/DQ there parts it from its activation. All versions. It may be
      the next layer's input, or a shortcut to an Add whose other input a layer makes.
    """
    model = _load(graph) if isinstance(graph, Path) else graph
    if not model.graph.node or not model.opset_import:
        name = graph if isinstance(graph, Path) else "the graph"
        raise BundleError(
            f"{name} has no nodes or no opset, a whole ONNX graph was expected: it is empty or cut off; export again"
        )
    links = _link(model)
    return [fault for rule in _RULES for fault in rule(links)]


def is_quantised(graph: onnx.ModelProto) -> bool:
    """Is anything in the graph quantised? False for a graph in floating point, in which check_qdq has little to find."""
    return any(node.op_type in LINEAR | INTEGER for node in graph.graph.node)


@dataclass(frozen=True)
class _Links:
    opset: int
    nodes: list[NodeProto]
    constants: dict[str, NDArray[np.generic]]
    producers: dict[str, NodeProto]
    consumers: dict[str, list[NodeProto]]
    outputs: frozenset[str]

    def producer(self, tensor: str, *operators: str) -> NodeProto | None:
        node = self.producers.get(tensor)
        return node if node is not None and node.op_type in operators else None

    def dequantise(self, node: NodeProto, index: int) -> NodeProto | None:
        """The DequantizeLinear that makes an input of a node, if one does."""
        return self.producer(_input(node, index), "DequantizeLinear")

    def quantise(self, dequantise: NodeProto) -> NodeProto | None:
        return self.producer(_input(dequantise, 0), "QuantizeLinear")

    def layers(self) -> Iterator[NodeProto]:
        return (node for node in self.nodes if node.op_type in LAYERS)

    def weights(self, layer: NodeProto) -> NDArray[np.generic] | None:
        """A layer's weights, before or behind Q/DQ; None if they are computed."""
        name = _input(layer, 1)
        for operator in ("DequantizeLinear", "QuantizeLinear"):
            before = self.producer(name, operator)
            name = name if before is None else _input(before, 0)
        return self.constants.get(name)

    def is_bias(self, node: NodeProto) -> bool:
        if node.op_type != "DequantizeLinear":
            return False
        if any(name in self.constants and self.constants[name].dtype == np.int32 for name in (_input(node, 0), _input(node, 2))):
            return True
        return any(user.op_type in LAYERS and _input(user, 2) == node.output[0] for user in self.users(node))

    def users(self, node: NodeProto) -> list[NodeProto]:
        return [user for tensor in node.output for user in self.consumers.get(tensor, [])]

    def linear(self, index: int) -> Iterator[tuple[NodeProto, str]]:
        """Q/DQ nodes with their scale (1) or zero point (2), each tensor once: pairs share theirs; biases have their own rule."""
        seen = set()
        for node in self.nodes:
            name = _input(node, index)
            if node.op_type in LINEAR and not self.is_bias(node) and name not in seen:
                if name:
                    seen.add(name)
                yield node, name


def _load(file: Path) -> onnx.ModelProto:
    try:
        return onnx.load(file)
    except Exception as error:  # protobuf, onnx and the system each raise their own
        said = f"{file} cannot be read as an ONNX graph ({error}): it is missing, torn or no ONNX file; export again"
        raise BundleError(said) from error


def _link(model: onnx.ModelProto) -> _Links:
    nodes = list(model.graph.node)
    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    for node in nodes:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                constants[node.output[0]] = numpy_helper.to_array(attribute.t)
    consumers: dict[str, list[NodeProto]] = {}
    for node in nodes:
        for tensor in dict.fromkeys(filter(None, node.input)):  # an input left out has the empty name
            consumers.setdefault(tensor, []).append(node)
    return _Links(
        opset=next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 0),
        nodes=nodes,
        constants=constants,
        producers={tensor: node for node in nodes for tensor in node.output if tensor},
        consumers=consumers,
        outputs=frozenset(one.name for one in model.graph.output),
    )


def _input(node: NodeProto, index: int) -> str:
    return node.input[index] if len(node.input) > index else ""


def _name(node: NodeProto) -> str:
    return node.name or (node.output[0] if node.output else node.op_type)


def _attribute(node: NodeProto, name: str, default: int) -> int:
    return next((one.i for one in node.attribute if one.name == name), default)


def _opset(links: _Links) -> Iterator[Fault]:
    if links.opset != OPSET:
        yield Fault("opset", "the graph", f"opset {links.opset}", f"opset {OPSET}")


def _operators(links: _Links) -> Iterator[Fault]:
    for node in links.nodes:
        if node.domain not in ("", "ai.onnx"):
            yield Fault("operator", _name(node), f"{node.op_type} of {node.domain}", "an operator of the ONNX standard")
        elif node.op_type in INTEGER | CONTROL:
            instead = "a floating-point layer behind Q/DQ" if node.op_type in INTEGER else "a graph without"
            yield Fault("operator", _name(node), node.op_type, instead)


def _pairs(links: _Links) -> Iterator[Fault]:
    for node in links.nodes:
        if node.op_type not in LINEAR or links.is_bias(node):
            continue
        users, leaves = links.users(node), not links.outputs.isdisjoint(node.output)
        others = [_name(user) for user in users if user.op_type != "DequantizeLinear"] + ["the outside"] * leaves
        if not users and not leaves:
            yield Fault("pair", _name(node), "an output that nothing uses", "a Q/DQ pair that leads somewhere")
        elif node.op_type == "QuantizeLinear" and others:
            yield Fault("pair", _name(node), f"an output that goes to {', '.join(others)}", "DequantizeLinear behind it")
        if node.op_type == "DequantizeLinear":
            before, constant = links.quantise(node), links.constants.get(_input(node, 0))
            if before is None:
                found = "no QuantizeLinear before it" if constant is None else f"{constant.dtype.name} constants"
                yield Fault("pair", _name(node), found, "QuantizeLinear before it")
            elif _differ(links, _input(before, 1), _input(node, 1)):
                yield Fault("pair", _name(node), "another scale", f"that of {_name(before)}")


def _differ(links: _Links, one: str, other: str) -> bool:
    known = one in links.constants and other in links.constants
    return one != other and known and not np.array_equal(links.constants[one], links.constants[other])


def _biases(links: _Links) -> Iterator[Fault]:
    for node in links.nodes:
        if links.is_bias(node):
            yield Fault("bias", _name(node), "a quantised bias", "a bias in floating point")


def _signed(links: _Links) -> Iterator[Fault]:
    for node, name in links.linear(2):
        if not name and node.op_type == "QuantizeLinear":
            yield Fault("signed-int8", _name(node), "no zero point, which ONNX reads as UINT8", "an INT8 zero point")
        elif name in links.constants and links.constants[name].dtype != np.int8:
            yield Fault("signed-int8", _name(node), links.constants[name].dtype.name.upper(), "INT8")


def _zero_points(links: _Links) -> Iterator[Fault]:
    for node, name in links.linear(2):
        if name and name not in links.constants:
            yield Fault("zero-point", _name(node), "a computed zero point", "the constant 0")
        elif name and links.constants[name].any():
            wrong = links.constants[name][links.constants[name] != 0]
            yield Fault("zero-point", _name(node), f"zero point {wrong.flat[0]}", "0")


def _scales(links: _Links) -> Iterator[Fault]:
    for node, name in links.linear(1):
        if name not in links.constants:
            yield Fault("scale", _name(node), "a computed scale", "a constant")
            continue
        scale = links.constants[name].astype(np.float64).ravel()
        wrong = scale[~(np.isfinite(scale) & (scale > 0))]
        if wrong.size:
            found = f"{wrong.size} of {scale.size} scales such as {wrong[0]:g}"
            yield Fault("scale", _name(node), found, "finite scales above 0")


def _axis(layer: NodeProto, rank: int) -> int:
    """The axis of a layer's weights along which TensorRT has one scale per channel.

    Convolution: 0, the output channels (M x C/group x k x k). Gemm and MatMul: the output features, which are axis 0 where the
    weights are transposed (as torch writes a linear layer) and the last one otherwise. Transposed convolution: 0 as well, though
    those are its INPUT channels (C x M/group x k x k): its kernels are the convolution's run backwards, and NVIDIA supports no
    scales per output channel (TensorRT issues 1694 and 2380). onnxruntime writes axis 1: leave such layers in floating point.
    """
    if layer.op_type == "MatMul":
        return rank - 1
    if layer.op_type == "Gemm":
        return 0 if _attribute(layer, "transB", 0) else 1
    return 0


def _axes(links: _Links) -> Iterator[Fault]:
    seen = set()
    for layer in links.layers():
        weights, after = links.weights(layer), links.dequantise(layer, 1)
        if weights is None or after is None or after.output[0] in seen:
            continue
        seen.add(after.output[0])
        axis = _axis(layer, weights.ndim)
        channels = weights.shape[axis]
        for node in (links.quantise(after), after):
            scale = None if node is None else links.constants.get(_input(node, 1))
            if node is None or scale is None:
                continue
            own = _attribute(node, "axis", 1)
            own += weights.ndim if own < 0 else 0
            if scale.size != channels or (scale.size > 1 and own != axis):
                where = f"{scale.size} scales along axis {own}" if scale.size > 1 else "one scale"
                yield Fault("axis", _name(node), where, f"{channels} scales along axis {axis} of the weights of {layer.op_type}")
                break
    for node in links.nodes:
        if node.op_type == "QuantizeLinear" and _input(node, 0) not in links.constants:
            scale = links.constants.get(_input(node, 1))
            if scale is not None and scale.size > 1:
                yield Fault("axis", _name(node), f"{scale.size} scales", "one scale for an activation")


def _halves(links: _Links) -> Iterator[Fault]:
    expected = "both quantised, or neither"
    for layer in links.layers():
        before, weights = links.dequantise(layer, 0), links.dequantise(layer, 1)
        if before is None and weights is not None:
            yield Fault("half-quantised", _name(layer), "quantised weights, input in floating point", expected)
        elif before is not None and weights is None and not _is_for_another(links, before):
            yield Fault("half-quantised", _name(layer), "a quantised input, weights in floating point", expected)


def _is_for_another(links: _Links, before: NodeProto) -> bool:
    # onnxruntime hands the quantised tensor to all its users, also to a layer that was left out of quantisation.
    return any(user.op_type in LAYERS and links.dequantise(user, 1) is not None for user in links.users(before))


def _stem(links: _Links) -> Iterator[Fault]:
    for layer in links.layers():
        weights = links.weights(layer)
        if layer.op_type != "Conv" or weights is None or weights.shape[1] * _attribute(layer, "group", 1) != 3:
            continue
        if links.dequantise(layer, 0) is not None and links.dequantise(layer, 1) is not None:
            yield Fault("stem", _name(layer), "a quantised convolution of 3 channels", "floating point")


def _adds(links: _Links) -> Iterator[Fault]:
    for node in links.nodes:
        if node.op_type == "Add" and all(links.dequantise(node, index) is not None for index in (0, 1)):
            yield Fault("double-add", _name(node), "two quantised inputs", "at most one, the shortcut")


def _outputs(links: _Links) -> Iterator[Fault]:
    for node in links.nodes:
        layer = links.producer(_input(node, 0), *LAYERS) if node.op_type == "QuantizeLinear" else None
        afters = [user for user in links.users(node) if user.op_type == "DequantizeLinear"]
        uses = [(after, user) for after in afters for user in links.users(after)]
        leaves = any(not links.outputs.isdisjoint(after.output) for after in afters)
        if layer is None or not (uses or leaves) or any(_wants(links, after, user) for after, user in uses):
            continue
        found = f"Q/DQ between {_name(layer)} and {', '.join(_name(user) for _, user in uses) or 'the outside'}"
        yield Fault("output", _name(node), found, "Q/DQ only at the input of the next quantised layer")


def _wants(links: _Links, after: NodeProto, user: NodeProto) -> bool:
    """Does this use give the Q/DQ on a layer's output a reason? A layer's input and a shortcut do."""
    if user.op_type != "Add":
        return user.op_type in LAYERS
    other = next((name for name in user.input if name != after.output[0]), "")
    # With both inputs quantised it is the Add that is at fault, and named by its own rule.
    return links.producer(other, "DequantizeLinear", *LAYERS) is not None


_RULES: tuple[Callable[[_Links], Iterator[Fault]], ...] = (
    _opset,
    _operators,
    _pairs,
    _biases,
    _signed,
    _zero_points,
    _scales,
    _axes,
    _halves,
    _stem,
    _adds,
    _outputs,
)

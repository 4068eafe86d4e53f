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
from onnx import NodeProto

from deploy.errors import BundleError
from pipeline.export.graph import OPSET
from pipeline.export.links import LAYERS, LINEAR, Links, attribute_of, input_of, link, name_of

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
    links = link(model)
    return [fault for rule in _RULES for fault in rule(links)]


def is_quantised(graph: onnx.ModelProto) -> bool:
    """Is anything in the graph quantised? False for a graph in floating point, in which check_qdq has little to find."""
    return any(node.op_type in LINEAR | INTEGER for node in graph.graph.node)


def _load(file: Path) -> onnx.ModelProto:
    try:
        return onnx.load(file)
    except Exception as error:  # protobuf, onnx and the system each raise their own
        said = f"{file} cannot be read as an ONNX graph ({error}): it is missing, torn or no ONNX file; export again"
        raise BundleError(said) from error


def _opset(links: Links) -> Iterator[Fault]:
    if links.opset != OPSET:
        yield Fault("opset", "the graph", f"opset {links.opset}", f"opset {OPSET}")


def _operators(links: Links) -> Iterator[Fault]:
    for node in links.nodes:
        if node.domain not in ("", "ai.onnx"):
            yield Fault("operator", name_of(node), f"{node.op_type} of {node.domain}", "an operator of the ONNX standard")
        elif node.op_type in INTEGER | CONTROL:
            instead = "a floating-point layer behind Q/DQ" if node.op_type in INTEGER else "a graph without"
            yield Fault("operator", name_of(node), node.op_type, instead)


def _pairs(links: Links) -> Iterator[Fault]:
    for node in links.nodes:
        if node.op_type not in LINEAR or links.is_bias(node):
            continue
        users, leaves = links.users(node), not links.outputs.isdisjoint(node.output)
        others = [name_of(user) for user in users if user.op_type != "DequantizeLinear"] + ["the outside"] * leaves
        if not users and not leaves:
            yield Fault("pair", name_of(node), "an output that nothing uses", "a Q/DQ pair that leads somewhere")
        elif node.op_type == "QuantizeLinear" and others:
            yield Fault("pair", name_of(node), f"an output that goes to {', '.join(others)}", "DequantizeLinear behind it")
        if node.op_type == "DequantizeLinear":
            before, constant = links.quantise(node), links.constants.get(input_of(node, 0))
            if before is None:
                found = "no QuantizeLinear before it" if constant is None else f"{constant.dtype.name} constants"
                yield Fault("pair", name_of(node), found, "QuantizeLinear before it")
            elif _differ(links, input_of(before, 1), input_of(node, 1)):
                yield Fault("pair", name_of(node), "another scale", f"that of {name_of(before)}")


def _differ(links: Links, one: str, other: str) -> bool:
    known = one in links.constants and other in links.constants
    return one != other and known and not np.array_equal(links.constants[one], links.constants[other])


def _biases(links: Links) -> Iterator[Fault]:
    for node in links.nodes:
        if links.is_bias(node):
            yield Fault("bias", name_of(node), "a quantised bias", "a bias in floating point")


def _signed(links: Links) -> Iterator[Fault]:
    for node, name in links.linear(2):
        if not name and node.op_type == "QuantizeLinear":
            yield Fault("signed-int8", name_of(node), "no zero point, which ONNX reads as UINT8", "an INT8 zero point")
        elif name in links.constants and links.constants[name].dtype != np.int8:
            yield Fault("signed-int8", name_of(node), links.constants[name].dtype.name.upper(), "INT8")


def _zero_points(links: Links) -> Iterator[Fault]:
    for node, name in links.linear(2):
        if name and name not in links.constants:
            yield Fault("zero-point", name_of(node), "a computed zero point", "the constant 0")
        elif name and links.constants[name].any():
            wrong = links.constants[name][links.constants[name] != 0]
            yield Fault("zero-point", name_of(node), f"zero point {wrong.flat[0]}", "0")


def _scales(links: Links) -> Iterator[Fault]:
    for node, name in links.linear(1):
        if name not in links.constants:
            yield Fault("scale", name_of(node), "a computed scale", "a constant")
            continue
        scale = links.constants[name].astype(np.float64).ravel()
        wrong = scale[~(np.isfinite(scale) & (scale > 0))]
        if wrong.size:
            found = f"{wrong.size} of {scale.size} scales such as {wrong[0]:g}"
            yield Fault("scale", name_of(node), found, "finite scales above 0")


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
        return 0 if attribute_of(layer, "transB", 0) else 1
    return 0


def _axes(links: Links) -> Iterator[Fault]:
    seen = set()
    for layer in links.layers():
        weights, after = links.weights(layer), links.dequantise(layer, 1)
        if weights is None or after is None or after.output[0] in seen:
            continue
        seen.add(after.output[0])
        axis = _axis(layer, weights.ndim)
        channels = weights.shape[axis]
        for node in (links.quantise(after), after):
            scale = None if node is None else links.constants.get(input_of(node, 1))
            if node is None or scale is None:
                continue
            own = attribute_of(node, "axis", 1)
            own += weights.ndim if own < 0 else 0
            if scale.size != channels or (scale.size > 1 and own != axis):
                where = f"{scale.size} scales along axis {own}" if scale.size > 1 else "one scale"
                yield Fault(
                    "axis", name_of(node), where, f"{channels} scales along axis {axis} of the weights of {layer.op_type}"
                )
                break
    for node in links.nodes:
        if node.op_type == "QuantizeLinear" and input_of(node, 0) not in links.constants:
            scale = links.constants.get(input_of(node, 1))
            if scale is not None and scale.size > 1:
                yield Fault("axis", name_of(node), f"{scale.size} scales", "one scale for an activation")


def _halves(links: Links) -> Iterator[Fault]:
    expected = "both quantised, or neither"
    for layer in links.layers():
        before, weights = links.dequantise(layer, 0), links.dequantise(layer, 1)
        if before is None and weights is not None:
            yield Fault("half-quantised", name_of(layer), "quantised weights, input in floating point", expected)
        elif before is not None and weights is None and not _is_for_another(links, before):
            yield Fault("half-quantised", name_of(layer), "a quantised input, weights in floating point", expected)


def _is_for_another(links: Links, before: NodeProto) -> bool:
    # onnxruntime hands the quantised tensor to all its users, also to a layer that was left out of quantisation.
    return any(user.op_type in LAYERS and links.dequantise(user, 1) is not None for user in links.users(before))


def _stem(links: Links) -> Iterator[Fault]:
    for layer in links.layers():
        weights = links.weights(layer)
        if layer.op_type != "Conv" or weights is None or weights.shape[1] * attribute_of(layer, "group", 1) != 3:
            continue
        if links.dequantise(layer, 0) is not None and links.dequantise(layer, 1) is not None:
            yield Fault("stem", name_of(layer), "a quantised convolution of 3 channels", "floating point")


def _adds(links: Links) -> Iterator[Fault]:
    for node in links.nodes:
        if node.op_type == "Add" and all(links.dequantise(node, index) is not None for index in (0, 1)):
            yield Fault("double-add", name_of(node), "two quantised inputs", "at most one, the shortcut")


def _outputs(links: Links) -> Iterator[Fault]:
    for node in links.nodes:
        layer = links.producer(input_of(node, 0), *LAYERS) if node.op_type == "QuantizeLinear" else None
        afters = [user for user in links.users(node) if user.op_type == "DequantizeLinear"]
        uses = [(after, user) for after in afters for user in links.users(after)]
        leaves = any(not links.outputs.isdisjoint(after.output) for after in afters)
        if layer is None or not (uses or leaves) or any(_wants(links, after, user) for after, user in uses):
            continue
        found = f"Q/DQ between {name_of(layer)} and {', '.join(name_of(user) for _, user in uses) or 'the outside'}"
        yield Fault("output", name_of(node), found, "Q/DQ only at the input of the next quantised layer")


def _wants(links: Links, after: NodeProto, user: NodeProto) -> bool:
    """Does this use give the Q/DQ on a layer's output a reason? A layer's input and a shortcut do."""
    if user.op_type != "Add":
        return user.op_type in LAYERS
    other = next((name for name in user.input if name != after.output[0]), "")
    # With both inputs quantised it is the Add that is at fault, and named by its own rule.
    return links.producer(other, "DequantizeLinear", *LAYERS) is not None


_RULES: tuple[Callable[[Links], Iterator[Fault]], ...] = (
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

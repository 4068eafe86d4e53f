"""An ONNX graph with its nodes tied together: what makes a tensor, what reads it, which Q/DQ stands between."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper

LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Layers with weights, the ones with INT8 kernels; the picture or map is input 0, the weights input 1, the bias input 2."""

LINEAR = frozenset({"QuantizeLinear", "DequantizeLinear"})


@dataclass(frozen=True)
class Links:
    """A graph by its tensors' names."""

    opset: int
    nodes: list[NodeProto]
    constants: dict[str, NDArray[np.generic]]
    producers: dict[str, NodeProto]
    consumers: dict[str, list[NodeProto]]
    outputs: frozenset[str]

    def producer(self, tensor: str, *operators: str) -> NodeProto | None:
        """What makes a tensor, if it is one of these operators."""
        node = self.producers.get(tensor)
        return node if node is not None and node.op_type in operators else None

    def dequantise(self, node: NodeProto, index: int) -> NodeProto | None:
        """The DequantizeLinear that makes an input of a node, if one does."""
        return self.producer(input_of(node, index), "DequantizeLinear")

    def quantise(self, dequantise: NodeProto) -> NodeProto | None:
        """The QuantizeLinear before a DequantizeLinear, if there is one."""
        return self.producer(input_of(dequantise, 0), "QuantizeLinear")

    def layers(self) -> Iterator[NodeProto]:
        """Those with weights."""
        return (node for node in self.nodes if node.op_type in LAYERS)

    def weights(self, layer: NodeProto) -> NDArray[np.generic] | None:
        """A layer's weights, before or behind Q/DQ; None if they are computed."""
        name = input_of(layer, 1)
        for operator in ("DequantizeLinear", "QuantizeLinear"):
            before = self.producer(name, operator)
            name = name if before is None else input_of(before, 0)
        return self.constants.get(name)

    def is_bias(self, node: NodeProto) -> bool:
        """Does a node make a bias from integers?"""
        if node.op_type != "DequantizeLinear":
            return False
        if any(
            name in self.constants and self.constants[name].dtype == np.int32 for name in (input_of(node, 0), input_of(node, 2))
        ):
            return True
        return any(user.op_type in LAYERS and input_of(user, 2) == node.output[0] for user in self.users(node))

    def users(self, node: NodeProto) -> list[NodeProto]:
        """What reads any output of a node."""
        return [user for tensor in node.output for user in self.consumers.get(tensor, [])]

    def linear(self, index: int) -> Iterator[tuple[NodeProto, str]]:
        """Q/DQ nodes with their scale (1) or zero point (2), each tensor once: pairs share theirs; biases have their own rule."""
        seen = set()
        for node in self.nodes:
            name = input_of(node, index)
            if node.op_type in LINEAR and not self.is_bias(node) and name not in seen:
                if name:
                    seen.add(name)
                yield node, name


def link(model: onnx.ModelProto) -> Links:
    """Tie the nodes of a graph together; Constant nodes count as constants."""
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
    return Links(
        opset=next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 0),
        nodes=nodes,
        constants=constants,
        producers={tensor: node for node in nodes for tensor in node.output if tensor},
        consumers=consumers,
        outputs=frozenset(one.name for one in model.graph.output),
    )


def input_of(node: NodeProto, index: int) -> str:
    """The tensor at an input; empty where it is left out."""
    return node.input[index] if len(node.input) > index else ""


def name_of(node: NodeProto) -> str:
    """What a node is called in messages."""
    return node.name or (node.output[0] if node.output else node.op_type)


def attributes_of(node: NodeProto, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """The integers of an attribute."""
    return next((tuple(one.ints) for one in node.attribute if one.name == name), default)


def attribute_of(node: NodeProto, name: str, default: int) -> int:
    """An integer attribute."""
    return next((one.i for one in node.attribute if one.name == name), default)

"""Layers for which TensorRT has no INT8 kernel go back to floating point: their Q/DQ pairs are taken out of the graph.

Needs the package `onnx`, which an edge device needs for nothing else; so it is imported when it comes to that.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def read_graph(content: bytes) -> "ModelProto | None":
    """The graph of a file's bytes; None where `onnx` is absent."""
    try:
        import onnx
    except ImportError:
        return None
    return onnx.load_from_string(content)


def layers_named(model: "ModelProto", said: str, nodes: Iterable[int] = ()) -> list[str]:
    """Names of the quantised layers that a message of TensorRT names, or that have one of these positions in the graph.

    TensorRT names what it fused, joined by ` + `, and may name only the Q/DQ of a layer, also as `..._clone_0`.
    """
    links = _Links(model)
    positions = {model.graph.node[index].name for index in nodes if 0 <= index < len(model.graph.node)}

    def is_named(node: "NodeProto") -> bool:
        return bool(node.name) and (node.name in positions or _mentions(said, node.name))

    quantised = [node for node in model.graph.node if node.op_type in LAYERS and links.pairs(node)]
    meant = [node.name for node in quantised if is_named(node)]
    return meant or [node.name for node in quantised if any(map(is_named, links.own_linear(node)))]


def in_floating_point(model: "ModelProto", layers: Iterable[str]) -> "ModelProto":
    """A copy in which these layers read what their Q/DQ pairs read. A pair that another layer shares stays for that one."""
    changed = type(model)()
    changed.CopyFrom(model)
    links, chosen = _Links(changed), set(layers)
    for node in changed.graph.node:
        if node.name in chosen and node.op_type in LAYERS:
            for index, before in links.pairs(node).items():
                node.input[index] = before.input[0]
    for kind in ("DequantizeLinear", "QuantizeLinear"):  # a pair is dead from its end
        used = {name for node in changed.graph.node for name in node.input} | {one.name for one in changed.graph.output}
        kept = [node for node in changed.graph.node if node.op_type != kind or used & set(node.output)]
        del changed.graph.node[:]
        changed.graph.node.extend(kept)
    return changed


class _Links:
    def __init__(self, model: "ModelProto") -> None:
        self._producers = {name: node for node in model.graph.node for name in node.output}

    def pairs(self, layer: "NodeProto") -> dict[int, "NodeProto"]:
        """The QuantizeLinear before each of the first two inputs (picture or map, and weights) that has a whole pair."""
        found = {}
        for index, name in enumerate(layer.input[:2]):
            after = self._producers.get(name)
            before = self._producers.get(after.input[0]) if after is not None and after.op_type == "DequantizeLinear" else None
            if before is not None and before.op_type == "QuantizeLinear":
                found[index] = before
        return found

    def own_linear(self, layer: "NodeProto") -> list["NodeProto"]:
        return [node for index, before in self.pairs(layer).items() for node in (before, self._producers[layer.input[index]])]


def _mentions(said: str, name: str) -> bool:
    """Does the whole name stand there, and not only inside a longer one (Conv_1 in Conv_12, /a/Conv in /b/a/Conv)?"""
    return re.search(rf"(?<![\w/:-])(?<!\w\.){re.escape(name)}(?:_clone_\d+)*(?![\w/:-]|\.\w)", said) is not None

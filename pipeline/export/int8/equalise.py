"""Channels made larger where that changes no answer: one step serves all channels of an activation, and quiet ones drown.

An output channel of a convolution is multiplied, and the weights that read it are divided by the same: a ReLU between them lets
any positive factor pass (cross-layer equalisation; Nagel et al., 2019). Hard-swish and swish do not: there channels stay as
they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from deploy.preprocess import Picture
from pipeline.export.int8.ranges import showing
from pipeline.export.int8.weights import weights_of, with_weights
from pipeline.export.links import Links, attribute_of, input_of, link

HEADROOM = 1.25
"""So much larger than on the calibration pictures may a channel become before a ReLU6 cuts it off."""
MOST = 100.0
DEAD = 1e-3
"""Of the largest channel: what is smaller stays as it is."""


@dataclass(frozen=True)
class _Between:
    """What one convolution makes, with a ReLU behind it or none, and only convolutions read."""

    tensor: str
    maker: onnx.NodeProto
    readers: tuple[onnx.NodeProto, ...]
    has_limit: bool
    """A ReLU6: no channel may become larger than the largest."""


def equalise(graph: onnx.ModelProto, frames: Sequence[Picture]) -> onnx.ModelProto:
    """A copy of the graph with larger channels behind its ReLUs; `frames` are calibration pictures, H x W x 3.

    Where depthwise convolutions alone read them they become as large as the largest, which costs nothing: each has a step of its
    own for its weights. Elsewhere weights become as unequal as activations were, and the square root shares the harm.
    """
    links = link(graph)
    weights, places = weights_of(graph), _places(links)
    for place, peak in zip(places, _peaks(graph, [place.tensor for place in places], frames), strict=True):
        factor = np.where(peak > DEAD * peak.max(), peak.max() / np.maximum(peak, 1e-12), 1).clip(1, MOST)
        if not all(_is_depthwise(links, reader) for reader in place.readers):
            factor = np.sqrt(factor)
        if place.has_limit:
            factor = np.maximum(1, factor / HEADROOM)
        maker, *bias = place.maker.input[1:]
        weights[maker] = weights[maker] * factor[:, None, None, None]
        for name in bias:
            weights[name] = weights[name] * factor
        for reader in place.readers:
            column = factor[:, None, None, None] if _is_depthwise(links, reader) else factor[None, :, None, None]
            weights[reader.input[1]] = weights[reader.input[1]] / column
    return with_weights(graph, weights)


def _places(links: Links) -> list[_Between]:
    found = []
    for node in links.nodes:
        maker = links.producer(input_of(node, 0), "Conv") if _is_relu(links, node) else node
        if maker is None or maker.op_type != "Conv" or (maker is not node and len(links.users(maker)) > 1):
            continue
        readers = links.users(node)
        if not readers or not all(_takes_factors(links, one) for one in readers) or not links.outputs.isdisjoint(node.output):
            continue
        weights = [name for one in (maker, *readers) for name in one.input[1:]]
        if all(len(links.consumers[name]) == 1 for name in weights):
            found.append(_Between(node.output[0], maker, tuple(readers), node.op_type == "Clip"))
    return found


def _is_relu(links: Links, node: onnx.NodeProto) -> bool:
    lowest = links.constants.get(input_of(node, 1))
    return node.op_type == "Relu" or (node.op_type == "Clip" and lowest is not None and not lowest.any())


def _takes_factors(links: Links, node: onnx.NodeProto) -> bool:
    return node.op_type == "Conv" and (attribute_of(node, "group", 1) == 1 or _is_depthwise(links, node))


def _is_depthwise(links: Links, node: onnx.NodeProto) -> bool:
    return attribute_of(node, "group", 1) == len(links.constants[node.input[1]]) > 1


def _peaks(graph: onnx.ModelProto, tensors: Sequence[str], frames: Sequence[Picture]) -> list[npt.NDArray[np.float32]]:
    """The largest absolute value of each channel of each tensor."""
    if not tensors:
        return []
    session = showing(graph, list(tensors))
    seen = [[np.abs(values[0]).max((1, 2)) for values in session.run(list(tensors), {"frames": frame[None]})] for frame in frames]
    return [np.max(channels, axis=0) for channels in zip(*seen, strict=True)]

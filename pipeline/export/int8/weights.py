"""The weights of a graph, read and replaced."""

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

Weights = dict[str, npt.NDArray[np.float32]]
"""By the name of an initialiser."""


def weights_of(graph: onnx.ModelProto) -> Weights:
    """All initialisers in floating point."""
    return {one.name: numpy_helper.to_array(one) for one in graph.graph.initializer if one.data_type == onnx.TensorProto.FLOAT}


def with_weights(graph: onnx.ModelProto, weights: Weights) -> onnx.ModelProto:
    """A copy of the graph with other values for these initialisers."""
    changed = onnx.ModelProto()
    changed.CopyFrom(graph)
    for one in changed.graph.initializer:
        if one.name in weights:
            one.CopyFrom(numpy_helper.from_array(weights[one.name].astype(np.float32), one.name))
    return changed

"""What quantisation does to the answers, in log-odds of a defect: how much in all, and how much each convolution adds."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from deploy.preprocess import Picture
from pipeline.export.gate import noise
from pipeline.export.int8.layouts import Layout, candidates, quantise
from pipeline.export.int8.ranges import Ranges
from pipeline.export.int8.weights import Weights

Sensitivity = dict[str, float]
"""By node: the noise when that node alone is quantised."""


def sensitivities(
    graph: onnx.ModelProto,
    layout: Layout,
    ranges: Ranges,
    weights: Weights,
    frames: Sequence[Picture],
    go_on: Callable[[int, int], bool],
) -> Sensitivity:
    """Quantise each candidate alone and measure its noise over frames. The noisiest come first.

    `go_on` is told how many of how many are done; once it says no, the noise of the rest counts as infinite.
    """
    before = _scores(graph, frames)
    names = [node.name for node in candidates(graph)]
    found = dict.fromkeys(names, math.inf)
    for number, name in enumerate(names):
        if not go_on(number, len(names)):
            break
        alone = quantise(graph, layout, ranges, [other for other in names if other != name], weights)
        found[name] = noise(_scores(alone, frames), before)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def together(sensitivity: Sensitivity, in_float: Sequence[str]) -> float:
    """What the noise should be with these nodes in floating point, if the errors of the others do not know of each other."""
    return math.sqrt(sum(value**2 for name, value in sensitivity.items() if name not in in_float))


def multiplications(graph: onnx.ModelProto) -> dict[str, int]:
    """Multiplications of each convolution, for one picture."""
    single = onnx.ModelProto()
    single.CopyFrom(graph)
    single.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    inferred = onnx.shape_inference.infer_shapes(single).graph
    known = [*inferred.value_info, *inferred.output]
    shapes = {info.name: [max(1, dim.dim_value) for dim in info.type.tensor_type.shape.dim] for info in known}
    weights = {one.name: one.dims for one in inferred.initializer}
    return {
        node.name: math.prod(shapes.get(node.output[0], [1])) * math.prod(weights.get(node.input[1], [1])[1:])
        for node in inferred.node
        if node.op_type == "Conv"
    }


def share_in_int8(work: dict[str, int], quantised: Sequence[str]) -> float:
    """Share of all multiplications that these nodes do."""
    return sum(work[name] for name in quantised) / sum(work.values())


def _scores(graph: onnx.ModelProto, frames: Sequence[Picture]) -> npt.NDArray[np.float64]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.array([session.run(["probability"], {"frames": frame[None]})[0][0, 1] for frame in frames], np.float64)

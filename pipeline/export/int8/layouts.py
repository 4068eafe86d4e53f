"""Q/DQ nodes where TensorRT wants them, and where CPUs are fast."""

import contextlib
import io
import logging
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from pipeline.export.int8.ranges import Ranges
from pipeline.export.int8.weights import Weights, with_weights


@dataclass(frozen=True)
class Layout:
    """How a kind of device wants its Q/DQ nodes."""

    precision: str
    symmetric: bool
    options: dict[str, Any]


_INPUTS_ONLY = {"OpTypesToExcludeOutputQuantization": ["Conv"], "QuantizeBias": False}
TENSORRT = Layout(
    "int8-qdq", True, {**_INPUTS_ONLY, "ActivationSymmetric": True, "WeightSymmetric": True, "AddQDQPairToWeight": True}
)
"""Signed and symmetric, weights per channel, no integer bias, nothing on convolution outputs: what every TensorRT accepts."""
CPU = Layout("int8-cpu", False, _INPUTS_ONLY)
"""Unsigned activations, twice as fine after a ReLU.

Outputs of convolutions stay in floating point here too. Rounding them as well (onnxruntime's usual layout) makes onnxruntime
faster and OpenVINO not, and has three times the error: 1.2 against 0.36 in log-odds of a tf_mobilenetv3_small_100 on real tiles.
"""


def candidates(graph: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes that may be quantised, in the graph's order: every convolution but the stem.

    The stem has three channels: no TensorRT has an INT8 kernel for that.
    """
    return [node for node in graph.graph.node if node.op_type == "Conv"][1:]


def with_rounded(graph: onnx.ModelProto, weights: Weights, in_float: Collection[str]) -> onnx.ModelProto:
    """A copy of the graph in which all candidates but those named in `in_float` have these weights, where there are any."""
    quantised = [node.input[1] for node in candidates(graph) if node.name not in in_float]
    return with_weights(graph, {name: weights[name] for name in quantised if name in weights})


def quantise(
    graph: onnx.ModelProto, layout: Layout, ranges: Ranges, in_float: Collection[str], weights: Weights | None = None
) -> onnx.ModelProto:
    """A copy of the graph with Q/DQ nodes before all candidates but those named in `in_float`.

    `ranges` holds the input of every candidate. `weights` are what those that are quantised have instead of the graph's; they are
    rounded per output channel.
    """
    data = {
        name: TensorData(lowest=np.array(low, np.float32), highest=np.array(high, np.float32))
        for name, (low, high) in ranges.items()
    }
    with _quiet():
        quantiser = QDQQuantizer(
            with_rounded(graph, weights or {}, in_float),
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QInt8 if layout.symmetric else QuantType.QUInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, data),
            nodes_to_quantize=[node.name for node in candidates(graph) if node.name not in in_float],
            nodes_to_exclude=[],
            op_types_to_quantize=["Conv"],
            extra_options=dict(layout.options),
        )
        quantiser.quantize_model()
    written: onnx.ModelProto = quantiser.model.model
    return written


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # onnxruntime's quantiser prints progress and advice that is not meant for the user of this project.
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)

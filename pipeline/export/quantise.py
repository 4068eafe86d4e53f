"""Smaller candidates made from the FP32 graph: half precision, INT8 for TensorRT, INT8 for CPUs."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16

from deploy.preprocess import Picture, Preprocessing, letterbox, read_picture
from pipeline.data.sample import Sample

CALIBRATION_PICTURES = 96
PERCENTILE = 99.99
METHOD = f"percentile {PERCENTILE}"


def choose_calibration(training: Sequence[Sample], seed: int = 0) -> tuple[Sample, ...]:
    """Up to CALIBRATION_PICTURES of the training groups, the same share of every defect type and of good pictures."""
    random = np.random.default_rng(seed)
    kinds = sorted({sample.defect_type for sample in training})
    queues = [[sample for sample in training if sample.defect_type == kind] for kind in kinds]
    shuffled = [[queue[index] for index in random.permutation(len(queue))] for queue in queues]
    chosen: list[Sample] = []
    while len(chosen) < CALIBRATION_PICTURES and any(shuffled):
        chosen += [queue.pop() for queue in shuffled if queue]
    return tuple(chosen[:CALIBRATION_PICTURES])


def write_fp16(fp32: Path, file: Path) -> None:
    """Half precision inside; inputs and outputs keep their types."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tells of every weight that half precision rounds to zero
        half = convert_float_to_float16(onnx.load(fp32), keep_io_types=True, op_block_list=["Resize", "Softmax", "TopK"])
    onnx.save(half, file)


def write_int8_qdq(fp32: Path, file: Path, pictures: Sequence[Sample], spec: Preprocessing) -> None:
    """The layout every TensorRT accepts: symmetric signed activations and weights, weights per channel, no integer bias.

    Convolution outputs carry no Q/DQ, and the first convolution (three channels) stays in floating point: TensorRT has no INT8
    kernel for it.
    """
    _quantise(
        fp32,
        file,
        _Pictures(pictures, spec),
        op_types_to_quantize=["Conv", "Gemm"],
        nodes_to_exclude=[_stem(fp32)],
        activation_type=QuantType.QInt8,
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "AddQDQPairToWeight": True,
            "OpTypesToExcludeOutputQuantization": ["Conv", "Gemm"],
        },
    )


def write_int8_cpu(fp32: Path, file: Path, pictures: Sequence[Sample], spec: Preprocessing) -> None:
    """The layout CPUs are fast at: unsigned activations, weights per channel in seven bits (older cores saturate at eight)."""
    _quantise(
        fp32,
        file,
        _Pictures(pictures, spec),
        op_types_to_quantize=["Conv", "Gemm", "Add", "Mul"],
        activation_type=QuantType.QUInt8,
        reduce_range=True,
        extra_options={},
    )


def _quantise(fp32: Path, file: Path, pictures: "_Pictures", extra_options: dict[str, Any], **layout: Any) -> None:
    """What both layouts share: Q/DQ nodes, weights per channel, activation ranges by percentile."""
    with _quiet():
        quantize_static(
            fp32,
            file,
            pictures,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={**extra_options, "CalibPercentile": PERCENTILE},
            **layout,
        )


class _Pictures(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, samples: Sequence[Sample], spec: Preprocessing) -> None:
        self._frames: Iterator[Picture] = (letterbox(read_picture(sample.file), spec)[None] for sample in samples)

    def get_next(self) -> dict[str, Picture] | None:
        """One picture, as the line would feed it."""
        frame = next(self._frames, None)
        return None if frame is None else {"frames": frame}


def _stem(fp32: Path) -> str:
    nodes = onnx.load(fp32).graph.node
    return str(next(node.name for node in nodes if node.op_type == "Conv"))


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

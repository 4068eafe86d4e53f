"""Half precision: the graph itself is converted, so that strongly typed TensorRT takes it too."""

import warnings
from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16


def write_fp16(fp32: Path, file: Path) -> None:
    """Half precision inside; inputs and outputs keep their types."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tells of every weight that half precision rounds to zero
        half = convert_float_to_float16(onnx.load(fp32), keep_io_types=True, op_block_list=["Resize", "Softmax", "TopK"])
    onnx.save(half, file)

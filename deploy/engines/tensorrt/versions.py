"""All that differs between TensorRT 8.5, 8.6, 10 and 11, found by what the module has. `trt` is the module itself.

Everything else this package calls is in each of them under the same name.
"""

import importlib
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from deploy.errors import EngineError

PRECISIONS = ("fp32", "fp16", "int8-qdq")
_WEAK_FLAG = {"fp16": "FP16", "int8-qdq": "INT8"}
_DTYPES: dict[str, type[np.generic]] = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT8": np.int8,
    "INT32": np.int32,
    "BOOL": np.bool_,
    "UINT8": np.uint8,
}


def load_tensorrt() -> Any:
    """The module `tensorrt`; EngineError where it is absent. Ask the driver first: without one TensorRT can crash the process."""
    try:
        return importlib.import_module("tensorrt")
    except (ImportError, OSError) as error:  # OSError: one of its libraries does not load
        raise EngineError(
            f"TensorRT does not load ({error}); it comes with JetPack on a Jetson (make the environment with "
            "--system-site-packages), elsewhere install the extra `tensorrt`"
        ) from error


def is_strongly_typed(trt: Any) -> bool:
    """Do networks keep the types of their graph? From 10 on; before, flags allow types and TensorRT picks among them."""
    return hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def network_flags(trt: Any) -> int:
    """Bits for `create_network`: strongly typed where that exists (the batch is always explicit there), else explicit batch."""
    kind = trt.NetworkDefinitionCreationFlag
    return 1 << int(kind.STRONGLY_TYPED if is_strongly_typed(trt) else kind.EXPLICIT_BATCH)


def set_precision(trt: Any, config: Any, precision: str) -> None:
    """Say in which types may be computed. FP32 means FP32: TF32 has the mantissa of half precision, and is on unless cleared.

    FP16 and INT8 come from their own ONNX files; a weakly typed network must be allowed them as well.
    """
    if precision == "fp32":
        config.clear_flag(trt.BuilderFlag.TF32)
    elif not is_strongly_typed(trt):
        config.set_flag(getattr(trt.BuilderFlag, _WEAK_FLAG[precision]))


def use_own_kernels(trt: Any, config: Any) -> None:
    """Only TensorRT's own kernels, as 11 has no others: the same on every version, and no cuBLAS or cuDNN to install."""
    own = trt.TacticSource.EDGE_MASK_CONVOLUTIONS, trt.TacticSource.JIT_CONVOLUTIONS
    config.set_tactic_sources(sum(1 << int(source) for source in own))
    without = "DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805"
    if hasattr(trt.PreviewFeature, without):
        config.set_preview_feature(getattr(trt.PreviewFeature, without), True)


def numpy_type(trt: Any, dtype: Any) -> np.dtype[Any]:
    """The numpy type of a TensorRT type. `trt.nptype` of 8.5 asks numpy for a name that is gone since 1.24."""
    for name, found in _DTYPES.items():
        if dtype == getattr(trt.DataType, name):
            return np.dtype(found)
    raise EngineError(f"the engine has a tensor of type {dtype}; expected one of {', '.join(_DTYPES)}: export the bundle again")


def make_logger(trt: Any) -> Any:
    """A logger that keeps TensorRT's errors: its calls only answer None or False. `take()` gives and forgets them."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self._errors.append(msg)

        def take(self) -> list[str]:
            said = list(dict.fromkeys(self._errors))  # many come twice
            self._errors.clear()
            return said

    return Log()


def trtexec_command(trt: Any, file: Path, precision: str, frame: tuple[int, ...] | None, max_batch: int) -> str:
    """What shows in full what the builder does with a file; `frame` is H x W x 3 where the graph was read that far."""
    words = ["trtexec", f"--onnx={file}", "--verbose"]
    if frame is not None:
        sizes = {"min": 1, "opt": 1, "max": max_batch}
        words += [f"--{which}Shapes=frames:{'x'.join(map(str, (n, *frame)))}" for which, n in sizes.items()]
    if precision == "fp32":
        words.append("--noTF32")
    if not is_strongly_typed(trt):
        words += [f"--{_WEAK_FLAG[precision].lower()}"] if precision in _WEAK_FLAG else []
    elif hasattr(trt.BuilderFlag, "FP16"):  # where weakly typed networks are gone, so is the option
        words.append("--stronglyTyped")
    return shlex.join(words)

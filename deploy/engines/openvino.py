"""OpenVINO: the fastest way on most CPUs. What runs, and in which precision, is asked of the compiled model and compared."""

from pathlib import Path
from typing import Any

import numpy as np

from deploy.engines import Answer
from deploy.errors import EngineError, ProviderMissing
from deploy.preprocess import Picture
from deploy.untrusted import shown

INSTALL = "install the extra `cpu`, or `pip install openvino`"
OUTPUTS = {"probability", "heatmap"}


class OpenVinoEngine:
    """One ONNX file (fp32, fp16, int8-qdq or int8-cpu) on one device, tuned for the latency of single pictures.

    `threads` None lets OpenVINO take the cores it likes. Outside the file's own INT8 parts it computes in FP32 on every machine:
    left to itself it takes half precision where the processor can, and then answers otherwise than in the lab.
    Raises EngineError when the package is absent or the file is refused, ProviderMissing when another device would run.
    """

    def __init__(self, file: Path, device: str = "CPU", threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise EngineError(f"{threads} threads were asked for; expected 1 or more, or nothing to let OpenVINO choose")
        try:
            import openvino
        except (ImportError, OSError) as error:  # OSError: one of its libraries is missing
            raise EngineError(f"OpenVINO is not installed ({error}); {INSTALL}, or use onnxruntime") from error
        self._file, self._device = file, device
        self._type = openvino.Type.f32
        self._core = openvino.Core()
        self._options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            self._options["INFERENCE_NUM_THREADS"] = threads
        there = list(self._core.available_devices)
        if device not in there and device not in {name.split(".")[0] for name in there}:  # AUTO and HETERO may run elsewhere
            raise ProviderMissing(
                f"asked for the OpenVINO device {device!r}, but this machine has {', '.join(there) or 'none'}; "
                "choose one of these, or install the driver of the other"
            )
        self.name = f"openvino {openvino.__version__.split('-')[0]} {device}"
        self._single = self._compile(single=True)
        self._several: Any = None

    def infer(self, frames: Picture) -> Answer:
        """See `deploy.engines.Engine.infer`."""
        if frames.dtype != np.uint8:  # OpenVINO would convert, and quietly take numbers of 0..1 for black
            raise EngineError(f"{self.name} got {frames.dtype} pictures; expected uint8, 0..255, from deploy.preprocess")
        if len(frames) != 1 and self._several is None:
            self._several = self._compile(single=False)
        request = self._single if len(frames) == 1 else self._several
        try:
            answers = request.infer({"frames": np.ascontiguousarray(frames)}, share_inputs=True)
        except Exception as error:  # OpenVINO raises RuntimeError for everything
            raise EngineError(f"{self.name} failed on input {frames.shape} {frames.dtype}: {_short(error)}") from error
        return Answer(answers["probability"], answers["heatmap"])

    def _compile(self, single: bool) -> Any:
        """A request for exactly one picture (a fixed shape is a tenth to a fifth faster), or for any number."""
        try:
            model = self._core.read_model(str(self._file))
            inputs = {one.any_name for one in model.inputs}
            outputs = {one.any_name for one in model.outputs}
            if inputs == {"frames"} and single:
                shape = model.input("frames").partial_shape
                shape[0] = 1
                model.reshape({"frames": shape})
            compiled = self._core.compile_model(model, self._device, self._options)
        except Exception as error:
            said = f"{self._file} does not load in {self.name}: {_short(error)}"
            raise EngineError(f"{said}; export it again, or use onnxruntime") from error
        if inputs != {"frames"} or not outputs >= OUTPUTS:
            raise EngineError(
                f"{self._file} takes {shown(sorted(inputs))} and gives {shown(sorted(outputs))}; "
                "expected frames, and probability and heatmap: export it again"
            )
        self._compare(compiled)
        return compiled.create_infer_request()

    def _compare(self, compiled: Any) -> None:
        running = [str(name) for name in compiled.get_property("EXECUTION_DEVICES")]
        if [self._device] not in ([one.split(".")[0] for one in running], running):
            raise ProviderMissing(
                f"asked for {self._device}, but OpenVINO runs on {', '.join(running) or 'nothing'}; "
                "install the driver of that device, or choose the CPU"
            )
        for option, wanted in self._options.items():
            found = compiled.get_property(option)
            if found != (self._type if option == "INFERENCE_PRECISION_HINT" else wanted):
                raise EngineError(
                    f"{self.name} was told {option} {wanted}, but runs with {found}; update OpenVINO, or use onnxruntime"
                )


def _short(error: Exception) -> str:
    """OpenVINO's words without the places in its sources."""
    lines = [line.strip() for line in str(error).splitlines()]
    return shown(" ".join(line for line in lines if line and not line.startswith("Exception from")), 300)

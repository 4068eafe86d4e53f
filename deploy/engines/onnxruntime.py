"""onnxruntime on the CPU or through CUDA, with what really runs checked: it falls back to the CPU in silence."""

import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from deploy.engines import Answer
from deploy.errors import EngineError, ProviderMissing
from deploy.preprocess import Picture
from deploy.untrusted import shown

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
INSTALL_CUDA = (
    "install the extra `gpu` in place of `cpu` (both are the module onnxruntime) and NVIDIA's driver, CUDA and cuDNN: "
    "`pip install 'onnxruntime-gpu[cuda,cudnn]'` brings the last two; or use onnxruntime, or tensorrt on a Jetson"
)
_OPTIONS = {CPU: {}, CUDA: {"use_tf32": "0"}}  # TF32 has the mantissa of half precision: not the FP32 that the lab judged


class OnnxRuntimeEngine:
    """One ONNX file on one execution provider, tuned for nothing: its defaults, or this many `threads`.

    Raises EngineError when the package is absent or the file is refused, ProviderMissing when another provider would run.
    """

    def __init__(self, file: Path, provider: str = CPU, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise EngineError(f"{threads} threads were asked for; expected 1 or more, or nothing to let onnxruntime choose")
        try:
            import onnxruntime
        except (ImportError, OSError) as error:  # OSError: one of its libraries is missing
            raise EngineError(f"onnxruntime is not installed ({error}); install the extra `cpu` or `gpu`") from error
        there = onnxruntime.get_available_providers()
        if provider not in there:
            raise ProviderMissing(
                f"asked for {provider}, but this onnxruntime {onnxruntime.__version__} has {', '.join(there)}; {INSTALL_CUDA}"
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3 if provider == CPU else 4  # which of its libraries is missing we say ourselves
        # Threads that wait by turning in circles take the core on which the loop prepares the next frame: 0.45 of this engine's
        # rate was left of a small network's, without 0.74, and the loop itself is faster by a sixth.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if threads is not None:
            options.intra_op_num_threads = threads
        complaints = io.StringIO()
        try:
            with redirect_stdout(complaints):  # it prints why it falls back
                if provider == CUDA and hasattr(onnxruntime, "preload_dlls"):
                    onnxruntime.preload_dlls()  # of NVIDIA's pip packages, where there are some
                self._session = _open(onnxruntime, file, options, provider)
        except Exception as error:  # onnxruntime raises its own unrelated classes for every kind of failure
            raise EngineError(
                f"{file} does not load in onnxruntime {onnxruntime.__version__}: {error}; export it again"
            ) from error
        running = self._session.get_providers()
        if running[0] != provider:
            said = f" ({shown(' '.join(complaints.getvalue().split()), 200)})" if complaints.getvalue().strip() else ""
            raise ProviderMissing(f"asked for {provider}, but onnxruntime runs on {running[0]}{said}; {INSTALL_CUDA}")
        self.name = f"onnxruntime {onnxruntime.__version__} {running[0].removesuffix('ExecutionProvider')}"

    def infer(self, frames: Picture) -> Answer:
        """See `deploy.engines.Engine.infer`."""
        try:
            probability, heatmap = self._session.run(["probability", "heatmap"], {"frames": frames})
        except Exception as error:
            raise EngineError(f"{self.name} failed on input {frames.shape} {frames.dtype}: {error}") from error
        return Answer(probability, heatmap)


def _open(onnxruntime: Any, file: Path, options: Any, provider: str) -> Any:
    session = onnxruntime.InferenceSession(str(file), options, providers=[(provider, _OPTIONS[provider])])
    session.disable_fallback()  # a GPU that fails later must not turn into a CPU
    return session

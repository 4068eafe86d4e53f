"""onnxruntime, with what really runs checked: it falls back to the CPU in silence."""

from pathlib import Path

from deploy.engines import Answer
from deploy.errors import EngineError, ProviderMissing
from deploy.preprocess import Picture


class OnnxRuntimeEngine:
    """One ONNX file on one execution provider."""

    def __init__(self, file: Path, providers: tuple[str, ...] = ("CPUExecutionProvider",)) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise EngineError("onnxruntime is not installed; install the extra `cpu` or `gpu`") from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(file), options, providers=list(providers))
        except Exception as error:  # onnxruntime raises its own unrelated classes for every kind of failure
            raise EngineError(
                f"{file} does not load in onnxruntime {onnxruntime.__version__}: {error}; export it again"
            ) from error
        running = self._session.get_providers()
        if running[0] != providers[0]:
            raise ProviderMissing(
                f"asked for {providers[0]}, but onnxruntime runs on {running[0]}; "
                "install the extra `gpu` and its driver, or choose the CPU"
            )
        self.name = f"onnxruntime {onnxruntime.__version__} {running[0].removesuffix('ExecutionProvider')}"

    def infer(self, frames: Picture) -> Answer:
        """See `deploy.engines.Engine.infer`."""
        try:
            probability, heatmap = self._session.run(["probability", "heatmap"], {"frames": frames})
        except Exception as error:
            raise EngineError(f"{self.name} failed on input {frames.shape} {frames.dtype}: {error}") from error
        return Answer(probability, heatmap)

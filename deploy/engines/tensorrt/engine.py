"""A model on TensorRT: fetched from the cache or built, then answered through memory that was allocated once."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deploy.command import say
from deploy.engines import Answer
from deploy.engines.tensorrt import cache
from deploy.engines.tensorrt.build import Tell, build_engine
from deploy.engines.tensorrt.cache import Identity, Unusable
from deploy.engines.tensorrt.cuda import Driver
from deploy.engines.tensorrt.layers import compare_types, describe, layer_types
from deploy.engines.tensorrt.versions import PRECISIONS, load_tensorrt, make_logger, numpy_type
from deploy.errors import EngineError
from deploy.preprocess import Picture

OUTPUTS = ("probability", "heatmap")


@dataclass(frozen=True)
class _Tensor:
    host: npt.NDArray[Any]
    """max_batch x ..., page-locked."""
    device: int


class TensorRTEngine:
    """One ONNX file (fp32, fp16 or int8-qdq) on the first NVIDIA GPU.

    The engine is built on this device (minutes, once) and kept in `folder`, beside the bundle where none is given. More pictures
    than `max_batch` go in several runs. Not for two threads at once. Raises ProviderMissing without a driver and a GPU,
    EngineError when TensorRT is absent, refuses the file, or would compute in something else than was asked for.
    """

    def __init__(
        self, file: Path, precision: str = "fp32", folder: Path | None = None, max_batch: int = 8, tell: Tell = say
    ) -> None:
        if precision not in PRECISIONS:
            raise EngineError(
                f"TensorRT takes no {precision} file, that one is laid out for CPUs; choose {', '.join(PRECISIONS)}"
            )
        if max_batch < 1:
            raise EngineError(f"a largest batch of {max_batch} was asked for; expected 1 or more")
        self._driver = Driver()  # first of all: without a driver TensorRT can crash the process
        trt = load_tensorrt()
        self._log = make_logger(trt)
        try:
            content = file.read_bytes()
        except OSError as error:
            raise EngineError(f"{file} cannot be read ({error.strerror or error}); copy the bundle again") from error
        digest = hashlib.sha256(content).hexdigest()
        what = Identity(self._driver.gpu, self._driver.capability, trt.__version__, precision, digest, max_batch)
        self._max_batch = self._size = max_batch
        try:
            self._runtime = trt.Runtime(self._log)
        except (RuntimeError, TypeError) as error:  # what its bindings make of a null pointer
            said = f"TensorRT {trt.__version__} does not start on {self._driver.gpu}: {error}; {_why(self._log)}"
            raise EngineError(f"{said}; check that this version knows this GPU and driver") from error
        self._engine, excluded = _obtain(trt, self._runtime, self._log, file, content, what, folder, tell)
        counts = layer_types(trt, self._engine)
        compare_types(trt, counts, precision)
        floating = f", {len(excluded)} left in floating point" if excluded else ""
        self.name = f"tensorrt {trt.__version__} {self._driver.gpu} {precision} ({describe(counts, precision)}{floating})"
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise EngineError(f"{self.name} does not start: {_why(self._log)}; free memory of the GPU")
        self._tensors = self._allocate(trt)

    def infer(self, frames: Picture) -> Answer:
        """See `deploy.engines.Engine.infer`."""
        wanted = self._tensors["frames"].host.shape[1:]
        if frames.dtype != np.uint8 or frames.shape[1:] != wanted:
            raise EngineError(f"{self.name} got frames {frames.shape} {frames.dtype}; expected N x {wanted} uint8")
        probability, heatmap = (
            np.empty((len(frames), *self._tensors[name].host.shape[1:]), np.float32) for name in OUTPUTS
        )  # the answer is the caller's; the pinned memory is overwritten by the next run
        self._driver.enter()
        for start in range(0, len(frames), self._max_batch):
            part = slice(start, start + self._max_batch)
            size = len(frames[part])
            self._run(frames[part])
            probability[part] = self._tensors["probability"].host[:size]
            heatmap[part] = self._tensors["heatmap"].host[:size]
        return Answer(probability, heatmap)

    def _run(self, frames: Picture) -> None:
        size, source = len(frames), self._tensors["frames"]
        np.copyto(source.host[:size], frames)
        try:
            self._resize(size)
            self._driver.upload(source.device, source.host[:size])
            if not self._context.execute_async_v3(self._driver.stream):
                raise EngineError(_why(self._log))
            for name in OUTPUTS:
                self._driver.download(self._tensors[name].host[:size], self._tensors[name].device)
            self._driver.wait()
        except EngineError as error:
            raise EngineError(f"{self.name} failed on {size} pictures: {error}; open the engine again") from error

    def _resize(self, size: int) -> None:
        if size != self._size:
            if not self._context.set_input_shape("frames", (size, *self._tensors["frames"].host.shape[1:])):
                raise EngineError(_why(self._log))
            self._size = size

    def _allocate(self, trt: Any) -> dict[str, _Tensor]:
        """Host and device memory of every tensor for the largest batch."""
        engine, context = self._engine, self._context
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        modes = {name: engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names}
        if modes != {"frames": True, "probability": False, "heatmap": False}:
            raise EngineError(f"the engine's tensors are {', '.join(names)}; expected frames, probability and heatmap")
        largest = (self._max_batch, *tuple(engine.get_tensor_shape("frames"))[1:])
        if not context.set_input_shape("frames", largest):
            raise EngineError(f"{self.name} takes no {largest}: {_why(self._log)}; export the bundle again")
        tensors = {}
        for name in names:
            shape, dtype = tuple(context.get_tensor_shape(name)), numpy_type(trt, engine.get_tensor_dtype(name))
            if shape[0] != self._max_batch or min(shape) < 1:
                raise EngineError(f"{name} has shape {shape} for {self._max_batch} pictures; export the bundle again")
            host = self._driver.pinned(shape, dtype)
            tensors[name] = _Tensor(host, self._driver.device_memory(host.nbytes))
            if not context.set_tensor_address(name, tensors[name].device):
                raise EngineError(f"{self.name} takes no memory for {name}: {_why(self._log)}; report it")
        if tensors["frames"].host.dtype != np.uint8:
            raise EngineError(f"the engine takes {tensors['frames'].host.dtype} frames, uint8 expected; export the bundle again")
        return tensors


def _obtain(
    trt: Any, runtime: Any, log: Any, file: Path, content: bytes, what: Identity, folder: Path | None, tell: Tell
) -> tuple[Any, tuple[str, ...]]:
    """The engine of this identity and the layers it left in floating point: kept, or built and then kept."""
    folder = folder or cache.folder_beside(file)
    kept_at, about = cache.engine_file(folder, what), cache.engine_identity(what)
    try:
        if kept := cache.unseal(kept_at, about):
            head, plan = kept
            if (engine := runtime.deserialize_cuda_engine(plan)) is not None:
                return engine, tuple(map(str, head.get("excluded", ())))
            raise Unusable(f"is refused by TensorRT: {_why(log)}")
    except Unusable as reason:
        tell(f"{kept_at} {reason}: it is built again")
    timings_at, timed = cache.timing_file(folder, what), cache.timing_identity(what)
    try:
        known = cache.unseal(timings_at, timed)
    except Unusable:
        known = None  # costs minutes of the build, nothing else
    tell(f"building the {what.precision} engine for {what.gpu} with TensorRT {what.tensorrt}; this takes minutes, once")
    timing = known[1] if known else b""
    built = build_engine(trt, log, file, content, what.precision, what.max_batch, timing, tell)
    engine = runtime.deserialize_cuda_engine(built.plan)
    if engine is None:
        raise EngineError(f"TensorRT {what.tensorrt} does not load the engine it just built from {file}: {_why(log)}; report it")
    try:
        cache.seal(kept_at, {**about, "excluded": list(built.excluded)}, built.plan)
        cache.seal(timings_at, timed, built.timing)
    except OSError as error:
        tell(f"{folder}: the engine cannot be kept ({error.strerror or error}) and will be built again at the next start")
    return engine, built.excluded


def _why(log: Any) -> str:
    return "; ".join(log.take()) or "TensorRT gave no reason"

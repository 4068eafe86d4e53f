"""From an ONNX file to a TensorRT engine, on the device that will run it."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.engines.tensorrt.quantised import in_floating_point, layers_named, read_graph
from deploy.engines.tensorrt.versions import network_flags, set_precision, trtexec_command, use_own_kernels
from deploy.errors import EngineError
from deploy.untrusted import shown

MAX_EXCLUSIONS = 16
"""How often layers without an INT8 kernel are left in floating point before giving up; a build takes a minute on a Jetson."""

WORKSPACE = 1 << 30
"""Bytes a kernel may use for scratch at most; these networks use a few megabytes."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Built:
    """A serialised engine."""

    plan: bytes
    timing: bytes
    excluded: tuple[str, ...]
    """Quantised layers that run in floating point, for want of an INT8 kernel."""


class _Refused(Exception):
    """The parser or the builder made nothing of the graph; the message is what it said."""

    def __init__(
        self, said: list[str], nodes: list[int] | None = None, frame: tuple[int, ...] | None = None, timing: bytes = b""
    ) -> None:
        super().__init__("; ".join(said) or "it gave no reason")
        self.nodes, self.frame, self.timing = nodes or [], frame, timing


def build_engine(
    trt: Any, log: Any, file: Path, content: bytes, precision: str, max_batch: int, timing: bytes, tell: Tell
) -> Built:
    """Build for 1 to `max_batch` pictures, best for one. `timing` is what earlier builds on this device learned, or empty.

    A quantised layer without an INT8 kernel is left in floating point and the build tried again, MAX_EXCLUSIONS times at most.
    Raises EngineError with TensorRT's own words and the trtexec command that shows more.
    """
    excluded: list[str] = []
    tries_left = MAX_EXCLUSIONS
    while True:
        try:
            plan, learned = _attempt(trt, log, content, precision, max_batch, timing)
            return Built(plan, learned, tuple(excluded))
        except _Refused as refused:
            graph = read_graph(content) if precision == "int8-qdq" else None
            named = layers_named(graph, str(refused), refused.nodes) if graph is not None else []
            refused_timing = refused.timing
            if graph is None or not named or not tries_left:
                raise EngineError(_explain(trt, file, precision, max_batch, refused, excluded)) from refused
        tries_left -= 1
        excluded += named
        timing = refused_timing or timing  # the next try need not measure again what this one did
        content = in_floating_point(graph, named).SerializeToString()
        tell(f"TensorRT {trt.__version__} has no INT8 kernel for {', '.join(named)}: left in floating point, building again")


def _attempt(trt: Any, log: Any, content: bytes, precision: str, max_batch: int, timing: bytes) -> tuple[bytes, bytes]:
    log.take()
    try:
        builder = trt.Builder(log)
    except (RuntimeError, TypeError) as error:  # what its bindings make of a null pointer
        raise _Refused([str(error), *log.take()]) from error
    network = builder.create_network(network_flags(trt))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(content):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        said = [f"{error.desc()} (node {_node(error)})" for error in errors]
        raise _Refused([*said, *log.take()], [error.node() for error in errors])
    frame = _frame(network)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # so that the engine can be asked what it computes in
    use_own_kernels(trt, config)
    set_precision(trt, config, precision)
    _use_timing(config, timing)
    profile = builder.create_optimization_profile()
    profile.set_shape("frames", (1, *frame), (1, *frame), (max_batch, *frame))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    learned = bytes(config.get_timing_cache().serialize())
    if plan is None:
        raise _Refused(log.take(), frame=frame, timing=learned)
    return bytes(plan), learned


def _use_timing(config: Any, timing: bytes) -> None:
    kept = config.create_timing_cache(timing)
    if kept is None or not config.set_timing_cache(kept, False):  # of another device or version, whatever its name says
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _frame(network: Any) -> tuple[int, ...]:
    """H x W x 3 of the graph's one input."""
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    found = {tensor.name: tuple(tensor.shape) for tensor in inputs}
    shape = found.get("frames", ())
    if len(found) != 1 or len(shape) != 4 or shape[0] != -1 or min(shape[1:]) < 1:
        raise EngineError(f"the graph takes {shown(found)}; expected frames, N x H x W x 3 with any N: export the bundle again")
    return shape[1:]


def _node(error: Any) -> str:
    named = error.node_name() if hasattr(error, "node_name") else ""  # since 10
    return named or str(error.node())


def _explain(trt: Any, file: Path, precision: str, max_batch: int, refused: _Refused, excluded: list[str]) -> str:
    tried = f" (with {', '.join(excluded)} already in floating point)" if excluded else ""
    remedy = "use another precision or onnxruntime"
    if precision == "int8-qdq" and importlib.util.find_spec("onnx") is None:
        remedy = f"`pip install onnx` lets layers without an INT8 kernel stay in floating point; or {remedy}"
    command = trtexec_command(trt, file, precision, refused.frame, max_batch)
    return (
        f"TensorRT {trt.__version__} builds no {precision} engine from {file}{tried}: {shown(refused, 600)}; "
        f"{remedy}. All of what it says: {command}"
    )

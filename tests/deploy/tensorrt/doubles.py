"""A module `tensorrt` and a `libcuda` that have exactly the names of a version, and refuse all others.

The names are read off the real modules (`api_*.json`). What a class does is the least that the real one does, over real bytes:
the GPU has memory, and runs what was queued when the stream is waited for, not before.
"""

import ctypes
import enum
import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

VERSIONS = ("8.5", "8.6", "10.16", "11.4")
ENUMS = (
    "BuilderFlag",
    "DataType",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "PreviewFeature",
    "ProfilingVerbosity",
    "TacticSource",
)
TensorIOMode = enum.Enum("TensorIOMode", "NONE INPUT OUTPUT")
LayerInformationFormat = enum.Enum("LayerInformationFormat", "ONELINE JSON")
OUTSIDE = {  # classes that the lists leave out; node_name came with 10
    "IOptimizationProfile": ["set_shape"],
    "EngineInspector": ["get_engine_information"],
    "ParserError": ["desc", "node"],
}


class FakeCuda:
    """A driver over this process's memory. `calls` are the names in order; `broken` makes one of them fail with 700."""

    def __init__(self, count: int = 1, broken: str = "") -> None:
        self.calls: list[str] = []
        self.memory: dict[int, Any] = {}
        self.queue: list[Callable[[], object]] = []
        self.count, self.broken = count, broken

    def __getattr__(self, name: str) -> Callable[..., int]:
        act = getattr(type(self), f"_{name}", None)
        if not name.startswith("cu"):
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            if name != "cuGetErrorString":
                self.calls.append(name)
            if name == self.broken:
                return 700
            if act is not None:
                act(self, *arguments)
            return 0

        return call

    def _cuGetErrorString(self, code: Any, text: Any) -> None:  # noqa: N802
        text._obj.value = b"an illegal memory access was encountered"

    def _cuDeviceGetCount(self, count: Any) -> None:  # noqa: N802
        count._obj.value = self.count

    def _cuDeviceGetName(self, name: Any, size: Any, device: Any) -> None:  # noqa: N802
        name.value = b"NVIDIA Orin (nvgpu)"

    def _cuDeviceGetAttribute(self, value: Any, which: Any, device: Any) -> None:  # noqa: N802
        value._obj.value = {75: 8, 76: 7}[which.value]

    def _cuStreamCreate(self, stream: Any, flags: Any) -> None:  # noqa: N802
        stream._obj.value = 77

    def _cuMemAlloc_v2(self, address: Any, size: Any) -> None:  # noqa: N802
        block = (ctypes.c_uint8 * size.value)()
        address._obj.value = ctypes.addressof(block)
        self.memory[ctypes.addressof(block)] = block

    def _cuMemHostAlloc(self, address: Any, size: Any, flags: Any) -> None:  # noqa: N802
        self._cuMemAlloc_v2(address, size)

    def _cuMemFree_v2(self, address: Any) -> None:  # noqa: N802
        del self.memory[address.value]

    def _cuMemFreeHost(self, address: Any) -> None:  # noqa: N802
        del self.memory[address.value]

    def _cuMemcpyHtoDAsync_v2(self, to: Any, source: Any, size: Any, stream: Any) -> None:  # noqa: N802
        self.queue.append(partial(ctypes.memmove, to.value, source.value, size.value))

    def _cuMemcpyDtoHAsync_v2(self, to: Any, source: Any, size: Any, stream: Any) -> None:  # noqa: N802
        self.queue.append(partial(ctypes.memmove, to.value, source.value, size.value))

    def _cuStreamSynchronize(self, stream: Any) -> None:  # noqa: N802
        for act in self.queue:
            act()
        self.queue.clear()


class FakeTensorRT(ModuleType):
    """One version. The attributes are what a test looks at (`flags`, `network_bits`, ...) or arranges (`without_int8`, ...)."""

    def __init__(self, version: str, cuda: FakeCuda) -> None:
        super().__init__("tensorrt")
        self.api = json.loads((Path(__file__).parent / f"api_{version}.json").read_text())
        self.__version__ = self.api["version"]
        self.cuda = cuda
        self.calls: list[str] = []
        self.flags: set[str] = set()
        self.cleared: set[str] = set()
        self.network_bits = 0
        self.timings: list[bytes] = []
        self.builds = 0
        self.without_int8: set[str] = set()
        self.parser_refuses: tuple[int, str] | None = None
        self.layer_types: list[str] | None = None
        self.foreign_timing = b""
        self.sources: set[str] = set()
        self.ILogger = _Logger
        self.TensorIOMode = TensorIOMode
        self.LayerInformationFormat = LayerInformationFormat
        for name in ENUMS:
            setattr(self, name, enum.IntEnum(name, self.api[name] or [], start=0))
        self.Builder = lambda log: _Builder(self, log)
        self.OnnxParser = lambda network, log: _Parser(self, network, log)
        self.Runtime = lambda log: _Runtime(self, log)


def _graph(content: bytes) -> Any:
    import onnx  # the edge may be without

    return onnx.load_from_string(content).graph


class _Logger:
    INTERNAL_ERROR, ERROR, WARNING = range(3)

    def log(self, severity: int, msg: str) -> None:
        raise NotImplementedError


class _Real:
    """Every name asked of it is checked against those of the real class, and noted."""

    kind = ""

    def __init__(self, trt: FakeTensorRT) -> None:
        object.__setattr__(self, "_trt", trt)

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name != "kind":
            _note(object.__getattribute__(self, "_trt"), object.__getattribute__(self, "kind"), name)
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            _note(self._trt, self.kind, name)
        object.__setattr__(self, name, value)


def _note(trt: FakeTensorRT, kind: str, name: str) -> None:
    names = trt.api.get(kind) or OUTSIDE[kind]
    if kind == "ParserError" and trt.__version__.startswith("1"):
        names = [*names, "node_name"]
    if name not in names:
        raise AttributeError(f"{kind} of TensorRT {trt.__version__} has no {name}")
    trt.calls.append(f"{kind}.{name}")


class _Builder(_Real):
    kind = "Builder"

    def __init__(self, trt: FakeTensorRT, log: Any) -> None:
        super().__init__(trt)
        self._log = log

    def create_network(self, flags: int) -> "_Network":
        self._trt.network_bits = flags
        return _Network(self._trt)

    def create_builder_config(self) -> "_Config":
        return _Config(self._trt)

    def create_optimization_profile(self) -> "_Profile":
        return _Profile(self._trt)

    def build_serialized_network(self, network: "_Network", config: "_Config") -> bytes | None:
        self._trt.builds += 1
        config._timing._learned += b"+"
        graph = _graph(network._content)
        producers = {name: node for node in graph.node for name in node.output}
        for node in graph.node:
            weights = producers.get(node.input[1]) if len(node.input) > 1 else None
            if node.name in self._trt.without_int8 and weights is not None and weights.op_type == "DequantizeLinear":
                name = f"{weights.input[0].removesuffix('_q')} + {weights.name} + {node.name} + PWN(Relu_9)"
                for _ in range(2):
                    self._log.log(_Logger.ERROR, f"10: Could not find any implementation for node {name}.")
                return None
        precision = next((flag for flag in ("INT8", "FP16") if flag in self._trt.flags), "FP32")
        layers = self._trt.layer_types or [f"Row major linear {precision}"]
        digest = hashlib.sha256(network._content).hexdigest()
        return b"plan" + json.dumps({"shapes": config._shapes, "layers": layers, "onnx": digest}).encode()


class _Network(_Real):
    kind = "INetworkDefinition"
    num_inputs = 1
    _content = b""

    def get_input(self, index: int) -> "_Tensor":
        return _Tensor(self._trt, _graph(self._content).input[index])


class _Tensor(_Real):
    kind = "ITensor"

    def __init__(self, trt: FakeTensorRT, info: Any) -> None:
        super().__init__(trt)
        self.name = info.name
        self.shape = [one.dim_value or -1 for one in info.type.tensor_type.shape.dim]


class _Parser(_Real):
    kind = "OnnxParser"
    num_errors = 1

    def __init__(self, trt: FakeTensorRT, network: _Network, log: Any) -> None:
        super().__init__(trt)
        self._network = network

    def parse(self, content: bytes) -> bool:
        self._network._content = content
        return self._trt.parser_refuses is None or not _quantised(content, self._trt.parser_refuses[0])

    def get_error(self, index: int) -> "_ParserError":
        return _ParserError(self._trt, _graph(self._network._content).node)


def _quantised(content: bytes, index: int) -> bool:
    node = _graph(content).node
    return index < len(node) and node[index].op_type == "QuantizeLinear"


class _ParserError(_Real):
    kind = "ParserError"

    def __init__(self, trt: FakeTensorRT, nodes: Any) -> None:
        super().__init__(trt)
        self._nodes: list[Any] = list(nodes)
        self._refused = trt.parser_refuses or (0, "")

    def desc(self) -> str:
        return self._refused[1]

    def node(self) -> int:
        return self._refused[0]

    def node_name(self) -> str:
        return str(self._nodes[self._refused[0]].name)


class _Timing(_Real):
    kind = "ITimingCache"

    def __init__(self, trt: FakeTensorRT, known: bytes) -> None:
        super().__init__(trt)
        self._learned = known

    def serialize(self) -> bytes:
        return self._learned


class _Config(_Real):
    kind = "IBuilderConfig"
    profiling_verbosity: Any = None

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        assert pool.name == "WORKSPACE"
        assert size > 0

    def set_tactic_sources(self, sources: int) -> bool:
        self._trt.sources = {one.name for one in self._trt.TacticSource if sources >> one & 1}
        return True

    def set_preview_feature(self, feature: Any, on: bool) -> None:
        self._trt.flags.add(feature.name)

    def set_flag(self, flag: Any) -> None:
        self._trt.flags.add(flag.name)

    def clear_flag(self, flag: Any) -> None:
        self._trt.cleared.add(flag.name)

    def create_timing_cache(self, known: bytes) -> _Timing:
        return _Timing(self._trt, known)

    def set_timing_cache(self, timing: _Timing, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if timing._learned and timing._learned == self._trt.foreign_timing:
            return False
        self._trt.timings.append(timing._learned)
        self._timing = timing
        return True

    def get_timing_cache(self) -> _Timing:
        return self._timing

    def add_optimization_profile(self, profile: "_Profile") -> int:
        self._shapes = profile._shapes
        return 0


class _Profile(_Real):
    kind = "IOptimizationProfile"

    def set_shape(self, name: str, least: Any, best: Any, most: Any) -> None:
        assert name == "frames"
        self._shapes = [least, best, most]


class _Runtime(_Real):
    kind = "Runtime"

    def __init__(self, trt: FakeTensorRT, log: Any) -> None:
        super().__init__(trt)
        self._log = log

    def deserialize_cuda_engine(self, plan: bytes) -> "_Engine | None":
        if not plan.startswith(b"plan"):
            self._log.log(_Logger.ERROR, "1: magic tag does not match")
            return None
        return _Engine(self._trt, json.loads(plan[4:]))


class _Engine(_Real):
    kind = "ICudaEngine"
    num_io_tensors = 3

    def __init__(self, trt: FakeTensorRT, plan: dict[str, Any]) -> None:
        super().__init__(trt)
        self._plan = plan

    def create_engine_inspector(self) -> "_Inspector":
        return _Inspector(self._trt, self._plan["layers"])

    def create_execution_context(self) -> "_Context":
        return _Context(self._trt, self._plan["shapes"])

    def get_tensor_name(self, index: int) -> str:
        return ("frames", "heatmap", "probability")[index]

    def get_tensor_mode(self, name: str) -> Any:
        return self._trt.TensorIOMode.INPUT if name == "frames" else self._trt.TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return {"frames": self._trt.DataType.UINT8, "heatmap": self._trt.DataType.HALF}.get(name, self._trt.DataType.FLOAT)

    def get_tensor_shape(self, name: str) -> list[int]:
        assert name == "frames"
        return [-1, *self._plan["shapes"][0][1:]]


class _Inspector(_Real):
    kind = "EngineInspector"

    def __init__(self, trt: FakeTensorRT, layers: list[str]) -> None:
        super().__init__(trt)
        self._layers = layers

    def get_engine_information(self, format: Any) -> str:
        assert format.name == "JSON"
        layers = [{"LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": kind}]} for kind in self._layers]
        reformat = {"LayerType": "Reformat", "Inputs": [{"Format/Datatype": "Row major linear FP16 format"}]}
        return json.dumps({"Layers": [reformat, *layers, "a layer by its name alone"], "Bindings": []})


class _Context(_Real):
    """Answers with each picture's mean blue and green in 0..1, and a heatmap of its red ones at stride 8."""

    kind = "IExecutionContext"

    def __init__(self, trt: FakeTensorRT, shapes: list[list[int]]) -> None:
        super().__init__(trt)
        self._most, self._addresses = shapes[2], dict[str, int]()

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == "frames"
        self._shape = shape
        return list(shape[1:]) == self._most[1:] and 1 <= shape[0] <= self._most[0]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        n, height, width, _ = self._shape
        return {"frames": self._shape, "probability": (n, 2), "heatmap": (n, height // 8, width // 8)}[name]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return address in self._trt.cuda.memory

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 77
        self._trt.cuda.calls.append("execute_async_v3")
        shape, size = self._shape, int(np.prod(self._shape))

        def run() -> None:
            frames = np.frombuffer(self._block("frames"), np.uint8, size).reshape(shape)
            scaled = frames.astype(np.float32) / 255
            answers = {
                "probability": scaled[..., :2].mean(axis=(1, 2)),
                "heatmap": scaled[:, ::8, ::8, 2].astype(np.float16),
            }
            for name, answer in answers.items():
                ctypes.memmove(self._addresses[name], np.ascontiguousarray(answer).tobytes(), answer.nbytes)

        self._trt.cuda.queue.append(run)
        return True

    def _block(self, name: str) -> Any:
        return self._trt.cuda.memory[self._addresses[name]]

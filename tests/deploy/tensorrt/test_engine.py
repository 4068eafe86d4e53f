"""The whole engine over doubles of TensorRT 8.5, 8.6, 10 and 11 and of the driver."""

import builtins
import gc
import hashlib
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy.engines.tensorrt import TensorRTEngine, cuda
from deploy.engines.tensorrt.versions import trtexec_command
from deploy.errors import EngineError, ProviderMissing
from deploy.preprocess import Picture
from tests.deploy.tensorrt import doubles
from tests.deploy.tensorrt.conftest import SIDE
from tests.deploy.tensorrt.doubles import VERSIONS, FakeCuda, FakeTensorRT

Install = Callable[[str], FakeTensorRT]
SIZE = (SIDE, SIDE, 3)
GPU = "NVIDIA Orin (nvgpu)"


def pictures(count: int) -> Picture:
    return np.random.default_rng(count).integers(0, 255, (count, *SIZE), np.uint8)


def engines_beside(model: Path) -> Path:
    return model.parents[1] / "engines" / "part-3"


def open_it(model: Path, precision: str = "int8-qdq", **settings: Any) -> tuple[TensorRTEngine, list[str]]:
    said: list[str] = []
    return TensorRTEngine(model, precision, tell=said.append, **settings), said


STRONG, WEAK = ("10.16", "11.4"), ("8.5", "8.6")
NO_OUTSIDE_KERNELS = "DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805"


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8-qdq"])
@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_is_told_its_own_flags(version: str, precision: str, install: Install, model: Path) -> None:
    trt = install(version)
    open_it(model, precision)
    strong = version in STRONG
    (bits,) = [one.name for one in trt.NetworkDefinitionCreationFlag if trt.network_bits >> one & 1]
    assert bits == ("STRONGLY_TYPED" if strong else "EXPLICIT_BATCH")
    weak = {"fp32": set[str](), "fp16": {"FP16"}, "int8-qdq": {"INT8"}}[precision]
    assert trt.flags == (set() if strong else weak | {NO_OUTSIDE_KERNELS})
    assert trt.cleared == ({"TF32"} if precision == "fp32" else set())
    assert trt.sources == {"EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"}


def test_no_name_outside_the_version_s_list_is_touched(trt: FakeTensorRT, model: Path) -> None:
    # The double refuses such a name; here, that it saw the calls at all, and that those of before 8.5 are not among them.
    engine, _ = open_it(model)
    engine.infer(pictures(1))
    used = set(trt.calls)
    everywhere = {"IExecutionContext.execute_async_v3", "IExecutionContext.set_tensor_address", "ICudaEngine.num_io_tensors"}
    everywhere |= {"IBuilderConfig.set_memory_pool_limit", "Builder.build_serialized_network", "IBuilderConfig.set_timing_cache"}
    assert used >= everywhere
    for call in used:
        kind, name = call.split(".")
        assert name in (trt.api.get(kind) or [name])
    for gone in {"8": ["set_communicator"], "1": ["execute_async_v2", "set_binding_shape"]}[trt.__version__[0]]:
        assert f"IExecutionContext.{gone}" not in used
        with pytest.raises(AttributeError):
            getattr(engine._context, gone)


def test_answers_come_from_the_device(trt: FakeTensorRT, model: Path) -> None:
    engine, _ = open_it(model, max_batch=4)
    for frames in (pictures(1), pictures(4), pictures(1), pictures(9), pictures(0), pictures(3)[:, ::-1]):
        answer = engine.infer(frames)
        np.testing.assert_allclose(answer.probability, frames[..., :2].mean(axis=(1, 2)) / 255, atol=1e-5)
        np.testing.assert_allclose(answer.heatmap, frames[:, ::8, ::8, 2] / 255, atol=1e-3)
        assert answer.probability.dtype == answer.heatmap.dtype == np.float32


def test_an_answer_is_not_overwritten_by_the_next(install: Install, model: Path) -> None:
    install("10.16")
    engine, _ = open_it(model)
    first = engine.infer(pictures(1))
    kept = first.probability.copy()
    engine.infer(255 - pictures(1))
    np.testing.assert_array_equal(first.probability, kept)


def test_calls_are_queued_in_order_and_nothing_is_allocated(install: Install, model: Path, cuda: FakeCuda) -> None:
    install("8.5")
    engine, _ = open_it(model, max_batch=4)
    opening = list(cuda.calls)
    assert opening[0] == "cuInit"
    assert (opening.count("cuMemAlloc_v2"), opening.count("cuMemHostAlloc"), opening.count("cuStreamCreate")) == (3, 3, 1)
    for count in (4, 1):
        cuda.calls.clear()
        engine.infer(pictures(count))
        one_run = ["cuMemcpyHtoDAsync_v2", "execute_async_v3", "cuMemcpyDtoHAsync_v2", "cuMemcpyDtoHAsync_v2"]
        assert cuda.calls == ["cuCtxSetCurrent", *one_run, "cuStreamSynchronize"]


def test_the_shape_is_told_only_when_it_changes(install: Install, model: Path) -> None:
    trt = install("8.6")
    engine, _ = open_it(model, max_batch=4)
    trt.calls.clear()
    for count in (1, 1, 1, 2, 2):
        engine.infer(pictures(count))
    assert trt.calls.count("IExecutionContext.set_input_shape") == 2


def test_another_thread_may_infer(install: Install, model: Path) -> None:
    install("11.4")
    engine, _ = open_it(model)
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(engine.infer(pictures(1))))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(answers[0].probability, engine.infer(pictures(1)).probability)


def test_what_was_allocated_is_given_back(install: Install, model: Path, cuda: FakeCuda) -> None:
    install("10.16")
    engine, _ = open_it(model)
    assert len(cuda.memory) == 6
    del engine
    gc.collect()
    assert cuda.memory == {}
    assert cuda.calls[-1] == "cuStreamDestroy_v2"
    assert "cuDevicePrimaryCtxRelease" not in "".join(cuda.calls)


@pytest.mark.parametrize("frames", [np.zeros((1, *SIZE), np.float32), np.zeros((1, 8, 8, 3), np.uint8), np.zeros(SIZE, np.uint8)])
def test_other_frames_are_refused(frames: Any, install: Install, model: Path) -> None:
    install("10.16")
    engine, _ = open_it(model)
    with pytest.raises(EngineError, match=r"expected N x \(16, 16, 3\) uint8"):
        engine.infer(frames)


@pytest.mark.parametrize("broken", ["cuMemcpyHtoDAsync_v2", "cuStreamSynchronize"])
def test_a_gpu_that_fails_is_an_error_and_no_answer(broken: str, install: Install, model: Path, cuda: FakeCuda) -> None:
    install("8.5")
    engine, _ = open_it(model)
    cuda.broken = broken
    with pytest.raises(EngineError, match=f"{broken} failed with 700, an illegal memory access"):
        engine.infer(pictures(1))


def _tensorrt_must_not_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def guarded(name: str, *rest: Any) -> Any:
        assert name != "tensorrt"
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", guarded)
    monkeypatch.setattr("deploy.engines.tensorrt.engine.load_tensorrt", lambda: pytest.fail("tensorrt was asked for"))


def test_without_a_driver_tensorrt_is_never_touched(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    _tensorrt_must_not_be_imported(monkeypatch)
    monkeypatch.setattr(cuda, "LIBRARY", "libcuda-of-nobody.so.1")
    with pytest.raises(ProviderMissing, match=r"no NVIDIA driver was found \(libcuda-of-nobody"):
        open_it(model)


@pytest.mark.parametrize(
    ("change", "expected"),
    [({"broken": "cuInit"}, "does not start .*cuInit failed with 700"), ({"count": 0}, "shows no GPU")],
)
def test_a_driver_without_a_gpu(
    change: dict[str, Any], expected: str, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    _tensorrt_must_not_be_imported(monkeypatch)
    for name, value in change.items():
        setattr(cuda, name, value)
    with pytest.raises(ProviderMissing, match=expected):
        open_it(model)


def test_without_tensorrt(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EngineError, match="TensorRT does not load"):
        open_it(model)


@pytest.mark.parametrize("thing", ["Builder", "Runtime"])
def test_a_gpu_that_this_version_does_not_know(thing: str, install: Install, model: Path) -> None:
    trt = install("8.5")

    def null(log: Any) -> None:
        log.log(1, "6: unsupported SM: 0x1209")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    setattr(trt, thing, null)
    with pytest.raises(EngineError, match=r"nullptr.*unsupported SM: 0x1209"):
        open_it(model)


def test_a_cpu_s_file_is_refused(install: Install, model: Path) -> None:
    install("10.16")
    with pytest.raises(EngineError, match="no int8-cpu file"):
        open_it(model, "int8-cpu")


def test_the_second_start_builds_nothing(trt: FakeTensorRT, model: Path) -> None:
    first, said = open_it(model)
    assert len(said) == 1
    assert "building the int8-qdq engine" in said[0]
    second, said = open_it(model)
    assert (trt.builds, said) == (1, [])
    assert second.name == first.name
    folder = engines_beside(model)
    digest = hashlib.sha256(model.read_bytes()).hexdigest()[:16]
    device = f"NVIDIA-Orin-nvgpu-sm87-trt{trt.__version__}"
    assert sorted(one.name for one in folder.iterdir()) == [f"{device}-int8-qdq-b8-{digest}.engine", f"{device}.timing"]
    assert [one.name for one in model.parent.iterdir()] == [model.name]


def the_engine(model: Path) -> Path:
    (file,) = engines_beside(model).glob("*.engine")
    return file


def _cut(raw: bytes) -> bytes:
    return raw[:-7]


def _flip(raw: bytes) -> bytes:
    return raw[:-1] + bytes([raw[-1] ^ 1])


def _other(key: str, value: Any) -> Callable[[bytes], bytes]:
    def change(raw: bytes) -> bytes:
        head, _, plan = raw.partition(b"\n")
        return json.dumps({**json.loads(head), key: value}).encode() + b"\n" + plan

    return change


def _no_plan(raw: bytes) -> bytes:
    head = json.loads(raw.partition(b"\n")[0])
    plan = b"of another build"
    return json.dumps({**head, "bytes": len(plan), "sha256": hashlib.sha256(plan).hexdigest()}).encode() + b"\n" + plan


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_cut, "is torn or was changed"),
        (_flip, "is torn or was changed"),
        (lambda raw: b"", "has no readable head"),
        (lambda raw: b"[]\n", "has no readable head"),
        (lambda raw: b"\x00" * 100_000, "has no readable head"),
        (_other("gpu", "NVIDIA H200"), "was made for gpu NVIDIA H200, not NVIDIA Orin"),
        (_other("capability", "9.0"), "was made for capability 9.0, not 8.7"),
        (_other("tensorrt", "7.1"), "was made for tensorrt 7.1"),
        (_other("precision", "fp32"), "was made for precision fp32"),
        (_other("onnx_sha256", "0" * 64), "was made for onnx_sha256 0"),
        (_other("recipe", 0), "was made for recipe 0, not 1"),
        (_no_plan, "is refused by TensorRT: 1: magic tag does not match"),
    ],
)
def test_a_torn_or_stale_engine_is_built_again(
    change: Callable[[bytes], bytes], expected: str, install: Install, model: Path
) -> None:
    trt = install("8.6")
    open_it(model)
    whole = the_engine(model).read_bytes()
    the_engine(model).write_bytes(change(whole))
    engine, said = open_it(model)
    assert trt.builds == 2
    assert expected in said[0]
    assert said[0].endswith("it is built again")
    assert the_engine(model).read_bytes() == whole
    assert len(engine.infer(pictures(1)).probability) == 1


@pytest.mark.parametrize("what", ["model", "precision", "batch", "version"])
def test_another_model_precision_batch_or_version_has_its_own_engine(what: str, install: Install, model: Path) -> None:
    install("8.6")
    open_it(model)
    if what == "model":
        model.write_bytes(model.read_bytes() + b"\x32\x01x")  # a doc_string: the same graph, other bytes
    trt = install("10.16" if what == "version" else "8.6")
    open_it(model, "fp16" if what == "precision" else "int8-qdq", max_batch=3 if what == "batch" else 8)
    assert trt.builds == 1
    assert len(list(engines_beside(model).glob("*.engine"))) == 2


def test_timings_are_learned_once_per_device(trt: FakeTensorRT, model: Path) -> None:
    open_it(model, "fp32")
    open_it(model, "fp16")
    assert trt.timings == [b"", b"+"]
    (file,) = engines_beside(model).glob("*.timing")
    file.write_bytes(file.read_bytes()[:-1])
    open_it(model, "int8-qdq")
    assert trt.timings[2] == b""
    trt.foreign_timing = b"+"
    the = model.parent / "other.onnx"
    the.write_bytes(model.read_bytes() + b"\x32\x01x")
    open_it(the)
    assert trt.timings[3] == b""


def test_a_folder_that_cannot_be_written_only_costs_time(install: Install, model: Path, tmp_path: Path) -> None:
    install("10.16")
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    engine, said = open_it(model, folder=blocked / "engines")
    assert "cannot be kept" in said[-1]
    assert len(engine.infer(pictures(2)).probability) == 2


def test_layers_without_an_int8_kernel_are_left_out_one_by_one(trt: FakeTensorRT, model: Path) -> None:
    trt.without_int8 = {"Conv_1", "Conv_12"}
    engine, said = open_it(model)
    assert trt.builds == 3
    assert ["Conv_1:" in said[1], "Conv_12:" in said[2]] == [True, True]
    assert "no INT8 kernel for" in said[1]
    assert "2 left in floating point" in engine.name
    assert trt.timings == [b"", b"+", b"++"]  # what a failed build measured is not measured again
    again, said = open_it(model)
    assert (trt.builds, said, again.name) == (3, [], engine.name)


def test_the_parser_s_refusal_names_a_layer_too(trt: FakeTensorRT, model: Path) -> None:
    onnx = pytest.importorskip("onnx")
    nodes = list(onnx.load(model).graph.node)
    at = next(index for index, node in enumerate(nodes) if node.name == "weight1_QuantizeLinear")
    trt.parser_refuses = (at, "Assertion failed: scale")
    engine, said = open_it(model)
    assert "Conv_1:" in said[1]
    assert "1 left in floating point" in engine.name


def test_the_tries_are_bounded_and_the_end_says_what_to_run(
    trt: FakeTensorRT, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trt.without_int8 = {"Conv_1", "/b/Conv", "Conv_12"}
    monkeypatch.setattr("deploy.engines.tensorrt.build.MAX_EXCLUSIONS", 2)
    with pytest.raises(EngineError) as raised:
        open_it(model)
    assert trt.builds == 3
    said = str(raised.value)
    assert "with Conv_1, /b/Conv already in floating point" in said
    assert "Could not find any implementation for node weight3" in said
    shapes = "--minShapes=frames:1x16x16x3 --optShapes=frames:1x16x16x3 --maxShapes=frames:8x16x16x3"
    typed = {"10": " --stronglyTyped", "11": ""}.get(trt.__version__.split(".")[0], " --int8")
    assert said.endswith(f"trtexec --onnx={model} --verbose {shapes}{typed}")


def test_a_refusal_of_something_else_is_not_tried_again(install: Install, model: Path) -> None:
    trt = install("10.16")
    trt.without_int8 = {"Conv_1"}
    other = "Could not find any implementation for node {ForeignNode[Softmax_3...TopK_4]}"
    trt.Builder = _refusing(trt.Builder, other)
    with pytest.raises(EngineError, match="ForeignNode"):
        open_it(model)
    assert trt.builds == 1


def _no_shape(context: Any, name: str) -> tuple[int, ...]:
    return (1, 2) if name == "probability" else (8, *SIZE)


@pytest.mark.parametrize(
    ("kind", "method", "does", "expected"),
    [
        ("_Engine", "create_execution_context", lambda *asked: None, "does not start: TensorRT gave no reason; free memory"),
        ("_Engine", "get_tensor_name", lambda engine, index: f"tensor{index}", "tensors are tensor0, tensor1, tensor2; expected"),
        ("_Engine", "get_tensor_dtype", lambda engine, name: engine._trt.DataType.FLOAT, "takes float32 frames, uint8 expected"),
        ("_Engine", "get_tensor_dtype", lambda *asked: "FP8", "a tensor of type FP8; expected one of FLOAT"),
        ("_Context", "get_tensor_shape", _no_shape, r"probability has shape \(1, 2\) for 8 pictures"),
        ("_Context", "set_input_shape", lambda *asked: False, r"takes no \(8, 16, 16, 3\)"),
        ("_Context", "set_tensor_address", lambda *asked: False, "takes no memory for frames"),
        ("_Runtime", "deserialize_cuda_engine", lambda *asked: None, "does not load the engine it just built"),
    ],
)
def test_what_tensorrt_denies_at_the_start_is_told(
    kind: str, method: str, does: Any, expected: str, install: Install, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("10.16")
    monkeypatch.setattr(getattr(doubles, kind), method, does)
    with pytest.raises(EngineError, match=expected):
        open_it(model)


@pytest.mark.parametrize("method", ["execute_async_v3", "set_input_shape"])
def test_what_tensorrt_denies_later_is_told(method: str, install: Install, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("11.4")
    engine, _ = open_it(model)
    monkeypatch.setattr(doubles._Context, method, lambda *asked: False)
    with pytest.raises(EngineError, match="failed on 1 pictures: TensorRT gave no reason; open the engine again"):
        engine.infer(pictures(1))


def test_a_graph_for_one_picture_only_is_refused(install: Install, model: Path) -> None:
    install("10.16")
    onnx = pytest.importorskip("onnx")
    fixed = onnx.load(model)
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(fixed, model)
    with pytest.raises(EngineError, match=r"the graph takes .*expected frames, N x H x W x 3 with any N"):
        open_it(model)


def test_a_file_that_is_gone(install: Install, model: Path) -> None:
    install("10.16")
    model.unlink()
    with pytest.raises(EngineError, match="cannot be read"):
        open_it(model)


def test_an_empty_batch_is_refused(install: Install, model: Path) -> None:
    install("10.16")
    with pytest.raises(EngineError, match="largest batch of 0"):
        open_it(model, max_batch=0)


@pytest.mark.parametrize(
    ("precision", "version", "expected"),
    [
        ("fp32", "8.6", " --noTF32"),
        ("fp32", "11.4", " --noTF32"),
        ("fp16", "8.5", " --fp16"),
        ("fp16", "10.16", " --stronglyTyped"),
    ],
)
def test_the_command_that_shows_more(precision: str, version: str, expected: str, install: Install) -> None:
    command = trtexec_command(install(version), Path("a b/model.onnx"), precision, None, 8)
    assert command == f"trtexec '--onnx=a b/model.onnx' --verbose{expected}"


def _refusing(builder: Callable[[Any], Any], said: str) -> Callable[[Any], Any]:
    class Other:
        def log(self, severity: int, msg: str) -> None:
            self.log_to.log(severity, said)

        def __init__(self, log: Any) -> None:
            self.log_to = log

    return lambda log: builder(Other(log))


def test_without_onnx_a_refused_layer_says_what_to_install(
    install: Install, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trt = install("8.5")
    trt.without_int8 = {"Conv_1"}
    monkeypatch.setattr("deploy.engines.tensorrt.build.read_graph", lambda content: None)
    monkeypatch.setattr("deploy.engines.tensorrt.build.importlib.util.find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"Conv_1 .*`pip install onnx`"):
        open_it(model)


@pytest.mark.parametrize("version", WEAK)
def test_an_engine_that_runs_in_something_else_is_refused(version: str, install: Install, model: Path) -> None:
    trt = install(version)
    trt.layer_types = ["Row major linear FP32"] * 3
    with pytest.raises(EngineError, match=r"asked for int8-qdq, .*otherwise \(3 in FP32\)"):
        open_it(model)
    trt.layer_types = ["Row major linear FP32", "Row major linear FP16 format", "Row major linear UINT8"]
    with pytest.raises(EngineError, match=r"asked for fp32, .*1 in FP32, 1 in FP16"):
        open_it(model, "fp32")
    trt.layer_types = ["Row major linear FP32", "Thirty-two wide channel vectorized row major Int8 format"]
    engine, _ = open_it(model, max_batch=2)
    assert engine.name == f"tensorrt {trt.__version__} {GPU} int8-qdq (1 of 2 layers in INT8)"


def test_a_strongly_typed_engine_keeps_its_graph_s_types(install: Install, model: Path) -> None:
    trt = install("11.4")
    trt.layer_types = ["a format of tomorrow"]
    engine, _ = open_it(model)
    assert "types of layers not told" in engine.name

"""Bundles of several models, signed here, in a folder of their own; and an NVIDIA GPU with TensorRT that is a double."""

import importlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.bundle import sha256_of
from deploy.installation import install
from tests.deploy.redness import sign
from tests.deploy.tensorrt.doubles import FakeCuda, FakeTensorRT

FILES = {"fp32": "model.onnx", "fp16": "model.fp16.onnx", "int8-qdq": "model.int8.qdq.onnx", "int8-cpu": "model.int8.cpu.onnx"}
LAB = ("onnxruntime", "openvino")

Product = Callable[..., Path]


@pytest.fixture
def product(tmp_path: Path, bundle_path: Path) -> Product:
    """Makes `bundles/redness-1`: by precision, what is otherwise than for fp32 (golden, accept, reject, refused by engine)."""

    def make(**models: dict[str, Any]) -> Path:
        path = tmp_path / "bundles" / "redness-1"
        if path.exists():
            shutil.rmtree(path)
        shutil.copytree(bundle_path, path)
        spec = json.loads((path / "bundle.json").read_text())
        plain = spec["models"]["fp32"]
        spec["models"], spec["left_out"] = {}, {}
        for name, other in {"fp32": {}, **models}.items():
            precision = name.replace("_", "-")
            refused = other.get("refused", {})
            judged = plain["engines"]["onnxruntime"]
            thresholds = {key: other.get(key, judged["thresholds"][key]) for key in ("accept", "reject")}
            engines = {one: {**judged, "thresholds": thresholds, "refused": refused.get(one, "")} for one in LAB}
            golden = other.get("golden", plain["golden"])
            spec["models"][precision] = {**plain, "file": FILES[precision], "engines": engines, "golden": golden}
            if precision != "fp32":
                shutil.copyfile(path / "model.onnx", path / FILES[precision])
            spec["files"][FILES[precision]] = sha256_of(path / FILES[precision])
        sign(path, json.dumps(spec, indent=2).encode())
        return path

    return make


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time each pair for the fewest rounds."""
    monkeypatch.setattr(install, "SECONDS_EACH", 0.0)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeTensorRT:
    """A driver, a GPU and TensorRT 10.16, which answers each picture's mean green for its defect probability."""
    found = FakeCuda()
    monkeypatch.setattr(importlib.import_module("deploy.engines.tensorrt.cuda"), "load_library", lambda: found)
    trt = FakeTensorRT("10.16", found)
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    return trt

"""What `inspector doctor` says of the engines and of the NVIDIA driver: version and devices, or why not and what to install."""

import ctypes
import importlib
import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.engines.onnxruntime import CUDA, INSTALL_CUDA
from deploy.engines.openvino import INSTALL as INSTALL_OPENVINO
from deploy.engines.tensorrt import cuda
from deploy.engines.tensorrt.versions import load_tensorrt
from deploy.errors import EngineError
from deploy.installation.fact import Fact
from deploy.installation.machine import read_line
from deploy.untrusted import shown


def runtime_facts(root: Path) -> Iterator[Fact]:
    """onnxruntime, OpenVINO, the driver, and TensorRT last: without a driver it must not even be imported."""
    yield from _onnxruntime()
    yield _openvino()
    try:
        driver = cuda.Driver()
    except EngineError as error:
        yield Fact("NVIDIA GPU", "none", str(error))
        yield Fact("tensorrt", "not looked for, as it needs the driver", "")
        return
    yield Fact("NVIDIA GPU", f"{driver.gpu}, compute capability {driver.capability}, {_driver_version(root)}")
    yield _tensorrt()


def _onnxruntime() -> Iterator[Fact]:
    module, trouble = _load("onnxruntime")
    if module is None:
        yield Fact("onnxruntime", f"not here ({trouble})", "install the extra `cpu`, or `gpu` on a machine with an NVIDIA GPU")
        return
    providers = module.get_available_providers()
    names = ", ".join(name.removesuffix("ExecutionProvider") for name in providers)
    yield Fact("onnxruntime", f"{module.__version__}: {names}", "" if CUDA in providers else f"for an NVIDIA GPU {INSTALL_CUDA}")
    both = [name for name in ("onnxruntime", "onnxruntime-gpu") if _distribution(name)]
    if len(both) > 1:
        todo = "they overwrite each other: `pip uninstall onnxruntime onnxruntime-gpu`, then install one of them"
        yield Fact("onnxruntime", f"{' and '.join(both)} are both installed", todo)


def _openvino() -> Fact:
    module, trouble = _load("openvino")
    if module is None:
        return Fact("openvino", f"not here ({trouble})", INSTALL_OPENVINO)
    try:
        core = module.Core()
        devices = ", ".join(f"{name} ({core.get_property(name, 'FULL_DEVICE_NAME')})" for name in core.available_devices)
    except Exception as error:  # OpenVINO raises RuntimeError for everything
        devices = f"its devices cannot be listed ({shown(error, 120)})"
    return Fact("openvino", f"{module.__version__.split('-')[0]}: {devices or 'no device'}")


def _tensorrt() -> Fact:
    try:
        return Fact("tensorrt", str(load_tensorrt().__version__))
    except EngineError as error:
        return Fact("tensorrt", "not here", str(error))


def _driver_version(root: Path) -> str:
    """The kernel module's version, and the newest CUDA it runs."""
    found = re.search(r"Kernel Module(?: for \S+)?\s+([\d.]+)", read_line(root / "proc/driver/nvidia/version"))
    number = ctypes.c_int()
    library = cuda.load_library()
    known = library.cuDriverGetVersion(ctypes.byref(number)) == 0 and number.value >= 1000
    newest = f", CUDA up to {number.value // 1000}.{number.value % 1000 // 10}" if known else ""
    return f"driver {found[1] if found else 'of unknown version'}{newest}"


def _load(name: str) -> tuple[Any, str]:
    try:
        return importlib.import_module(name), ""
    except (ImportError, OSError) as error:  # OSError: one of its libraries does not load
        return None, shown(error, 120)


def _distribution(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True

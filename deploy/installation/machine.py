"""What identifies this machine, and the versions of the runtimes on it."""

import importlib
import os
import platform
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from deploy.engines.tensorrt.cuda import Driver
from deploy.engines.tensorrt.versions import load_tensorrt
from deploy.errors import EngineError

GPU_RUNTIMES = ("onnxruntime-cuda", "tensorrt")
ROOT = Path("/")


class Machine(BaseModel):
    """What a choice is good for: figures of another processor or GPU say nothing about this one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    platform: str = Field(description="system and architecture")
    cpu: str = Field(description="model of the processor")
    cores: int = Field(description="cores that are built in, whether the power mode has them on or not")
    gpu: str | None = Field(None, description="name of the first NVIDIA GPU, where the driver shows one")

    def __str__(self) -> str:
        return f"{self.platform}, {self.cpu}, {self.cores} cores, {self.gpu or 'no NVIDIA GPU'}"


def this_machine(root: Path = ROOT) -> Machine:
    """What this machine is; `root` is where its file system begins. The driver is asked for the GPU."""
    return Machine(platform=this_platform(), cpu=cpu_model(root), cores=cores(), gpu=gpu_name())


def this_platform() -> str:
    """System and architecture."""
    return f"{platform.system()} {platform.machine()}"


def cpu_model(root: Path = ROOT) -> str:
    """What the processor calls itself; on most ARM boards that is the board."""
    named = cpu_facts(root).get("model name", "")
    board = read_line(root / "proc/device-tree/model")
    if board and (not named or named.startswith("ARM")):  # ARMv8 Processor rev 1 (v8l) is every Jetson
        return board
    return named or platform.processor() or "unknown processor"


def cores() -> int:
    """Cores that are built in; a Jetson's power modes switch some of them off."""
    return os.sysconf("SC_NPROCESSORS_CONF") if hasattr(os, "sysconf") else os.cpu_count() or 1


def gpu_name() -> str | None:
    """The first NVIDIA GPU, None without a working driver."""
    try:
        return Driver().gpu
    except EngineError:
        return None


def version_of(runtime: str) -> str | None:
    """The version of a runtime of deploy.engines.RUNTIMES that is here; None when it is not."""
    try:
        if runtime == "tensorrt":
            Driver()  # first of all: without a driver TensorRT can crash the process
            return str(load_tensorrt().__version__)
        module = importlib.import_module(runtime.removesuffix("-cuda"))
        if runtime == "onnxruntime-cuda" and "CUDAExecutionProvider" not in module.get_available_providers():
            return None
    except (ImportError, OSError, EngineError):  # OSError: a library of it does not load
        return None
    return str(module.__version__).split("-")[0]


def cpu_facts(root: Path = ROOT) -> dict[str, str]:
    """/proc/cpuinfo of the first processor; empty where there is none."""
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


def read_line(file: Path) -> str:
    """The first line of one of the system's small files, without the NUL that the device tree ends with; empty if unreadable."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").replace("\0", "").strip().splitlines()
    except OSError:
        return ""
    return lines[0].strip() if lines else ""

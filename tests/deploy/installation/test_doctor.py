"""Machines drawn as trees of the files that they have, in the formats of the real ones."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import deploy
from deploy.engines.tensorrt import cuda
from deploy.installation import doctor
from deploy.installation.doctor import clock_is_set, examine, run_command
from deploy.installation.fact import Fact
from deploy.installation.machine import cpu_model
from tests.deploy.tensorrt.doubles import FakeTensorRT

ORIN_CONF = """\
# Copyright (c) NVIDIA CORPORATION
< PARAM TYPE=FILE NAME=CPU_ONLINE >
CORE_0 /sys/devices/system/cpu/cpu0/online
# < POWER_MODEL ID=9 NAME=MAXN_NOT_THIS >
< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=25W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
CPU_ONLINE CORE_0 1
< PM_CONFIG DEFAULT=1 >
"""
GPU_CLOCK = "sys/class/devfreq/17000000.gpu"
ORIN = {
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, "
    "DATE: Wed Jan  8 01:49:37 UTC 2025\n# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n",
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
    "etc/nvpmodel.conf": ORIN_CONF,
    "var/lib/nvpmodel/status": "pmode:0001 fmode:quiet",
    f"{GPU_CLOCK}/min_freq": "306000000\n",
    f"{GPU_CLOCK}/max_freq": "1020000000\n",
    f"{GPU_CLOCK}/cur_freq": "306000000\n",
    "sys/class/devfreq/15480000.nvdec/min_freq": "1\n",
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: ARMv8 Processor rev 1 (v8l)\nBogoMIPS\t: 62.50\n"
    "Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp uscat\n"
    "CPU implementer\t: 0x41\nCPU part\t: 0xd42\n\nprocessor\t: 1\n",
    "proc/meminfo": "MemTotal:        7802520 kB\nMemFree:          238196 kB\nMemAvailable:    5012340 kB\n",
    "etc/os-release": 'PRETTY_NAME="Ubuntu 22.04.5 LTS"\nNAME="Ubuntu"\nVERSION_ID="22.04"\n',
    "etc/group": "root:x:0:\nvideo:x:44:gdm,line\n",
    "sys/class/video4linux/video0/name": "vi-output, imx219 10-0010\n",
    "sys/class/video4linux/video10/name": "UVC Camera\x1b[2J (046d:0825)\n",
    "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build\n",
}
PC = {
    "proc/cpuinfo": "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Core(TM) i5-6500TE CPU @ 2.30GHz\n"
    "flags\t\t: fpu vme sse4_2 avx avx2 f16c\n\nprocessor\t: 1\n",
    "proc/meminfo": "MemTotal:        3902520 kB\nMemFree:          238196 kB\nMemAvailable:    412340 kB\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
    "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\n",
}


def draw(root: Path, files: dict[str, str], **changes: str | None) -> Path:
    for name, content in {**files, **changes}.items():
        if content is not None:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content)
    return root


def facts(root: Path, said: str = "", user: int = 1000) -> dict[str, Fact]:
    found = examine(root, lambda words: said if words == ["nvpmodel", "-q"] else "", user)
    return {fact.what: fact for fact in found}


def test_a_jetson(tmp_path: Path) -> None:
    found = facts(draw(tmp_path, ORIN), said="NV Power Mode: 25W\n1\n")
    assert found["Jetson"] == Fact("Jetson", "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super")
    assert found["L4T"] == Fact("L4T", "36.4.3 (JetPack 6)")
    assert found["power mode"].found == "25W"
    assert "`sudo nvpmodel -m 2` (MAXN_SUPER)" in found["power mode"].todo
    assert found["GPU clock"].found == "306 MHz of 306 to 1020"
    assert "`sudo jetson_clocks`" in found["GPU clock"].todo
    assert found["CPU"].found.startswith("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super, ")
    assert found["CPU"].found.endswith("asimddp")
    assert found["CPU"].todo == ""
    assert found["memory"] == Fact("memory", "5.0 of 7.8 GB free")
    assert found["system"].found.startswith("Ubuntu 22.04.5 LTS, ")
    assert found["video devices"].found == "/dev/video0 vi-output, imx219 10-0010, /dev/video10 UVC Camera?[2J (046d:0825)"
    assert "`inspector cameras`" in found["video devices"].todo


@pytest.mark.parametrize(
    ("changes", "said", "expected"),
    [
        pytest.param({}, "", "25W", id="nvpmodel wants root: its state and its table"),
        pytest.param({}, "NV Fan Mode:quiet\nNV Power Mode: MAXN_SUPER\n2\n", "MAXN_SUPER", id="the fastest already"),
        pytest.param({"etc/nvpmodel.conf": None}, "", "mode 1", id="without the table"),
        pytest.param({"etc/nvpmodel.conf": None, "var/lib/nvpmodel/status": None}, "", "unknown", id="in a container"),
        pytest.param({"etc/nvpmodel.conf": "\xff garbage"}, "NV Power Mode: 15W\n0\n", "15W", id="a torn table"),
    ],
)
def test_power_modes(changes: dict[str, str | None], said: str, expected: str, tmp_path: Path) -> None:
    fact = facts(draw(tmp_path, ORIN, **changes), said)["power mode"]
    assert fact.found == expected
    assert ("nvpmodel -m" in fact.todo) == (expected == "25W")


@pytest.mark.parametrize(
    ("release", "found", "todo"),
    [
        ("# R38 (release), REVISION: 2.0, GCID: 1", "38.2.0 (JetPack 7)", ""),
        ("# R35 (release), REVISION: 4.1, GCID: 1", "35.4.1 (JetPack 5)", "JetPack 6 or later is needed"),
        ("# R32(release), REVISION: 6.1, GCID: 1", "32.6.1 (JetPack 4)", "JetPack 6 or later is needed"),
        ("# R77 (release), REVISION: 1.0", "77.1.0", ""),
        ("something else", "unknown", "mount it"),
        ("", "unknown", "mount it"),
    ],
)
def test_releases(release: str, found: str, todo: str, tmp_path: Path) -> None:
    fact = facts(draw(tmp_path, ORIN, **{"etc/nv_tegra_release": release}))["L4T"]
    assert fact.found == found
    assert todo in fact.todo
    assert bool(todo) == bool(fact.todo)


def test_pinned_clocks_need_nothing(tmp_path: Path) -> None:
    fact = facts(draw(tmp_path, ORIN, **{f"{GPU_CLOCK}/min_freq": "1020000000", f"{GPU_CLOCK}/cur_freq": "1020000000"}))[
        "GPU clock"
    ]
    assert fact == Fact("GPU clock", "1020 MHz of 1020 to 1020")


def test_a_pc(tmp_path: Path) -> None:
    found = facts(draw(tmp_path, PC))
    assert not {"Jetson", "L4T", "power mode", "GPU clock"} & set(found)
    assert found["CPU"].found.startswith("Intel(R) Core(TM) i5-6500TE CPU @ 2.30GHz, ")
    assert found["CPU"].found.endswith("avx2")
    assert "no instructions for INT8" in found["CPU"].todo
    assert "cpupower frequency-set -g performance" in found["CPU governor"].todo
    assert found["memory"].found == "0.4 of 3.9 GB free"
    assert found["memory"].todo
    assert found["video devices"].found == "none"
    assert found["group video"].found == "there is none"
    assert "--trust KEY" in found["trusted key"].todo


def test_an_empty_machine_is_no_crash(tmp_path: Path) -> None:
    found = facts(tmp_path)
    assert {"Python", "system", "CPU", "memory", "disk", "onnxruntime", "openvino", "tensorrt", "clock"} <= set(found)


@pytest.mark.parametrize("name", sorted(ORIN))
def test_files_of_any_content_are_no_crash(name: str, tmp_path: Path) -> None:
    for content in (b"", b"\x00" * 100, b"\xff\xfe\xfd", b"a" * 100_000, b": :\n: kB\n< POWER_MODEL ID= NAME= >"):
        (draw(tmp_path, ORIN) / name).write_bytes(content)
        assert facts(tmp_path)


def test_files_that_cannot_be_read_are_no_crash(tmp_path: Path) -> None:
    for name in ORIN:
        (tmp_path / name).mkdir(parents=True)
    assert facts(tmp_path)


def test_the_group_that_opens_cameras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = draw(tmp_path, ORIN)
    monkeypatch.setattr(os, "getgroups", lambda: [1000])
    assert "usermod -aG video" in facts(root)["group video"].todo
    monkeypatch.setattr(os, "getgroups", lambda: [1000, 44])
    assert facts(root)["group video"].todo == ""
    assert "group video" not in facts(root, user=0)


def test_engines_that_are_here_and_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    assert facts(tmp_path)["onnxruntime"].found.startswith(f"{onnxruntime.__version__}: ")
    for name in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(cuda, "LIBRARY", "libcuda-of-nobody.so.1")
    found = facts(tmp_path)
    assert found["onnxruntime"].found.startswith("not here")
    assert "extra `cpu`" in found["onnxruntime"].todo
    assert "pip install openvino" in found["openvino"].todo
    assert found["NVIDIA GPU"].found == "none"
    assert "no NVIDIA driver was found" in found["NVIDIA GPU"].todo
    assert "not looked for" in found["tensorrt"].found


def test_an_openvino_that_cannot_list_its_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed; `pip install openvino`")

    def broken() -> None:
        raise RuntimeError("Cannot load library plugins.xml")

    monkeypatch.setattr(openvino, "Core", broken)
    assert "its devices cannot be listed (Cannot load" in facts(tmp_path)["openvino"].found


@pytest.mark.parametrize(("machine", "driver"), [(ORIN, "540.4.0"), (PC, "535.129.03"), ({}, "of unknown version")])
def test_a_gpu(machine: dict[str, str], driver: str, gpu: FakeTensorRT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = facts(draw(tmp_path, machine))
    assert found["NVIDIA GPU"] == Fact("NVIDIA GPU", f"NVIDIA Orin (nvgpu), compute capability 8.7, driver {driver}")
    assert found["tensorrt"] == Fact("tensorrt", gpu.__version__)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert "--system-site-packages" in facts(tmp_path)["tensorrt"].todo
    gpu.cuda.broken = "cuInit"
    assert "does not start" in facts(tmp_path)["NVIDIA GPU"].todo


def test_the_newest_cuda(gpu: FakeTensorRT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(number: object) -> int:
        number._obj.value = 12060  # type: ignore[attr-defined]
        return 0

    gpu.cuda.cuDriverGetVersion = answer  # type: ignore[attr-defined]
    assert facts(tmp_path)["NVIDIA GPU"].found.endswith("driver of unknown version, CUDA up to 12.6")


@pytest.mark.parametrize(("kept", "found"), [(True, "synchronised"), (False, "not synchronised"), (None, "cannot be asked")])
def test_the_clock(kept: bool | None, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert clock_is_set() in (True, False, None)
    monkeypatch.setattr(doctor, "clock_is_set", lambda: kept)
    fact = facts(tmp_path)["clock"]
    assert fact.found == found
    assert bool(fact.todo) == (kept is False)


def test_commands_that_are_not_there_or_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_command(["no-such-command-anywhere"]) == ""
    assert run_command([sys.executable, "-c", "print('NV Power Mode: 15W')"]).strip() == "NV Power Mode: 15W"

    def hangs(*words: object, **options: object) -> None:
        raise subprocess.TimeoutExpired("nvpmodel", 5)

    monkeypatch.setattr(subprocess, "run", hangs)
    assert run_command(["nvpmodel", "-q"]) == ""


@pytest.mark.parametrize(
    ("cpuinfo", "board", "expected"),
    [
        ("model name\t: AMD EPYC\n", None, "AMD EPYC"),
        (
            "model name\t: ARMv8 Processor rev 1 (v8l)\n",
            "NVIDIA Jetson AGX Orin Developer Kit\0",
            "NVIDIA Jetson AGX Orin Developer Kit",
        ),
        ("BogoMIPS\t: 108.00\nFeatures\t: fp asimd\n", "Raspberry Pi 5 Model B Rev 1.0\0", "Raspberry Pi 5 Model B Rev 1.0"),
        ("model name\t: ARMv8 Processor rev 1 (v8l)\n", None, "ARMv8 Processor rev 1 (v8l)"),
    ],
)
def test_what_a_processor_is_called(cpuinfo: str, board: str | None, expected: str, tmp_path: Path) -> None:
    assert cpu_model(draw(tmp_path, {"proc/cpuinfo": cpuinfo}, **{"proc/device-tree/model": board})) == expected


def inspector_doctor(*words: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(Path(deploy.__file__).parents[1]), "COLUMNS": "200"}
    command = [sys.executable, "-m", "deploy.cli", "doctor", *words]
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)


def test_the_command() -> None:
    done = inspector_doctor("--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert all(set(fact) == {"what", "found", "todo"} and fact["what"] and fact["found"] for fact in found)
    shown = inspector_doctor()
    assert (shown.returncode, shown.stderr) == (0, "")
    for fact in found:
        assert fact["what"] in shown.stdout

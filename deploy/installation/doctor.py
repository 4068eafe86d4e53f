"""`inspector doctor`: what this machine has for the inspector, and what to do for more. It looks only, and never fails."""

import ctypes
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.installation.fact import Fact
from deploy.installation.jetson import Ask, jetson_facts
from deploy.installation.machine import ROOT, cores, cpu_facts, cpu_model, read_line
from deploy.installation.runtimes import runtime_facts
from deploy.untrusted import shown

SETS = ("avx2", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm")
INT8_SETS = frozenset(SETS) - {"avx2"}
LEAST_DISK_GB, LEAST_MEMORY_GB = 2, 1
_TIME_ERROR = 5  # what the kernel answers while no clock disciplines it


def doctor(as_json: bool, console: Console) -> None:
    """Print every fact, as a table or as JSON."""
    facts = examine()
    if as_json:
        print(json.dumps([asdict(fact) for fact in facts], indent=2))
        return
    table = Table("what", "found", "for more")
    for fact in facts:
        table.add_row(fact.what, Text(fact.found), Text(fact.todo))
    console.print(table)


def examine(root: Path = ROOT, ask: Ask | None = None, user: int | None = None) -> list[Fact]:
    """All facts; `root` is where the file system of the machine begins, `ask` runs a command, `user` is a user's number."""
    here = [*_system(root), *jetson_facts(root, ask or run_command), *runtime_facts(root)]
    return [*here, *_cameras(root, os.geteuid() if user is None else user), _clock(), _key()]


def run_command(words: list[str]) -> str:
    """What a command prints within 5 seconds; empty where there is no such command, or it fails."""
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return done.stdout


def _system(root: Path) -> Iterator[Fact]:
    yield Fact("Python", platform.python_version())
    names = dict(re.findall(r'^(\w+)="?(.*?)"?$', _text(root / "etc/os-release"), re.MULTILINE))
    yield Fact("system", f"{names.get('PRETTY_NAME') or platform.system()}, {platform.release()}, {platform.machine()}")
    yield _cpu(root)
    yield from _governor(root)
    yield _memory(root)
    free_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    full = f"records and TensorRT's engines need room: free {LEAST_DISK_GB} GB" if free_gb < LEAST_DISK_GB else ""
    yield Fact("disk", f"{free_gb:.1f} GB free where you are", full)


def _cpu(root: Path) -> Fact:
    facts = cpu_facts(root)
    there = set((facts.get("flags") or facts.get("Features", "")).split())
    known = [name for name in SETS if name in there]
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores()
    count = f"{cores()} cores" + (f" ({usable} of them for this process)" if usable != cores() else "")
    slow = (
        "" if there & INT8_SETS else "no instructions for INT8 here: it saves memory rather than time; inspector install measures"
    )
    return Fact(
        "CPU", f"{cpu_model(root)}, {count}, {' '.join(known) or 'no vector extensions that matter'}", slow if there else ""
    )


def _governor(root: Path) -> Iterator[Fact]:
    governor = read_line(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if governor:
        slow = "it saves power: `sudo cpupower frequency-set -g performance` for even times" if governor == "powersave" else ""
        yield Fact("CPU governor", governor, slow)


def _memory(root: Path) -> Fact:
    sizes = {key: int(kilobytes) / 1e6 for key, kilobytes in re.findall(r"^(\w+): +(\d+) kB", _text(root / "proc/meminfo"), re.M)}
    if "MemTotal" not in sizes:
        return Fact("memory", "unknown")
    free = sizes.get("MemAvailable", sizes.get("MemFree", 0.0))
    short = "close other programs: building a TensorRT engine takes about that much" if free < LEAST_MEMORY_GB else ""
    return Fact("memory", f"{free:.1f} of {sizes['MemTotal']:.1f} GB free", short)


def _cameras(root: Path, user: int) -> Iterator[Fact]:
    devices = sorted((root / "sys/class/video4linux").glob("video*"), key=lambda entry: (len(entry.name), entry.name))
    names = [f"/dev/{entry.name} {shown(read_line(entry / 'name') or 'without a name', 60)}" for entry in devices]
    more = "`inspector cameras` looks for GigE, USB3 Vision, CSI and Basler cameras too"
    yield Fact(
        "video devices", ", ".join(names) or "none", more if names else f"plug one in, or pass it to the container; {more}"
    )
    if user != 0:
        yield _video_group(root)


def _video_group(root: Path) -> Fact:
    """Video devices belong to the group `video` on every common distribution."""
    found = re.search(r"^video:[^:]*:(\d+):", _text(root / "etc/group"), re.MULTILINE)
    number = int(found[1]) if found else None
    if number is None:
        return Fact("group video", "there is none", "see `ls -l /dev/video*` for who may open a camera")
    if number in os.getgroups():
        return Fact("group video", "this user is in it")
    return Fact(
        "group video", "this user is not in it", "`sudo usermod -aG video $USER`, then log in again: it opens the cameras"
    )


def clock_is_set() -> bool | None:
    """Does something keep the system's clock right (NTP, PTP, chrony)? None where the kernel cannot be asked."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    answer = adjtimex(ctypes.create_string_buffer(512))  # struct timex with modes 0: asks, changes nothing
    return None if answer < 0 else answer != _TIME_ERROR


def _clock() -> Fact:
    kept = clock_is_set()
    if kept is None:
        return Fact("clock", "cannot be asked")
    if kept:
        return Fact("clock", "synchronised")
    return Fact(
        "clock", "not synchronised", "times in the record drift: `sudo timedatectl set-ntp true`, or chrony with your time server"
    )


def _key() -> Fact:
    return Fact(
        "trusted key",
        "none is kept on a device",
        "give --trust KEY (the line in the lab's signing_key.pub) to install, run and selftest: other bundles are then refused",
    )


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

"""What only a Jetson has: its release of Linux for Tegra, its power mode and its clocks. Empty on any other machine."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from deploy.installation.fact import Fact
from deploy.installation.machine import read_line

JETPACK = {"32": "4", "35": "5", "36": "6", "38": "7"}
Ask = Callable[[list[str]], str]


def jetson_facts(root: Path, ask: Ask) -> Iterator[Fact]:
    """Model, release, power mode and clocks. `ask` runs a command and gives what it printed, or an empty text."""
    release = read_line(root / "etc/nv_tegra_release")
    model = read_line(root / "proc/device-tree/model")
    if not release and "Jetson" not in model:
        return
    yield Fact("Jetson", model or "unknown model", "" if model else "not a board of NVIDIA's? its device tree names no model")
    yield _release(release)
    yield _power_mode(root, ask)
    yield from _clocks(root)


def _release(line: str) -> Fact:
    found = re.search(r"R(\d+) *\(release\), *REVISION: *([\d.]+)", line)
    if found is None:
        return Fact("L4T", "unknown", "/etc/nv_tegra_release cannot be read; in a container, mount it")
    jetpack = JETPACK.get(found[1])
    known = f"{found[1]}.{found[2]}" + (f" (JetPack {jetpack})" if jetpack else "")
    if jetpack in ("4", "5"):
        return Fact("L4T", known, "JetPack 6 or later is needed for Python 3.10; flash it with NVIDIA's SDK Manager")
    return Fact("L4T", known)


def _power_mode(root: Path, ask: Ask) -> Fact:
    """By nvpmodel, or by the file in which it keeps its state, where it wants another user."""
    conf = _text(root / "etc/nvpmodel.conf")
    modes = {name: int(number) for number, name in re.findall(r"^< *POWER_MODEL +ID=(\d+) +NAME=(\S+) *>", conf, re.MULTILINE)}
    said = re.search(r"NV Power Mode: *(\S+)", ask(["nvpmodel", "-q"]))
    state = re.search(r"pmode:(\d+)", _text(root / "var/lib/nvpmodel/status"))
    names = {number: name for name, number in modes.items()}
    current = said[1] if said else names.get(int(state[1]), f"mode {int(state[1])}") if state else ""
    if not current:
        return Fact("power mode", "unknown", "`sudo nvpmodel -q` tells it; in a container it cannot be seen")
    best = next((name for name in sorted(modes, reverse=True) if name.startswith("MAXN")), "")  # MAXN_SUPER before MAXN
    if best and not current.startswith("MAXN"):
        todo = (
            f"`sudo nvpmodel -m {modes[best]}` ({best}) for full speed if power and cooling allow; then inspector install again"
        )
        return Fact("power mode", current, todo)
    return Fact("power mode", current)


def _clocks(root: Path) -> Iterator[Fact]:
    for device in sorted((root / "sys/class/devfreq").glob("*")):
        if not re.search(r"\.(gpu|gv11b|gp10b|ga10b)$", device.name):
            continue
        low, high, now = (read_line(device / f"{which}_freq") for which in ("min", "max", "cur"))
        if not (low.isdecimal() and high.isdecimal() and now.isdecimal()):
            continue
        found = f"{int(now) / 1e6:.0f} MHz of {int(low) / 1e6:.0f} to {int(high) / 1e6:.0f}"
        loose = (
            ""
            if low == high
            else "they follow the load: `sudo jetson_clocks` pins them, for even times after a pause of the line"
        )
        yield Fact("GPU clock", found, loose)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

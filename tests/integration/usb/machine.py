"""An emulated PC with V4L2 cameras that can be unplugged: Debian's kernel, its test camera `vivid`, the host's files.

Nothing is installed: the kernel's package is fetched and unpacked. The machine sees the host's files read-only, so that it runs
this very checkout with this very Python, and one folder that it may write to. It needs no root and no KVM.
"""

import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.integration.arm64.userland import LEASH, Unavailable, mirror

HERE = Path(__file__).parent
QEMU, BUSYBOX = "qemu-system-x86_64", "/usr/bin/busybox"
PROGRAMS = (QEMU, BUSYBOX, "v4l2-ctl", "dpkg-deb")
INSTALL = "apt-get install qemu-system-x86 busybox-static v4l-utils"
PROCESSOR = "Haswell-noTSX"  # what wheels ask for; with `max` this kernel does not boot
CAMERAS = "vivid n_devs=2 node_types=0x1,0x1 num_inputs=1,1 input_types=0x0,0x0"  # two webcams
RECIPE = "1"
"""Part of the cache's key: another number when the modules or their options change."""
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "vivid")


def missing() -> str | None:
    """What this machine lacks to emulate the other, and how to get it."""
    if platform.machine() != "x86_64":
        return f"runs this Python in an emulated x86-64 PC, and this is {platform.machine()}: run it on an x86-64 machine"
    if not mirror():
        return "apt knows no Debian mirror here, for the kernel's package: run it on Debian, after apt-get update"
    lacking = [program for program in PROGRAMS if not shutil.which(program)]
    return f"needs {', '.join(lacking)}: {INSTALL}" if lacking else None


def run_inside(scenario: Path, work: Path, seconds: float) -> str:
    """Boot, run a Python program with the folder `work` as its argument, and end; what the machine said on its console.

    Raises Unavailable where there is no kernel to be had, subprocess.TimeoutExpired.
    """
    kernel = _kernel()
    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder) / "initramfs"
        first.write_bytes(_initramfs(kernel / "modules"))
        share = "local,security_model=none,multidevs=remap"
        machine = [
            *(QEMU, "-accel", "tcg,thread=multi", "-cpu", PROCESSOR, "-smp", "2", "-m", "1500"),
            *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"),
            *("-virtfs", f"{share},mount_tag=root,path=/,readonly=on", "-virtfs", f"{share},mount_tag=work,path={work}"),
            *("-kernel", str(kernel / "vmlinuz"), "-initrd", str(first)),
            *("-append", f"console=ttyS0 quiet panic=-1 python={sys.executable} scenario={scenario} work={work}"),
        ]
        done = subprocess.run([*LEASH, *machine], stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds)
    return (done.stdout + done.stderr).decode(errors="replace")


def _kernel() -> Path:
    """A folder with `vmlinuz` and `modules`, from the user's cache where it was unpacked before."""
    said = _said("apt-cache", "depends", "linux-image-amd64")
    package = re.search(r"Depends: (linux-image-\S+)", said)
    if not package:
        raise Unavailable(f"apt knows no kernel (apt-get update): {said.strip()[-300:]}")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "line-inspector" / "usb"
    folder = cache / f"{package[1]}-{RECIPE}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as partial:
            said = _said("apt-get", "download", "-qq", package[1], cwd=partial)
            found = list(Path(partial).glob("*.deb"))
            if not found:
                raise Unavailable(f"apt cannot download {package[1]}: {said.strip()[-300:]}; later runs need it no more")
            _unpack(found[0], Path(partial) / "unpacked", Path(partial) / "whole")
            (Path(partial) / "whole").rename(folder)
    return folder


def _unpack(package: Path, unpacked: Path, target: Path) -> None:
    said = _said("dpkg-deb", "--extract", str(package), str(unpacked))
    (target / "modules").mkdir(parents=True)
    shutil.copy(next(unpacked.glob("boot/vmlinuz-*"), f"no kernel in {package}: {said}"), target / "vmlinuz")
    modules = {_plain(file.stem): file for file in unpacked.glob("lib/modules/**/*.ko")}
    order: dict[str, None] = {}

    def add(name: str) -> None:
        file = modules.get(_plain(name))  # the others are built in
        if file is not None and file.stem not in order:
            needed = re.search(rb"\0depends=([^\0]*)\0", file.read_bytes())
            for one in needed[1].decode().split(",") if needed else ():
                add(one)
            order[file.stem] = None
            shutil.copy(file, target / "modules")

    for name in MODULES:
        add(name)
    (target / "modules" / "order").write_text("".join(f"{CAMERAS if name == 'vivid' else name}\n" for name in order))


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _initramfs(modules: Path) -> bytes:
    """The machine's first files: init, busybox and the modules, in the format `newc` of cpio."""
    files = {"init": HERE / "init.sh", "bin/busybox": Path(BUSYBOX)}
    files |= {f"modules/{file.name}": file for file in sorted(modules.iterdir())}
    entries = [(folder, stat.S_IFDIR | 0o755, b"") for folder in ("bin", "modules", "dev")]
    entries += [(name, stat.S_IFREG | 0o755, file.read_bytes()) for name, file in files.items()]
    archive = bytearray()
    for number, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        for piece in (b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0", content):
            archive += piece + bytes(-len(piece) % 4)
    return bytes(archive)


def _said(*words: str, cwd: str | None = None) -> str:
    done = subprocess.run(words, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    return done.stdout + done.stderr

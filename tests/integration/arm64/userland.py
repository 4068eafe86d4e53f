"""A Debian for arm64 with Python and the edge dependencies, to run a command of in an emulated processor. Needs root.

The packages and wheels are unpacked, not installed: nothing of arm64 runs while it is made, and nothing is mounted.
"""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import requires, version
from pathlib import Path

QEMU = "qemu-aarch64-static"
LEASH = ("/usr/bin/setpriv", "--pdeathsig", "KILL")  # whatever ends the test ends what it runs
RECIPE = "1"
"""Part of the cache's key: another number when what is made here changes."""
SUITE, PYTHON = "bookworm", "3.11"
SITE = "opt/site"
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
# The same release without windows: the full wheel wants Mesa, which is larger than all the rest.
INSTEAD = {"opencv-python": "opencv-python-headless"}
# A Jetson Orin's cores are of this family. onnxruntime chooses its kernels by what the system says of the processor.
PROCESSOR = "cortex-a76"
CPUINFO = """\
processor	: 0
BogoMIPS	: 62.50
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x4
CPU part	: 0xd0b
CPU revision	: 1

"""


class Unavailable(Exception):
    """The Debian mirror or the package index does not answer, or this disk takes no system."""


def missing() -> str | None:
    """What this machine lacks to make and run the userland, and how to get it."""
    if platform.machine() != "x86_64":
        return f"compares arm64 with x86-64, and this is {platform.machine()}: run it on an x86-64 machine"
    if os.geteuid() != 0:
        return "chroot needs root: run this test as root"
    for program in ("debootstrap", QEMU):
        if not _which(program):
            return f"needs {program}: apt-get install debootstrap qemu-user-static"
    if subprocess.run([_which("chroot") or "chroot", "/", "true"], stdin=subprocess.DEVNULL, capture_output=True).returncode:
        return "this root may not chroot: run it where the capability CAP_SYS_CHROOT is granted"
    if not mirror():
        return "apt knows no Debian mirror here: run it on Debian, after apt-get update"
    return None


def mirror() -> str | None:
    """The address of the Debian archive that this system's apt uses."""
    if not shutil.which("apt-get"):
        return None
    asked = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)"]
    said = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout
    found = re.search(r"^Debian Debian ((?:https?|file):\S+)$", said, re.MULTILINE)
    return found[1] if found else None


def requirements() -> list[str]:
    """The edge wing's own dependencies and onnxruntime, in the versions that are installed here."""
    needed = [line for line in requires("line-inspector") or [] if "extra ==" not in line]
    names = [*(re.split(r"[^\w.-]", line)[0] for line in needed), "onnxruntime"]
    return [f"{INSTEAD.get(name, name)}=={version(name)}" for name in names]


def make_userland(root: Path) -> None:
    """Write a userland of its own to the new folder `root`, from the user's cache where it was made before.

    Raises Unavailable when it must be fetched and cannot be.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "line-inspector" / "arm64"
    cache.mkdir(parents=True, exist_ok=True)
    wanted = requirements()
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # which the system lets go of when this process dies
        base = _cached(cache, "debian", (RECIPE, SUITE), _write_debian)
        wheels = _cached(cache, "wheels", (RECIPE, PYTHON, *wanted), lambda folder: _write_wheels(folder, wanted))
        shutil.copytree(base, root, symlinks=True, copy_function=_copy)
        shutil.copytree(wheels, root / SITE, symlinks=True)
    shutil.copy2(_which(QEMU) or QEMU, root / QEMU)
    (root / "proc/cpuinfo").write_text(CPUINFO)
    processors = root / "sys/devices/system/cpu"
    processors.mkdir(parents=True)
    for name in ("possible", "present"):
        (processors / name).write_text("0\n")


def run_inside(root: Path, *words: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    """Run the userland's Python with these arguments, on an emulated processor and with none of our environment."""
    enter = ["chroot", str(root), f"/{QEMU}", "-cpu", PROCESSOR, f"/usr/bin/python{PYTHON}"]
    environment = {
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "COLUMNS": "200",
        "PYTHONPATH": f"/{SITE}",
        "PYTHONWARNINGS": "error",
    }
    line = [*LEASH, *enter, *words]
    return subprocess.run(line, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds)


def _cached(cache: Path, kind: str, key: Sequence[str], write: Callable[[Path], None]) -> Path:
    """The folder of this key: written beside and renamed, so that it is whole. Others of its kind are removed, they are large."""
    folder = cache / f"{kind}-{hashlib.sha256(' '.join(key).encode()).hexdigest()[:12]}"
    for old in cache.glob(f"{kind}-*"):  # also what a killed test left half written
        if old != folder:
            shutil.rmtree(old)
    if not folder.is_dir():
        partial = Path(tempfile.mkdtemp(prefix=f"{kind}-partial-", dir=cache))
        try:
            write(partial)
            partial.chmod(0o755)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def _write_debian(root: Path) -> None:
    """Debian's smallest system and Python, as files."""
    words = ["--arch=arm64", "--foreign", "--variant=minbase", "--include=python3", "--force-check-gpg", SUITE, str(root)]
    code, said = _run([_which("debootstrap") or "debootstrap", *words, str(mirror())])
    if code and re.search("Failed getting release file|Couldn't download|Failed to get|resolve", said):
        raise Unavailable(
            f"the Debian mirror of apt does not serve {SUITE} for arm64 here: {_last_line(said)}; later runs need it no more"
        )
    if code and "noexec or nodev" in said:
        raise Unavailable(f"{root.parent} takes no device files or programs: set XDG_CACHE_HOME to a folder of another disk")
    assert code == 0, said[-3000:]
    archives = root / "var/cache/apt/archives"
    for package in sorted(archives.glob("*.deb")):
        code, said = _run(["dpkg-deb", "--extract", str(package), str(root)])
        assert code == 0, said
    for unused in (archives, root / "debootstrap", *(root / "usr/share" / name for name in ("doc", "locale", "man", "zoneinfo"))):
        shutil.rmtree(unused)
    (root / "etc/resolv.conf").unlink(missing_ok=True)  # a station is offline


def _write_wheels(folder: Path, wanted: list[str]) -> None:
    """Unpack the wheels for arm64. Of a version that has none there, the newest one that has."""
    python = [f"--python-version={PYTHON}", "--implementation=cp", "--abi=cp311", "--abi=abi3", "--abi=none"]
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--retries=1", "--timeout=30", *python]
    wanted = list(wanted)
    with tempfile.TemporaryDirectory() as wheels:
        while True:
            code, said = _run([*download, *(f"--platform={name}" for name in PLATFORMS), f"--dest={wheels}", *wanted])
            if code == 0:
                break
            if "Retrying (" in said or "onnectionError" in said or "Timeout" in said:
                raise Unavailable(f"pip cannot reach a package index here: {_last_line(said)}; later runs need it no more")
            none = re.search(r"No matching distribution found for (\S+)", said)
            assert none, said[-3000:]
            assert none[1] in wanted, said[-3000:]
            wanted[wanted.index(none[1])] = none[1].split("==")[0]
        for wheel in Path(wheels).glob("*.whl"):
            shutil.unpack_archive(wheel, folder, "zip")


def _run(words: list[str], seconds: float = 600) -> tuple[int, str]:
    """The exit code and all that was said; whatever it started is ended with it."""
    with subprocess.Popen(
        [*LEASH, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=seconds)
            return process.returncode, said
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def _copy(source: str, target: str) -> str:
    """As copytree copies, and device files too: Python wants /dev/null."""
    about = os.lstat(source)
    if os.path.isfile(source):
        return str(shutil.copy2(source, target))
    os.mknod(target, about.st_mode, about.st_rdev)
    os.chmod(target, about.st_mode)
    return target


def _which(program: str) -> str | None:
    """Where a program is: those of the administrator are not on every path."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _last_line(said: str) -> str:
    return (said.strip().splitlines() or ["nothing was said"])[-1]

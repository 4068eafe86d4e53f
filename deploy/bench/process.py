"""`inspector run` as a process of its own: how soon its first verdict is there, and how much memory it takes."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from deploy.errors import StationError

LOOK_EVERY_S = 0.05
FIRST_WITHIN_S = 60.0
"""An engine that is built first may take longer; have `inspector install` build it."""
WATCHED_S = 3.0
"""How long it goes on after its first verdict, for its memory to settle."""


@dataclass(frozen=True)
class Started:
    """What one start showed."""

    first_verdict_s: float
    """From the start of the process to the decision about its first part, in seconds."""
    peak_mb: float | None
    """The highest resident memory, in 1 000 000 bytes; None where the system does not tell (it is read from /proc)."""
    steady_mb: float | None
    """The median over the later half of its life, in the same unit."""


def start(words: Sequence[str]) -> Started:
    """Run `inspector run` with these words until its memory has settled, or its recording ends.

    Raises StationError with what it said, when it comes to no verdict.
    """
    with TemporaryDirectory(prefix="inspector-bench-") as folder:
        complaint, store = Path(folder) / "stderr", Path(folder) / "store.sqlite"
        command = [sys.executable, "-m", "deploy.cli", "run", *words, "--out", folder]
        memory: list[tuple[float, float]] = []
        with complaint.open("wb") as said:
            began = datetime.now(timezone.utc)
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said)
            try:
                decided = _watch(process, store, memory)
                process.terminate()
                process.wait(timeout=30)
            except subprocess.TimeoutExpired as error:
                raise StationError("`inspector run` does not end; look for what keeps its disk or engine") from error
            finally:
                process.kill()
                process.wait()
        if decided is None:
            words_said = complaint.read_text(errors="replace").removeprefix("error:").strip()
            raise StationError(
                words_said or f"`inspector run` came to no verdict within {FIRST_WITHIN_S:.0f} s; run it by itself"
            )
    settled = [now for _, now in memory[len(memory) // 2 :]]
    peak = max((highest for highest, _ in memory), default=None)
    return Started((decided - began).total_seconds(), peak, median(settled) if settled else None)


def _watch(process: "subprocess.Popen[bytes]", store: Path, memory: list[tuple[float, float]]) -> datetime | None:
    """When it decided on its first part, and its memory since then: highest so far, and now, in MB."""
    end = time.monotonic() + FIRST_WITHIN_S
    decided = None
    while process.poll() is None and time.monotonic() < end:
        if decided is None and (decided := _first_verdict(store)) is not None:
            end = time.monotonic() + WATCHED_S
        with suppress(OSError, KeyError):  # it has just ended
            memory.append(_resident_mb(process.pid))
        time.sleep(LOOK_EVERY_S)
    return decided or _first_verdict(store)


def _first_verdict(store: Path) -> datetime | None:
    if not store.exists():
        return None
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as database:
        found = database.execute("SELECT at FROM parts WHERE verdict != 'FAULT' ORDER BY record LIMIT 1").fetchone()
        return datetime.fromisoformat(found[0]) if found else None
    return None


def _resident_mb(process: int) -> tuple[float, float]:
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines()
    kib = {key: value.split()[0] for key, _, value in (line.partition(":") for line in lines) if key in ("VmHWM", "VmRSS")}
    return float(kib["VmHWM"]) * 1.024e-3, float(kib["VmRSS"]) * 1.024e-3

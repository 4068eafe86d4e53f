"""What goes wrong at random, and how the record must tell of it."""

import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from tests.deploy.commands import give
from tests.deploy.redness import drawn_part
from tests.soak.line import Line

PATIENCE_S = 90.0
"""Until a fault is in the record, and verdicts are there again."""
Inject = Callable[[Line], Any]


@dataclass(frozen=True)
class Kind:
    """One thing that may go wrong. `during` is a context manager: wrong inside, right again after it."""

    name: str
    during: Callable[[Line], Any]
    hold_s: tuple[float, float]
    told: str
    """What of the record must be there afterwards: a table and a condition."""


@dataclass(frozen=True)
class Injected:
    """What came of it."""

    name: str
    at_s: float
    """Since the soak began."""
    told_s: float | None
    """Until it was in the record; None: it never was."""
    recovered_s: float | None
    """From its end until every camera had a new verdict; None: one never had."""


@contextmanager
def rtsp_killed(line: Line) -> Iterator[None]:
    line.rtsp.unplug()
    yield
    line.rtsp.plug_in()


@contextmanager
def rtsp_frozen(line: Line) -> Iterator[None]:
    line.rtsp.freeze()
    yield
    line.rtsp.thaw()


@contextmanager
def folder_removed(line: Line) -> Iterator[None]:
    shutil.rmtree(line.drops, ignore_errors=True)
    shutil.rmtree(line.drops, ignore_errors=True)  # a picture may have been dropped meanwhile
    yield
    line.drops.mkdir(exist_ok=True)


@contextmanager
def picture_truncated(line: Line) -> Iterator[None]:
    line.feeding.clear()  # a newer whole one would simply take its place
    time.sleep(0.1)  # until one that is on its way has come
    data = cv2.imencode(".jpg", drawn_part(True, 240))[1].tobytes()
    (line.drops / f"broken-{time.monotonic_ns()}.jpg").write_bytes(data[: len(data) // 3])
    yield
    line.feeding.set()


@contextmanager
def database_locked(line: Line) -> Iterator[None]:
    code = (
        "import sqlite3, sys, time\n"
        "database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)\n"
        "database.execute('BEGIN EXCLUSIVE'); print('locked', flush=True); time.sleep(600)\n"
    )
    words = [sys.executable, "-c", code, str(line.record / "store.sqlite")]
    holder = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert holder.stdout is not None
        holder.stdout.readline()  # the station writes all the time: the lock is not had at once
        yield
    finally:
        holder.kill()
        holder.communicate()


@contextmanager
def disk_full(line: Line) -> Iterator[None]:
    """Another program writes whatever room there is, and takes what the station makes."""
    filler, over = line.disk / "somebody-elses", threading.Event()

    def fill() -> None:
        with filler.open("wb", buffering=0) as file:
            while not over.wait(0.02):
                with suppress(OSError):
                    while True:
                        file.write(bytes(4096))

    filling = threading.Thread(target=fill, daemon=True)
    filling.start()
    try:
        yield
    finally:
        over.set()
        filling.join()
        filler.unlink()


@contextmanager
def bundle_reloaded(line: Line) -> Iterator[None]:
    line.bundles.reverse()
    _reload(line, line.bundles[0])
    yield


@contextmanager
def bundle_refused(line: Line) -> Iterator[None]:
    _reload(line, line.bad_bundle)
    yield


def _reload(line: Line, bundle: Path) -> None:
    with suppress(subprocess.TimeoutExpired):  # the answer did not fit onto the full disk
        while "space" in give("reload", line.station, "--bundle", bundle, cwd=line.folder).stderr:  # nor did the wish
            time.sleep(1)


VICTIMS = {
    "rtsp": (
        Kind("RTSP camera killed", rtsp_killed, (3, 10), "faults WHERE camera = 'rtsp' AND kind IN ('camera', 'stale')"),
        Kind("RTSP camera frozen", rtsp_frozen, (4, 10), "faults WHERE camera = 'rtsp' AND kind IN ('camera', 'stale')"),
    ),
    "drop": (
        Kind("folder removed", folder_removed, (2, 10), "faults WHERE camera = 'drop' AND kind = 'camera'"),
        Kind("picture truncated", picture_truncated, (4, 5), "faults WHERE camera = 'drop' AND kind = 'picture'"),
    ),
    "record": (
        Kind("database locked", database_locked, (3, 8), "events WHERE kind = 'database' AND message LIKE '%is locked%'"),
        Kind(
            "disk full",
            disk_full,
            (10, 20),
            "events WHERE kind = 'pictures' AND message LIKE '%not saved%' OR kind = 'database' AND message LIKE '%full%'",
        ),
    ),
    "bundle": (
        Kind("bundle reloaded", bundle_reloaded, (0, 1), "events WHERE kind = 'bundle' AND message LIKE '%from now on%'"),
        Kind("bundle refused", bundle_refused, (0, 1), "events WHERE kind = 'bundle' AND message LIKE '%was refused%'"),
    ),
}
"""What is independent of each other goes wrong at the same time, too."""


class Injector:
    """Faults at random, for each victim on a thread of its own; all kinds once, and then again until it is stopped."""

    def __init__(self, line: Line, rng: random.Random, pause_s: float) -> None:
        self.injected: list[Injected] = []
        self._line, self._pause_s = line, pause_s
        self._began = time.monotonic()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._trouble, args=(_possible(kinds, line), random.Random(rng.random())), daemon=True)
            for kinds in VICTIMS.values()
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """After the fault in hand, and after each kind has been there once."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _trouble(self, kinds: Sequence[Kind], rng: random.Random) -> None:
        is_first = True
        while is_first or not self._stopping.is_set():
            for kind in rng.sample(kinds, len(kinds)):
                if not is_first and self._stopping.is_set():
                    return
                self._stopping.wait(self._pause_s * rng.uniform(0.5, 1.5))
                self.injected.append(self._inject(kind, rng))
            is_first = False

    def _inject(self, kind: Kind, rng: random.Random) -> Injected:
        line = self._line
        table, condition = kind.told.split(" WHERE ")
        at, before = time.monotonic(), line.newest()
        with kind.during(line):
            time.sleep(rng.uniform(*kind.hold_s))
        right_again, after = time.monotonic(), line.newest()
        told = self._until(lambda: bool(line.asked(f"SELECT 1 FROM {table} WHERE record > ? AND ({condition})", before)))
        seen = "SELECT camera FROM parts WHERE record > ? AND verdict != 'FAULT' GROUP BY camera"
        recovered = self._until(lambda: len(line.asked(seen, after)) == len(line.cameras))
        return Injected(kind.name, at - self._began, told and told - at, recovered and max(0.0, recovered - right_again))

    def _until(self, condition: Callable[[], bool]) -> float | None:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and self._line.process.poll() is None:
            if condition():
                return time.monotonic()
            time.sleep(0.2)
        return None


def _possible(kinds: Sequence[Kind], line: Line) -> list[Kind]:
    return [kind for kind in kinds if line.is_small_disk or kind.during is not disk_full]

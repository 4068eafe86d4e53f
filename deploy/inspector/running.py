"""Which process records into a folder, and how others ask it for something: a locked file with its number, and a signal.

`inspector.pid` is locked as long as its process lives. Only a locked number is signalled: after a kill the number may belong
to anyone.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deploy.errors import StationError

NAME = "inspector.pid"
PATIENCE_S = 1.0
"""Who asks whether an inspector runs holds the lock for a moment."""


@contextmanager
def announced(folder: Path) -> Iterator[None]:
    """Say in `folder` that this process is at work. A folder that takes no files is no reason not to inspect."""
    file = folder / NAME
    descriptor = None
    with suppress(OSError):
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        _lock(descriptor)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    try:
        yield
    finally:
        if descriptor is not None:
            with suppress(OSError):
                file.unlink()
            os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Raises BlockingIOError where another inspector holds it."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise
        time.sleep(0.01)


def running(folder: Path) -> int:
    """The number of the process that records into `folder`. Raises StationError when there is none."""
    with suppress(OSError, ValueError), (folder / NAME).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(file.read())
    raise StationError(f"{folder}: no inspector is running here; give the station.yaml or the folder of the record it writes")

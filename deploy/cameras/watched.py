"""A folder that another program drops pictures into, as a live camera: only whole files, the newest first, none uncounted."""

import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from deploy.addresses import shown
from deploy.cameras import Camera, Frame, Unreadable
from deploy.cameras.folder import is_picture
from deploy.cameras.life import NothingYet
from deploy.errors import CameraError, CameraLost, DatasetError
from deploy.preprocess import read_picture

POLL_S = 0.04
"""Pause between two looks: looking works on every network share, a notice of changes does not."""
SETTLE_S = 0.04
"""A file is whole when it has not changed for so long, and decodes."""
BAD_S = 2.0
"""A file that has not changed for so long and still does not decode never will."""
_Stamp = tuple[int, int]  # nanoseconds of its last change, bytes


@dataclass
class Known:
    """What was seen of a folder. It outlives a loss of the folder, so that files that were there before are not taken for new."""

    files: dict[str, _Stamp] = field(default_factory=dict)
    looked: float | None = None
    """time.monotonic() seconds of the last look; None before the first."""


@dataclass
class _Waiting:
    """A new file that may still be written."""

    since: float
    """It was not there, or not changed, at this time: its picture is at most so old."""
    stamp: _Stamp
    settled: float
    """When it was first seen as it is now."""


class WatchedFolder(Camera):
    """Pictures that appear in a folder, or below it, or change, after it was opened; those that were there before are old.

    Raises CameraError when there is no such folder. Keep the folder small: every look reads its whole list.
    """

    def __init__(self, folder: Path, known: Known) -> None:
        self.live = True
        self.fps = None
        self._folder = folder
        self._name = shown(f"watch:{folder}")
        self._known = known
        self._waiting: dict[str, _Waiting] = {}
        self._sequence = 0
        self._closed = threading.Event()
        started = time.monotonic()
        try:
            found = _look(folder)
        except OSError as error:
            raise CameraError(f"{self._name}: {error.strerror}; expected a folder that pictures are dropped into") from error
        if known.looked is None:
            known.files, known.looked = found, started

    def read(self) -> Frame:
        """See `deploy.cameras.Camera.read`. Raises Unreadable for a bad file, NothingYet after each look that finds none."""
        if self._closed.is_set():
            raise CameraLost(f"{self._name} is closed")
        started = time.monotonic()
        try:
            found = _look(self._folder)
        except OSError as error:
            raise CameraLost(f"{self._name}: {error.strerror}; check the folder, or the share it is on") from error
        self._note(found, started)
        self._known.looked = started
        frame = self._newest(started)
        if frame is not None:
            return frame
        self._closed.wait(max(POLL_S, time.monotonic() - started))  # a slow disk is not asked without a break
        raise NothingYet(f"no picture was dropped into {self._name}")

    def close(self) -> None:
        """Stop looking; another thread's read() ends."""
        self._closed.set()

    def _note(self, found: dict[str, _Stamp], now: float) -> None:
        self._known.files = {name: stamp for name, stamp in self._known.files.items() if name in found}
        for name in self._waiting.keys() - found.keys():
            # Taken away before it was read; one that was still being written was only a name on the way to another.
            self._sequence += now - self._waiting.pop(name).settled >= SETTLE_S
        for name, stamp in found.items():
            if self._known.files.get(name) == stamp:
                continue
            waiting = self._waiting.get(name)
            if waiting is None:
                self._waiting[name] = _Waiting(self._known.looked or now, stamp, now)
            elif waiting.stamp != stamp:
                waiting.stamp, waiting.settled = stamp, now

    def _newest(self, now: float) -> Frame | None:
        """The newest whole picture; those before it are dropped."""
        whole = [name for name, waiting in self._waiting.items() if now - waiting.settled >= SETTLE_S]
        whole.sort(key=lambda name: (self._waiting[name].stamp[0], name))
        if self._sequence == 0:
            del whole[1:]  # a count that began with a gap could not be told from one without
        while whole:
            name = whole.pop()
            waiting = self._waiting[name]
            try:
                picture = read_picture(self._folder / name)
            except DatasetError as error:
                if now - waiting.settled < BAD_S:
                    continue  # an older one may be whole already
                self._done([name])
                raise Unreadable(str(error), self._sequence, name) from error
            self._done([*whole, name])
            return Frame(picture, waiting.since, self._sequence, name)
        return None

    def _done(self, names: list[str]) -> None:
        self._sequence += len(names)
        for name in names:
            self._known.files[name] = self._waiting.pop(name).stamp


def _look(folder: Path) -> dict[str, _Stamp]:
    """Every picture's name within the folder and its stamp. Raises OSError when the folder itself cannot be read.

    By descriptors: a folder that is renamed in the midst of it, or whose share goes, would else seem to hold less than it does,
    and what is there again afterwards would be taken for new. Without pathlib: it interns every name, and the table of interned
    strings, which the whole process shares, would be built anew every few seconds.
    """
    found: dict[str, _Stamp] = {}
    for root, folders, names, descriptor in os.fwalk(folder, follow_symlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = f"{root}/".removeprefix(f"{folder}/")
        for name in names:
            # What begins with a dot is unfinished, in the way of rsync and browsers.
            if not name.startswith(".") and is_picture(name):
                with suppress(FileNotFoundError):  # taken away while we looked
                    status = os.stat(name, dir_fd=descriptor)
                    found[below + name] = status.st_mtime_ns, status.st_size
    return found

"""A live camera that is driven by its maker's SDK: whatever the SDK, the same patience, time stamps and clean end."""

import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from deploy.cameras import PATIENCE_S, Camera, Frame, Unreadable
from deploy.cameras.life import NothingYet
from deploy.errors import CameraError, CameraLost
from deploy.preprocess import Picture

FIRST_S = 5.0
"""How long an opened camera may take over its first picture, in seconds."""
SILENCE = 0.75
"""Share of a camera's limit for which it may deliver nothing, or nothing whole, until it counts as lost."""
EVENT_S = 0.5
"""How often a camera that waits for its trigger says that it is still there, in seconds; at least four times in its limit."""
_SLICE_S = 0.25
"""The longest single wait inside an SDK: close() need not wait longer."""


@dataclass(frozen=True)
class Pull:
    """What asking an SDK brought."""

    delivered: int = 0
    """Pictures the camera delivered since it was last asked, older and incomplete ones included."""
    picture: Picture | None = None
    """The newest of them, if it is whole."""
    arrived: float = 0.0
    """time.monotonic() seconds when the SDK handed it out."""
    trouble: str = ""
    """Why there is none, where the SDK says."""


class Driver(Protocol):
    """An opened camera that is already taking pictures."""

    name: str
    """As a person is told of it, without a password."""
    fps: float | None
    """Pictures per second as the camera states it."""
    advice: str
    """What to check when it falls silent."""
    on_event: bool
    """It takes pictures only on its trigger, so that silence is no fault."""

    def pull(self, timeout_s: float) -> Pull:
        """The newest picture; waits for one up to timeout_s seconds, and with 0 only says what is there already.

        Raises CameraLost when the camera is gone.
        """

    def release(self) -> None:
        """Let go of the camera, whatever state it is in. Called once."""


class Pulled(Camera):
    """Reads a driver. It counts as open once it has delivered a first picture, unless that waits for a trigger.

    `limit_s`: how long a camera may be silent in all. Raises CameraError when no picture comes. Lost is for good: open it anew.
    """

    def __init__(self, driver: Driver, limit_s: float = PATIENCE_S) -> None:
        self.live = True
        self.fps = driver.fps
        self._driver = driver
        self._patience_s = min(EVENT_S, limit_s / 4) if driver.on_event else SILENCE * limit_s
        self._in_use = threading.Lock()
        self._closed = self._released = False
        self._sequence = 0
        self._looked = time.monotonic()
        try:
            if not driver.on_event:
                self._next(FIRST_S)
        except CameraLost as error:
            self.close()
            raise CameraError(f"it opens, but delivers no picture: {error}") from error
        except BaseException:
            self.close()
            raise

    def read(self) -> Frame:
        """See `deploy.cameras.Camera.read`.

        Of a triggered camera it raises NothingYet while no trigger comes, and Unreadable for a picture that is not whole.
        """
        return self._next(self._patience_s)

    def close(self) -> None:
        """Release the camera; again, or while another thread reads, is fine."""
        self._closed = True
        # A driver that hangs keeps its camera: to release it under its own running call would crash the process.
        if self._in_use.acquire(timeout=8 * _SLICE_S):
            try:
                if not self._released:
                    self._released = True
                    self._driver.release()
            finally:
                self._in_use.release()

    def _next(self, patience_s: float) -> Frame:
        end = time.monotonic() + patience_s
        timeout_s, trouble = 0.0, ""
        while True:
            with self._in_use:
                if self._closed:
                    raise CameraLost(f"{self._driver.name} is closed")
                asked = time.monotonic()
                pull = self._driver.pull(timeout_s)
            # What lay there already may have come any time since we last looked, and what outlasted the wait (the process was
            # stopped) any time since we asked: the stamp is never younger than the picture.
            waited = timeout_s and pull.arrived <= asked + timeout_s + 0.1
            captured_at = pull.arrived if waited else asked if timeout_s else self._looked
            self._looked = pull.arrived or asked
            self._sequence += pull.delivered
            if pull.picture is not None:
                return Frame(pull.picture, captured_at, self._sequence, f"frame {self._sequence}")
            trouble = pull.trouble or trouble
            if pull.delivered and self._driver.on_event:  # a part of its own; no other picture will show it
                raise Unreadable(
                    f"{self._driver.name} delivered no whole picture ({trouble}); {self._driver.advice}",
                    self._sequence,
                    f"frame {self._sequence}",
                )
            left = end - time.monotonic()
            if left <= 0 and self._driver.on_event and not trouble:
                raise NothingYet(f"{self._driver.name} waits for its trigger")
            if left <= 0:
                said = f" ({trouble})" if trouble else ""
                what = "no whole picture" if trouble else "nothing"
                raise CameraLost(f"{self._driver.name} delivered {what} for {patience_s:.1f} s{said}; {self._driver.advice}")
            timeout_s = min(left, _SLICE_S)


@contextmanager
def sdk(needed_for: str, install: str) -> Iterator[None]:
    """Around the import of an SDK: its absence becomes a CameraError with what to install."""
    with warnings.catch_warnings():
        # Their own warnings while being imported are no news for our users; made into errors, one of them kills the process.
        warnings.simplefilter("ignore")
        try:
            yield
        except (ImportError, ValueError) as error:  # ValueError: PyGObject lacks the library's description
            raise CameraError(
                f"{needed_for} needs software that is not installed here ({error}); install it: {install}"
            ) from error

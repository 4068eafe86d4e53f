"""The lives of a camera's driver: each is one opening of it, and the next one waits for its time."""

import time

from deploy.cameras import Camera
from deploy.errors import CameraError

MAX_HUNG = 3
"""So many drivers may hang at once before no other is opened: each one holds memory, and perhaps the device."""


class NothingYet(CameraError):
    """No frame, and none was due: raised several times within the limit by drivers that wait for an event, a trigger."""


class Life:
    """One opening of the driver, from its thread's start to its end."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.camera: Camera | None = None
        self.alive_at = self.started
        """When it was last known to work: opened, or without anything to deliver."""
        self.sequence: int | None = None
        """The driver's own count, at its newest frame."""
        self.late_s: float | None = None
        """How old its newest frame was, where that was too old."""
        self.on_event = False
        """Its frames come on an event, so that silence is no fault as long as it says so."""
        self.error: Exception | None = None
        self.failed_at: float | None = None
        """When it raised an error by itself, and then began to close."""
        self.gone = False
        """Its thread is through, the device is free."""


class Attempts:
    """When to open the driver again, and whether. Not for several threads: its owner holds a lock."""

    def __init__(self, back_off_s: tuple[float, ...], limit_s: float) -> None:
        self._back_off_s = back_off_s
        self._limit_s = limit_s
        self._left: list[Life] = []
        """Lives that were given up and may still hang."""
        self._failed = 0
        self._next = 0.0

    def lost(self, life: Life) -> None:
        """Note that a life is over; the next one begins after a pause."""
        now = time.monotonic()
        pause_s = self._back_off_s[min(self._failed, len(self._back_off_s) - 1)]
        # An attempt that took long was pause enough: a camera that is back must not wait for both.
        self._next = max(now, life.started + pause_s) if life.camera is None else now + pause_s
        self._failed += 1
        self._left.append(life)

    def succeeded(self) -> None:
        """Frames come: the next loss begins with the shortest pause."""
        self._failed = 0

    def due(self) -> float:
        """When to open it again, in time.monotonic() seconds."""
        last = self._left[-1] if self._left else None
        if last is None or last.gone or last.failed_at is None:
            return self._next
        # Let it close first, or the device is still busy; but it may hang in that as well.
        return max(self._next, last.failed_at + self._limit_s)

    def hindered(self) -> str | None:
        """Why no driver may be opened now, although it is time; it then asks for a later time."""
        self._left = [life for life in self._left if not life.gone]
        if len(self._left) < MAX_HUNG:
            return None
        self._next = time.monotonic() + self._back_off_s[-1]
        return f"{MAX_HUNG} attempts hang inside the camera's driver; restart the inspector"

"""What a camera is doing and how it has fared: its states, each change between them, and its figures."""

import enum
import time
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timezone

RATE_WINDOW_S = 5.0
"""The true frame rate is counted over so many seconds."""
HOUR_S = 3600.0


class State(str, enum.Enum):
    """What a camera is doing. Only in `streaming` does it deliver frames that may be judged."""

    OPENING = "opening"
    STREAMING = "streaming"
    STALLED = "stalled"
    """Open, but silent for longer than it should be; it may still come back by itself."""
    LOST = "lost"
    """It failed, or was silent until the limit: a fault. It was let go of, the next attempt is due after a pause."""
    REOPENING = "reopening"
    """Attempts to open it anew, with pauses in between, until one of them delivers a frame."""
    ENDED = "ended"
    """A recording that was replayed is over, or the camera was closed."""


@dataclass(frozen=True)
class Change:
    """From one state to the next, and why."""

    at: datetime
    """UTC, for people and records: this clock may jump."""
    monotonic_s: float
    """time.monotonic() seconds, for durations."""
    before: State
    after: State
    why: str


@dataclass(frozen=True)
class Figures:
    """How a camera fares, at one moment."""

    state: State
    state_for_s: float
    """Seconds in this state."""
    why: str
    """What the last change, or the last failed attempt to reopen, was about."""
    age_s: float | None
    """Seconds since the newest frame was captured; None before the first."""
    fps: float
    """Frames a second that really came over the last RATE_WINDOW_S."""
    captured: int
    """Frames that the camera delivered."""
    dropped: int
    """Of these, the ones that nobody saw: a newer one came first, they came too late, or the camera was lost."""
    reconnects_last_hour: int
    """How often it had to be opened anew and delivered frames again."""


class History:
    """Keeps a camera's states and times. Not for several threads: its owner holds a lock."""

    def __init__(self) -> None:
        now = time.monotonic()
        self.state = State.OPENING
        self.why = "started"
        self.newest_at: float | None = None
        """When the newest frame was captured, in time.monotonic() seconds."""
        self.captured = 0
        self.dropped = 0
        self._began = now
        self._since = now
        self._arrivals: deque[float] = deque()
        self._reconnects: deque[float] = deque()

    def change(self, after: State, why: str) -> Change | None:
        """Go to another state; None when it is in this one already, which then only takes the new reason."""
        self.why = why
        if after is self.state:
            return None
        now = time.monotonic()
        change = Change(datetime.now(timezone.utc), now, self.state, after, why)
        if after is State.STREAMING and self.state is State.REOPENING:
            self._reconnects.append(now)
        self.state, self._since = after, now
        return change

    def frame(self, captured_at: float) -> None:
        """A frame came, in time to be judged."""
        now = time.monotonic()
        if self.newest_at is None:
            self._began = now
        else:
            self._arrivals.append(now)
        self.newest_at = captured_at
        _forget(self._arrivals, now - RATE_WINDOW_S)

    def figures(self) -> Figures:
        """As of now."""
        now = time.monotonic()
        _forget(self._arrivals, now - RATE_WINDOW_S)
        _forget(self._reconnects, now - HOUR_S)
        return Figures(
            state=self.state,
            state_for_s=now - self._since,
            why=self.why,
            age_s=None if self.newest_at is None else now - self.newest_at,
            fps=len(self._arrivals) / max(min(RATE_WINDOW_S, now - self._began), 0.1),
            captured=self.captured,
            dropped=self.dropped,
            reconnects_last_hour=len(self._reconnects),
        )


def _forget(times: deque[float], before: float) -> None:
    while times and times[0] < before:
        times.popleft()

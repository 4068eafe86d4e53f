"""Running counts of a session: what the terminal shows and `summary.json` keeps."""

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass

import numpy as np

from deploy.inspector.watch import Turn
from deploy.verdict import Verdict

LATENCIES_KEPT = 10_000
"""Frames over which latencies are ranked: some minutes of a camera, and a bound on memory that holds for months."""
BAD_S = 1.0
"""Frames may be faults for so long before it is a complaint: one that is torn or late is none."""


@dataclass
class Account:
    """Where the frames of one camera went."""

    captured: int = 0
    """Frames that it delivered, by its own count; known when it is closed."""
    judged: int = 0
    dropped: int = 0
    """Nobody looked at them: a newer one came first, or the session ended."""
    faulted: int = 0
    """They should have been judged and could not be."""


class Tally:
    """Counts of one session. One thread adds, any may look."""

    def __init__(self) -> None:
        self.frames_seen = 0
        self.frames_dropped = 0
        self.faults = 0
        self.last_fault: str | None = None
        self.verdicts = Counter(dict.fromkeys(Verdict, 0))
        self.cameras: dict[str, Account] = {}
        self.record_trouble: str | None = None
        """What keeps the record from being written now."""
        self.drift: list[str] = []
        """What is no longer as it was."""
        self._complaints: dict[str, str] = {}
        self._bad: dict[str, float] = {}
        """Since when a camera's frames are faults only, in time.monotonic() seconds."""
        self._latencies_ms: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._lock = threading.Lock()

    def add(self, turn: Turn) -> None:
        """Count one turn of the loop."""
        with self._lock:
            account = self.cameras.setdefault(turn.camera, Account())
            account.judged += turn.judged
            account.dropped += turn.dropped
            account.faulted += turn.faulted
            self.frames_dropped += turn.dropped
            self.frames_seen += turn.frame is not None
            for step in turn.steps.values():
                self.faults += len(step.faults)
                self.last_fault = step.faults[-1].message if step.faults else self.last_fault
                self.verdicts.update(part.verdict for part in step.parts)
            self._complain(turn)
            if turn.latency_ms is not None:
                self._latencies_ms.append(turn.latency_ms)

    def _complain(self, turn: Turn) -> None:
        if turn.judged:
            self._complaints.pop(turn.camera, None)
            self._bad.pop(turn.camera, None)
            return
        if turn.outage is None and not turn.faulted and turn.camera not in self._bad:  # it is back, and waits for a part
            self._complaints.pop(turn.camera, None)
        why = turn.outage.message if turn.outage else None
        if why is None and turn.faulted:
            since = self._bad.setdefault(turn.camera, time.monotonic())
            why = self.last_fault if time.monotonic() - since > BAD_S else None
        if why is not None:
            self._complaints[turn.camera] = f"{turn.camera}: {why}" if turn.camera else why

    def close(self, camera: str, captured: int, last: int) -> None:
        """The camera is closed: frames after number `last` were captured, and nobody looked at them."""
        with self._lock:
            account = self.cameras.setdefault(camera, Account())
            account.captured = captured
            account.dropped += captured - last
            self.frames_dropped += captured - last

    def frozen(self) -> "Tally":
        """The verdicts as they are now, for a picture that is drawn later."""
        now = Tally()
        with self._lock:
            now.verdicts = self.verdicts.copy()
        return now

    @property
    def complaint(self) -> str | None:
        """What keeps a camera's parts from getting verdicts now."""
        with self._lock:
            return next(iter(self._complaints.values()), None)

    def lost(self) -> list[str]:
        """The cameras whose parts get no verdicts now."""
        with self._lock:
            return list(self._complaints)

    @property
    def parts(self) -> int:
        """Parts that were given a verdict."""
        return self.verdicts.total()

    def latency_ms(self) -> dict[str, float | None]:
        """`p50` and `p99` of capture to decision, over the last LATENCIES_KEPT frames; None before the first."""
        with self._lock:
            latencies = list(self._latencies_ms)
        if not latencies:
            return {"p50": None, "p99": None}
        p50, p99 = (round(float(found), 2) for found in np.percentile(latencies, (50, 99)))
        return {"p50": p50, "p99": p99}

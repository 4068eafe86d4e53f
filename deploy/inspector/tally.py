"""Running counts of a session: what the terminal shows and `summary.json` keeps."""

from collections import Counter, deque

import numpy as np

from deploy.inspector.loop import Step
from deploy.verdict import Verdict

LATENCIES_KEPT = 10_000
"""Frames over which latencies are ranked: some minutes of a camera, and a bound on memory that holds for months."""


class Tally:
    """Counts of one session."""

    def __init__(self) -> None:
        self.frames_seen = 0
        self.frames_dropped = 0
        self.faults = 0
        self.verdicts = Counter(dict.fromkeys(Verdict, 0))
        self.complaint: str | None = None
        """What keeps the camera from delivering now."""
        self.record_trouble: str | None = None
        """What keeps the record from being written now."""
        self._latencies_ms: deque[float] = deque(maxlen=LATENCIES_KEPT)

    def add(self, step: Step) -> None:
        """Count one step."""
        self.frames_dropped += step.dropped
        self.faults += len(step.faults)
        self.verdicts.update(part.verdict for part in step.parts)
        if step.frame is not None:
            self.frames_seen += 1
            self.complaint = None
        for fault in step.faults:
            if fault.kind == "camera":
                self.complaint = fault.message
        if step.latency_ms is not None:
            self._latencies_ms.append(step.latency_ms)

    @property
    def parts(self) -> int:
        """Parts that were given a verdict."""
        return self.verdicts.total()

    def latency_ms(self, percent: float) -> float | None:
        """A percentile of capture to decision, over the last LATENCIES_KEPT frames; None before the first."""
        return round(float(np.percentile(self._latencies_ms, percent)), 2) if self._latencies_ms else None

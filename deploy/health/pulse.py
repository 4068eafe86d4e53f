"""The main thread's part in the station's health: what changed goes to the log, signs of life to the service manager."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from deploy.cameras.state import Change, State
from deploy.health.logs import log_event
from deploy.health.notify import notify, watchdog_s
from deploy.health.snapshot import CameraHealth, Running
from deploy.health.status import status_kept
from deploy.station import HealthSection

EVERY_S = 1.0
"""How often the station's readiness is looked at: one that comes and goes with every frame makes no more lines than this."""
FAULTS_EVERY_S = 10.0
"""Faults that follow each other within so many seconds are one line."""


class Pulse:
    """Call `tick` from the loop that must not hang, as often as it comes round; it returns at once."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._told: dict[str, str | None] = {}
        self._faults = 0
        self._due = self._faults_due = self._sign_due = 0.0
        self._watchdog_s = watchdog_s() or 0.0
        self._unsaid: tuple[str, ...] = ()

    def tick(self) -> None:
        """A sign of life while the loop makes progress, and a line for what changed."""
        now = time.monotonic()
        is_due = self._watchdog_s and now >= self._sign_due and self._running.stuck_s() < self._watchdog_s / 2
        if is_due and notify("WATCHDOG=1"):
            self._sign_due = now + self._watchdog_s / 3
        if now < self._due:
            return
        self._due = now + EVERY_S
        complaint, store = self._running.complaint(), self._running.store
        if self._is_news("ready", complaint):
            self._unsaid = "READY=1", "STATUS=ready" if complaint is None else f"STATUS=not ready: {complaint}"
        if self._unsaid and notify(*self._unsaid):
            self._unsaid = ()
        self._is_news("recording", store.trouble)
        self._is_news("saving_pictures", store.picture_trouble)
        faults, last = self._running.tally.faults, self._running.tally.last_fault
        if faults > self._faults and now >= self._faults_due:
            log_event("faults", logging.WARNING, count=faults - self._faults, last=last)
            self._faults, self._faults_due = faults, now + FAULTS_EVERY_S

    def _is_news(self, event: str, trouble: str | None) -> bool:
        """Log that trouble began, changed or is over; what is well from the start is only news for `ready`."""
        if self._told.get(event, "" if event == "ready" else None) == trouble:
            return False
        self._told[event] = trouble
        if trouble is None:
            log_event(event)
        else:
            log_event(f"not_{event}", logging.WARNING, reason=trouble)
        return True


@contextmanager
def health_told(running: Running, folder: Path, wanted: HealthSection | None) -> Iterator[Pulse]:
    """Tell of the station's health meanwhile. Raises StationError where Prometheus' port cannot be had."""
    with ExitStack() as stack:
        if wanted is not None:
            from deploy.health.metrics import metrics_served

            stack.enter_context(metrics_served(wanted.address, wanted.port, running.snapshot))
        stack.enter_context(status_kept(folder, running.snapshot))
        log_event("started", process=os.getpid(), record=str(folder), **asdict(running.session()))
        try:
            yield Pulse(running)
        finally:
            notify("STOPPING=1")
            end = running.snapshot()
            log_event(
                "stopped",
                up_s=end.up_s,
                parts=end.parts,
                faults=end.faults,
                frames={one.name: _frames(one) for one in end.cameras},
            )


def log_change(camera: str, change: Change) -> None:
    """A camera went from one state to another."""
    is_well = change.after in (State.OPENING, State.STREAMING, State.ENDED)
    level = logging.INFO if is_well else logging.WARNING
    log_event("camera", level, camera=camera, before=change.before.value, after=change.after.value, reason=change.why)


def _frames(camera: CameraHealth) -> dict[str, int]:
    return {name: getattr(camera, name) for name in ("captured", "judged", "dropped", "faulted")}

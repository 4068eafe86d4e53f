"""How a running station fares at one moment, in figures. Taking it waits for nobody, and any thread may."""

import os
import resource
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from deploy.addresses import without_secrets
from deploy.cameras import Camera
from deploy.cameras.newest import NewestOnly
from deploy.inspector.drift_window import Figure
from deploy.inspector.part import now_utc
from deploy.inspector.tally import Account, Tally
from deploy.inspector.watch import Watch
from deploy.store import Session, Store

STUCK_S = 5.0
"""A frame that is judged for longer than this hangs: the slowest engines take a tenth of it."""


@dataclass(frozen=True)
class CameraHealth:
    """One camera. `state`, `why`, `age_s` and `fps` are None for a recording, which has neither outages nor a pace."""

    name: str
    state: str | None
    """opening, streaming, stalled, lost, reopening or ended; only a streaming camera's frames are judged."""
    why: str | None
    """What brought it into this state, or what the last attempt to reopen it met."""
    age_s: float | None
    """Seconds since its newest frame was captured; None before the first."""
    fps: float | None
    """Frames that really came, per second, over the last seconds."""
    reconnects_last_hour: int
    captured: int
    """Frames that it delivered; those that are neither judged, dropped nor faulted are still on their way."""
    judged: int
    dropped: int
    faulted: int


@dataclass(frozen=True)
class RecordHealth:
    """What is written, and what could not be."""

    rows_waiting: int
    pictures_waiting: int
    rows_lost: int
    """Parts, faults and events that will never be in the record."""
    views_dropped: int
    pictures_saved: int
    pictures_dropped: int
    trouble: str | None
    """Why rows cannot be written now."""
    picture_trouble: str | None
    """Why pictures cannot be saved now."""


@dataclass(frozen=True)
class Snapshot:
    """The station at one moment. The keys of `status.json` are these fields."""

    at: str
    """UTC, for people."""
    monotonic_s: float
    """The same moment on the clock that nobody can set; it counts from the machine's start."""
    process: int
    started: str
    """When the session began, UTC."""
    up_s: float
    ready: bool
    complaint: str | None
    """Why it is not ready."""
    session: Session
    """What decides now: bundle, version, bundle_sha256, signed_by, precision, accept, reject, source, engine."""
    parts: dict[str, int]
    """By verdict."""
    faults: int
    latency_ms: dict[str, float | None]
    """`p50` and `p99` of the last 10 000 frames, from capture to decision: how old a frame was when it was decided."""
    cameras: tuple[CameraHealth, ...]
    record: RecordHealth
    drift: tuple[Figure, ...]
    """What is watched for drift; none where a station does not watch."""
    memory_bytes: int | None
    """Resident."""
    open_files: int | None


@dataclass(frozen=True)
class Running:
    """What a session is made of, as far as its health goes."""

    tally: Tally
    store: Store
    cameras: Sequence[Camera]
    watches: Sequence[Watch]
    session: Callable[[], Session]
    """What decides now."""
    stuck_s: Callable[[], float]
    """How many seconds the loop has been busy with one frame; 0 while it waits for one."""
    drift: Callable[[], tuple[Figure, ...]]
    started: str = field(default_factory=now_utc)
    began_at: float = field(default_factory=time.monotonic)

    def complaint(self) -> str | None:
        """Why the station is not ready; None while it is."""
        complaint = self.tally.complaint
        if complaint is None and self.stuck_s() > STUCK_S:
            complaint = f"one frame has been judged for more than {STUCK_S:.0f} s: the engine hangs; restart the inspector"
        return complaint and without_secrets(complaint)

    def snapshot(self) -> Snapshot:
        """The station now."""
        tally, now = self.tally, time.monotonic()
        complaint = self.complaint()
        return Snapshot(
            at=now_utc(),
            monotonic_s=now,
            process=os.getpid(),
            started=self.started,
            up_s=round(now - self.began_at, 1),
            ready=complaint is None,
            complaint=complaint,
            session=self.session(),
            parts={verdict.value: count for verdict, count in tally.verdicts.items()},
            faults=tally.faults,
            latency_ms=tally.latency_ms(),
            cameras=tuple(_camera(*pair, tally) for pair in zip(self.watches, self.cameras, strict=True)),
            record=_record(self.store),
            drift=self.drift(),
            memory_bytes=_memory_bytes(),
            open_files=_open_files(),
        )


def _camera(watch: Watch, camera: Camera, tally: Tally) -> CameraHealth:
    account = tally.cameras.get(watch.camera) or Account()
    live = camera.figures() if isinstance(camera, NewestOnly) else None
    return CameraHealth(
        name=watch.camera,
        state=live.state.value if live else None,
        why=without_secrets(live.why) if live else None,
        age_s=round(live.age_s, 3) if live and live.age_s is not None else None,
        fps=round(live.fps, 1) if live else None,
        reconnects_last_hour=live.reconnects_last_hour if live else 0,
        captured=live.captured if live else watch.last,
        judged=account.judged,
        dropped=account.dropped,
        faulted=account.faulted,
    )


def _record(store: Store) -> RecordHealth:
    return RecordHealth(
        rows_waiting=store.rows_waiting,
        pictures_waiting=store.pictures_waiting,
        rows_lost=store.rows_lost,
        views_dropped=store.views_dropped,
        pictures_saved=store.pictures_saved,
        pictures_dropped=store.pictures_dropped,
        trouble=store.trouble,
        picture_trouble=store.picture_trouble,
    )


def _memory_bytes() -> int | None:
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return None


def _open_files() -> int | None:
    with suppress(OSError):
        return len(os.listdir("/proc/self/fd"))
    return None

"""One session of the inspector: check the bundle on this device, open what is needed, run the loop, leave the record.

Two threads work: the hot one judges and hands over; the main one sees to the screen, the terminal, signals and reloads.
"""

import logging
import math
import queue
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from rich.console import Console

from deploy.addresses import shown
from deploy.cameras import Camera, open_camera
from deploy.cameras.checks import Checks, PictureCheck
from deploy.cameras.newest import NewestOnly
from deploy.cameras.state import Change
from deploy.health.logs import log_event
from deploy.health.pulse import health_told, log_change
from deploy.health.snapshot import Running
from deploy.inspector.arrivals import Arrivals
from deploy.inspector.counts import counts_shown
from deploy.inspector.drift import Drift, DriftWanted
from deploy.inspector.gallery import Gallery
from deploy.inspector.judge import Judge, open_judge
from deploy.inspector.memory import Memory, settled
from deploy.inspector.reload import Reloading
from deploy.inspector.report import conclude, leave_record
from deploy.inspector.running import announced
from deploy.inspector.settings import CameraWanted, Settings, reloaded
from deploy.inspector.spot import Limits, spot
from deploy.inspector.tally import Tally
from deploy.inspector.watch import Watch
from deploy.inspector.work import Work
from deploy.stop import stop_on_signal
from deploy.store import Session, Store

TICK_S = 0.1
"""How often the main thread sees to its things."""
HANGS_S = 2.0
"""So long beyond every limit, in seconds, and an engine does not only take its time."""
SWITCH_S = 0.001
"""Threads give way to each other so often: a reload must not hold up a frame by Python's usual 5 ms, again and again."""

Changes = queue.SimpleQueue[tuple[str, Change]]


def run_session(settings: Settings, console: Console) -> bool:
    """Inspect until the recording ends or the user stops it; False when a recording was interrupted.

    Raises BundleError, EngineError, CameraError or StationError before the first frame when something is not as it must be.
    """
    memory = Memory()
    judge = _judge(settings)
    sources = ", ".join(shown(camera.source) for camera in settings.cameras)
    out = settings.out or Path("inspections") / judge.bundle.spec.name
    tally, changes = Tally(), Changes()
    stopping = False

    with ExitStack() as stack:
        cameras = _open_all(settings, changes)
        arrivals = Arrivals(cameras, lambda index, frame: watches[index].prepared(frame, reloading.current()))
        stack.callback(arrivals.close)
        is_live = any(camera.live for camera in cameras)
        gallery = Gallery(settings, cameras)
        stack.callback(gallery.let_go)
        session = describe(judge, sources)
        store = Store(out / "store.sqlite", session, settings.policy if is_live else None, settings.record_bytes)
        stack.callback(store.close)
        if judge.note:
            console.print(judge.note, highlight=False, markup=False, soft_wrap=True)
        stack.enter_context(switching_often())
        interrupted = stack.enter_context(stop_on_signal())
        show_counts = stack.enter_context(counts_shown(tally, console))
        reloading = Reloading(
            judge, out, lambda bundle: _judge(reloaded(settings, bundle)), lambda message: store.note("bundle", message)
        )
        stack.enter_context(reloading.on_signal())
        stack.enter_context(announced(out))
        watches = [_watch(wanted, camera, settings) for wanted, camera in zip(settings.cameras, cameras, strict=True)]
        hangs_after_s = _hangs_after_s(settings) if is_live else math.inf
        drift = _drift(settings, out, store)
        stack.callback(drift.close)

        def watch_drift() -> None:
            drift.look()
            tally.drift = drift.alarms()

        def note_changes() -> None:
            _note_changes(store, changes)
            tally.record_trouble = store.trouble

        work = Work(
            *(arrivals, watches, reloading, store, tally, gallery, hangs_after_s),
            lambda judge: store.reload(describe(judge, sources)),
            drift,
        )
        stack.callback(work.end)
        running = Running(tally, store, cameras, watches, lambda: describe(reloading.judge, sources), work.stuck_s, drift.figures)
        pulse = stack.enter_context(health_told(running, out, settings.health))
        if judge.note:
            log_event("engine", message=judge.note)
        stack.enter_context(settled())
        work.start()
        while not work.done.wait(0 if gallery.window else TICK_S) or (gallery.is_behind and not stopping):
            stopping = stopping or interrupted.is_set() or not gallery.show(tally, TICK_S)
            if stopping and work.stop():
                break
            for see_to in (work.look, reloading.look, memory.look, note_changes, watch_drift, show_counts, pulse.tick):
                with suppress(MemoryError):  # it comes again, and the line does not depend on it
                    see_to()
        work.end()
        note_changes()
        for watch, camera in zip(watches, cameras, strict=True):
            captured = camera.figures().captured if isinstance(camera, NewestOnly) else watch.last
            tally.close(watch.camera, captured, watch.last)
        gallery.finish()
    ended_by = "user" if stopping else "recording"
    leave_record(out, tally, describe(reloading.judge, sources), store, ended_by, gallery.dropped)
    if work.error is not None:
        raise work.error
    conclude(console, out, tally, store, gallery.complaints())
    return is_live or not interrupted.is_set()


def _judge(settings: Settings) -> Judge:
    return open_judge(settings.bundle, settings.trusted_key, settings.precision, settings.engine)


def describe(judge: Judge, sources: str) -> Session:
    """What a judge decides by, as the record keeps it."""
    bundle = judge.bundle
    return Session(
        bundle=bundle.spec.name,
        version=bundle.spec.version,
        bundle_sha256=judge.bundle_sha256,
        signed_by=bundle.signed_by,
        precision=judge.precision,
        accept=judge.thresholds.accept,
        reject=judge.thresholds.reject,
        source=sources,
        engine=judge.engine.name,
    )


def _open_all(settings: Settings, changes: Changes) -> list[Camera]:
    """All at once: a network camera takes a second or more. Those that open are closed again when another one does not."""

    def opened(wanted: CameraWanted) -> Camera:
        def listener(change: Change) -> None:
            changes.put((wanted.name, change))

        return open_camera(wanted.source, settings.realtime, wanted.settings, wanted.limit_s, listener)

    with ThreadPoolExecutor(len(settings.cameras)) as together:
        futures = [together.submit(opened, wanted) for wanted in settings.cameras]
    try:
        return [future.result() for future in futures]
    except BaseException:
        for future in futures:
            if future.exception() is None:
                future.result().close()
        raise


def _hangs_after_s(settings: Settings) -> float:
    """No verdict can come of a frame any more when it is judged for longer than this: it hangs in the engine."""
    limits_ms = [camera.max_age_ms for camera in settings.cameras]
    return max([*limits_ms, settings.deadline_ms or 0]) / 1000 + HANGS_S


def _watch(wanted: CameraWanted, camera: Camera, settings: Settings) -> Watch:
    limits = Limits(wanted.max_age_ms, settings.deadline_ms) if camera.live else None
    spots = [spot(region, wanted.crop, limits) for region in wanted.regions]
    return Watch(wanted.name, spots, None if wanted.checks == Checks() else PictureCheck(wanted.checks))


def _drift(settings: Settings, out: Path, store: Store) -> Drift:
    """Of all cameras, or of none."""

    def tell(message: str) -> None:
        log_event("drift", logging.WARNING, message=message)
        store.note("drift", message)

    cameras = [(camera.name, camera.regions) for camera in settings.cameras] if settings.drift else []
    return Drift(cameras, settings.drift or DriftWanted(), out, tell)


def _note_changes(store: Store, changes: Changes) -> None:
    while True:
        try:
            name, change = changes.get_nowait()
        except queue.Empty:
            return
        log_change(name, change)
        store.note("camera", f"{name}: {change.after.value}: {change.why}".removeprefix(": "))


@contextmanager
def switching_often() -> Iterator[None]:
    """Let threads give way to each other every SWITCH_S meanwhile."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)

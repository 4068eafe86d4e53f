"""One session of the inspector: check the bundle on this device, open what is needed, run the loop, leave the record.

Two threads work: the hot one judges and hands over; the main one sees to the screen, the terminal, signals and reloads.
"""

import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from deploy.cameras import Camera, open_camera, shown
from deploy.cameras.checks import Checks, PictureCheck
from deploy.cameras.newest import NewestOnly
from deploy.cameras.state import Change
from deploy.inspector.arrivals import Arrivals
from deploy.inspector.counts import counts_shown
from deploy.inspector.drawing import drawing_of
from deploy.inspector.gallery import Gallery
from deploy.inspector.judge import Judge, open_judge
from deploy.inspector.loop import inspect
from deploy.inspector.reload import Reloading
from deploy.inspector.report import conclude, leave_record
from deploy.inspector.running import announced
from deploy.inspector.settings import CameraWanted, Settings, reloaded
from deploy.inspector.spot import Limits, spot
from deploy.inspector.tally import Tally
from deploy.inspector.watch import Watch
from deploy.stop import stop_on_signal
from deploy.store import Place, Session, Store

TICK_S = 0.1
"""How often the main thread sees to its things."""
SWITCH_S = 0.001
"""Threads give way to each other so often: a reload must not hold up a frame by Python's usual 5 ms, again and again."""

Changes = queue.SimpleQueue[tuple[str, Change]]


def run_session(settings: Settings, console: Console) -> bool:
    """Inspect until the recording ends or the user stops it; False when a recording was interrupted.

    Raises BundleError, EngineError, CameraError or StationError before the first frame when something is not as it must be.
    """
    judge = _judge(settings)
    sources = ", ".join(shown(camera.source) for camera in settings.cameras)
    out = settings.out or Path("inspections") / judge.bundle.spec.name
    tally, changes = Tally(), Changes()
    stopping = False

    with ExitStack() as stack:
        cameras = _open_all(settings, changes)
        arrivals = Arrivals(cameras)
        stack.callback(arrivals.close)
        is_live = any(camera.live for camera in cameras)
        gallery = Gallery(settings, cameras)
        stack.callback(gallery.let_go)
        session = _describe(judge, sources)
        store = Store(out / "store.sqlite", session, settings.policy if is_live else None)
        stack.callback(store.close)
        if judge.note:
            console.print(judge.note, highlight=False, markup=False, soft_wrap=True)
        stack.enter_context(_switching_often())
        interrupted = stack.enter_context(stop_on_signal())
        show_counts = stack.enter_context(counts_shown(tally, console))
        reloading = Reloading(
            judge, out, lambda bundle: _judge(reloaded(settings, bundle)), lambda message: store.note("bundle", message)
        )
        stack.enter_context(reloading.on_signal())
        stack.enter_context(announced(out))
        watches = [_watch(wanted, camera, settings) for wanted, camera in zip(settings.cameras, cameras, strict=True)]
        work = _Work(arrivals, watches, reloading, store, tally, gallery, sources)
        stack.callback(work.end)
        work.start()
        while not work.done.wait(0 if gallery.window else TICK_S) or (gallery.is_behind and not stopping):
            stopping = stopping or interrupted.is_set() or not gallery.show(tally, TICK_S)
            if stopping:
                work.stopping.set()
            reloading.look()
            _note_changes(store, changes)
            tally.record_trouble = store.trouble
            show_counts()
        work.end()
        _note_changes(store, changes)
        for watch, camera in zip(watches, cameras, strict=True):
            captured = camera.figures().captured if isinstance(camera, NewestOnly) else watch.last
            tally.close(watch.camera, captured, watch.last)
        gallery.finish()
    if work.error is not None:
        raise work.error
    ended_by = "user" if stopping else "recording"

    leave_record(out, tally, _describe(reloading.judge, sources), store, ended_by, gallery.dropped)
    conclude(console, out, tally, store, gallery.complaints())
    return is_live or not interrupted.is_set()


class _Work:
    """The hot thread."""

    def __init__(
        self,
        arrivals: Arrivals,
        watches: Sequence[Watch],
        reloading: Reloading,
        store: Store,
        tally: Tally,
        gallery: Gallery,
        sources: str,
    ) -> None:
        self.done, self.stopping = threading.Event(), threading.Event()
        self.error: BaseException | None = None
        self._arrivals, self._watches, self._reloading = arrivals, watches, reloading
        self._store, self._tally, self._gallery, self._sources = store, tally, gallery, sources
        self._thread = threading.Thread(target=self._run, name="inspect", daemon=True)

    def start(self) -> None:
        """Begin to judge."""
        self._thread.start()

    def end(self) -> None:
        """Judge no more, and close the cameras; again is fine."""
        self.stopping.set()
        self._gallery.give_way()
        self._thread.join(5)  # an engine that hangs for longer is left behind
        self._arrivals.close()

    def _run(self) -> None:
        judge = self._reloading.judge
        try:
            for turn in inspect(self._arrivals, self._watches, self._reloading.current, self.stopping.is_set):
                if turn is None:
                    continue
                if turn.judge is not judge:
                    judge = turn.judge
                    self._store.reload(_describe(judge, self._sources))
                for region, step in turn.steps.items():
                    self._store.add(step, Place(turn.camera, region))
                self._tally.add(turn)
                if self._gallery.is_wanted and (drawing := drawing_of(turn, self._tally)) is not None:
                    self._gallery.add(turn.camera, drawing)
        except BaseException as error:
            self.error = error
        finally:
            self.done.set()


def _judge(settings: Settings) -> Judge:
    return open_judge(settings.bundle, settings.trusted_key, settings.precision, settings.engine)


def _describe(judge: Judge, sources: str) -> Session:
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


def _watch(wanted: CameraWanted, camera: Camera, settings: Settings) -> Watch:
    limits = Limits(wanted.max_age_ms, settings.deadline_ms) if camera.live else None
    spots = [spot(region, wanted.crop, limits) for region in wanted.regions]
    return Watch(wanted.name, spots, None if wanted.checks == Checks() else PictureCheck(wanted.checks))


def _note_changes(store: Store, changes: Changes) -> None:
    while True:
        try:
            name, change = changes.get_nowait()
        except queue.Empty:
            return
        store.note("camera", f"{name}: {change.after.value}: {change.why}".removeprefix(": "))


@contextmanager
def _switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)

"""One session of the inspector: check the bundle on this device, open what is needed, run the loop, leave the record."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.live import Live

from deploy.bundle import Bundle, load_bundle, sha256_of
from deploy.cameras import Camera, open_camera, shown
from deploy.engines import Engine, open_engine
from deploy.errors import StationError
from deploy.inspector.annotate import annotate, not_ready
from deploy.inspector.film import Film, Pictures, Video
from deploy.inspector.locate import Belt, Locator, WholePicture
from deploy.inspector.loop import inspect
from deploy.inspector.report import closing_table, counters, summary, write_parts, write_summary
from deploy.inspector.tally import Tally
from deploy.inspector.track import EveryFrame, OnBelt, Tracker
from deploy.inspector.window import Window
from deploy.selftest import check_golden
from deploy.stop import stop_on_signal
from deploy.store import Session, Store

LINE_EVERY_S = 5.0
"""How often the counts are printed where there is no terminal to update."""


@dataclass(frozen=True)
class Settings:
    """What the user asked for."""

    bundle: Path
    source: str
    out: Path | None
    """Where the record goes; None: `inspections/<bundle name>`."""
    annotate: Path | None
    """Where annotated pictures or the film go."""
    show: bool
    crop: int | None
    """Side in pixels of the square around each part on a belt; None: every frame is one part."""
    precision: str
    engine: str
    max_age_ms: float
    realtime: bool
    trusted_key: str | None


def run_session(settings: Settings, console: Console) -> bool:
    """Inspect until the recording ends or the user stops it; False when a recording was interrupted.

    Raises BundleError, EngineError, CameraError or StationError before the first frame when something is not as it must be.
    """
    bundle = load_bundle(settings.bundle, settings.trusted_key)
    engine = open_engine(bundle, settings.precision, settings.engine)
    check_golden(bundle, engine, settings.precision)
    thresholds = bundle.model(settings.precision).thresholds
    session = _describe(bundle, engine, settings)
    out = settings.out or Path("inspections") / bundle.spec.name
    tally = Tally()

    with ExitStack() as stack:
        camera = stack.enter_context(open_camera(settings.source, settings.realtime))
        window = Window(pause_ms=1 if camera.fps else 300) if settings.show else None
        film = _film(settings.annotate, settings.source, camera)
        store = Store(out / "store.sqlite", session)
        stack.callback(store.close)
        if window is not None:
            stack.callback(window.close)
        if film is not None:
            stack.callback(film.close)
        interrupted = stack.enter_context(stop_on_signal())
        show_counts = stack.enter_context(_counts_shown(tally, console))
        locator, tracker = _gate(settings.crop)
        closed = threading.Event()
        for step in inspect(
            *(camera, locator, tracker, engine, bundle.spec.preprocessing, thresholds, settings.max_age_ms),
            lambda: interrupted.is_set() or closed.is_set(),
        ):
            store.add(step)
            tally.add(step)
            tally.record_trouble = store.trouble
            show_counts()
            if step.frame is not None and (film is not None or window is not None):
                drawn = annotate(step.frame.picture, step.seen, tally, bundle.spec.preprocessing)
                if film is not None:
                    film.add(step.frame, drawn)
                if window is not None and not window.show(drawn):
                    closed.set()
            elif window is not None and tally.complaint and not window.show(not_ready(tally)):
                closed.set()
    ended_by = "user" if interrupted.is_set() or closed.is_set() else "recording"

    console.print(closing_table(tally))
    _leave_record(out, tally, session, store, ended_by)
    _conclude(console, out, tally, store, film)
    return camera.live or not interrupted.is_set()


def _describe(bundle: Bundle, engine: Engine, settings: Settings) -> Session:
    thresholds = bundle.model(settings.precision).thresholds
    return Session(
        bundle=bundle.spec.name,
        version=bundle.spec.version,
        bundle_sha256=sha256_of(bundle.path / "bundle.json"),
        signed_by=bundle.signed_by,
        precision=settings.precision,
        accept=thresholds.accept,
        reject=thresholds.reject,
        source=shown(settings.source),
        engine=engine.name,
    )


def _gate(crop: int | None) -> tuple[Locator, Tracker]:
    return (WholePicture(), EveryFrame()) if crop is None else (Belt(crop), OnBelt())


def _film(folder: Path | None, source: str, camera: Camera) -> Film | None:
    if folder is None:
        return None
    origin, target = Path(source).resolve(), folder.resolve()
    if (origin.is_dir() and (target == origin or origin in target.parents)) or target / "annotated.mp4" == origin:
        raise StationError(f"--annotate {folder} could overwrite the source {source}; give another folder")
    is_video = camera.live or camera.fps is not None
    return Video(folder, camera.fps) if is_video else Pictures(folder)


def _leave_record(out: Path, tally: Tally, session: Session, store: Store, ended_by: str) -> None:
    try:
        write_parts(out / "parts.csv", store.parts())
        write_summary(out / "summary.json", summary(tally, session, ended_by, store.views_dropped, store.rows_lost))
    except OSError as error:
        raise StationError(f"{out}: the summary cannot be written ({error.strerror}); free some space on this disk") from error


def _conclude(console: Console, out: Path, tally: Tally, store: Store, film: Film | None) -> None:
    p50, p99 = tally.latency_ms(50), tally.latency_ms(99)
    console.print(f"frames {tally.frames_seen}, dropped {tally.frames_dropped}, faults {tally.faults}", highlight=False)
    if p50 is not None and p99 is not None:
        console.print(f"capture to decision {p50:.1f} ms (p50), {p99:.1f} ms (p99)", highlight=False)
    if store.rows_lost or store.views_dropped:
        lost = f"not in the record: {store.rows_lost} parts and faults, {store.views_dropped} views of parts"
        console.print(f"{lost}; {store.trouble or 'the disk did not keep up'}", style="bold red", markup=False)
    if isinstance(film, Pictures) and film.unsaved:
        console.print(f"{film.unsaved} annotated pictures could not be saved; check the disk", style="bold red")
    console.print(f"record in {out}: store.sqlite, parts.csv, summary.json", highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _counts_shown(tally: Tally, console: Console) -> Iterator[Callable[[], None]]:
    """Counts that change in place on a terminal, and a line now and then in a log."""
    every_s = 0.25 if console.is_terminal else LINE_EVERY_S
    due = time.monotonic() + every_s

    with Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else ExitStack() as live:

        def show() -> None:
            nonlocal due
            if time.monotonic() < due:
                return
            due = time.monotonic() + every_s
            if isinstance(live, Live):
                live.update(counters(tally), refresh=True)
            else:
                console.print(counters(tally), soft_wrap=True)

        yield show

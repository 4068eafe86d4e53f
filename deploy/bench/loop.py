"""The real loop with a clock at each of its parts, its bare engine, and its source alone."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy.bench.sources import Clocked
from deploy.cameras import Camera, Frame, Unreadable
from deploy.engines import Answer, Engine
from deploy.errors import CameraError
from deploy.inspector.arrivals import Arrivals
from deploy.inspector.judge import Judge
from deploy.inspector.loop import inspect
from deploy.inspector.region import Region
from deploy.inspector.session import describe, switching_often
from deploy.inspector.spot import Limits, spot
from deploy.inspector.tally import Tally
from deploy.inspector.watch import News, Turn, Watch
from deploy.preprocess import Picture
from deploy.store import Place, Policy, Store

WARM_UP = 5
"""Pictures that are not counted: caches fill, threads start."""
PATIENCE_S = 10.0
"""How much longer than asked is waited for something to measure."""


@dataclass
class Ran:
    """What a loop did. Times are in milliseconds, one for each frame."""

    read_ms: list[float] = field(default_factory=list)
    """Read and decode; for a live camera this is waiting."""
    prepare_ms: list[float] = field(default_factory=list)
    """Crop and letterbox: for recordings on the thread that reads, while the engine is at the frame before."""
    infer_ms: list[float] = field(default_factory=list)
    decide_ms: list[float] = field(default_factory=list)
    record_ms: list[float] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)
    """From capture to verdict."""
    stamps: list[float] = field(default_factory=list)
    """When each verdict was there, in seconds."""
    dropped: int = 0
    faulted: int = 0

    @property
    def per_second(self) -> float:
        """Verdicts per second; 0 where there are too few to tell."""
        return _rate(self.stamps)


def run_loop(camera: Camera, judge: Judge, seconds: float) -> Ran:
    """Inspect for so long, as `inspector run` does, into a store that is thrown away; at least until there are two verdicts.

    Raises CameraError when they do not come.
    """
    ran, tally = Ran(), Tally()
    clocked = replace(judge, engine=_Engine(judge.engine, ran.infer_ms))
    watch = _Watch("", [spot(Region(), None, Limits() if camera.live else None)], ran=ran)
    arrivals = Arrivals([Clocked(camera, ran.read_ms)], lambda _, frame: watch.prepared(frame, clocked))
    with TemporaryDirectory(prefix="inspector-bench-") as folder, switching_often(), closing(arrivals):
        store = Store(Path(folder) / "store.sqlite", describe(judge, "bench"), Policy() if camera.live else None)
        end = time.monotonic() + seconds

        def is_over() -> bool:
            return time.monotonic() > end + (0 if len(ran.stamps) > 1 else PATIENCE_S)

        with closing(store):
            for turn in inspect(arrivals, [watch], lambda: clocked, is_over):
                if turn is None:
                    continue
                with _clock(ran.record_ms):
                    for region, step in turn.steps.items():
                        store.add(step, Place(turn.camera, region))
                    tally.add(turn)
                ran.stamps += [time.perf_counter()] if turn.judged else []
                ran.latency_ms += [turn.latency_ms] if turn.latency_ms is not None else []
                ran.dropped += turn.dropped
                ran.faulted += turn.faulted
    if len(ran.stamps) < 2:
        raise CameraError(f"{len(ran.stamps)} frames came to a verdict within {seconds + PATIENCE_S:.0f} s: {watch.trouble}")
    return ran


def run_engine(engine: Engine, frames: Picture, seconds: float) -> tuple[float, list[float]]:
    """Frames per second of the engine alone, and the milliseconds of each; `frames` is N x H x W x 3, as the graph takes it."""
    stamps: list[float] = []
    took_ms: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(stamps) <= WARM_UP + 1:
        with _clock(took_ms):
            engine.infer(frames[len(stamps) % len(frames)][None])
        stamps.append(time.perf_counter())
    return _rate(stamps), took_ms


def run_reading(camera: Camera, seconds: float) -> float:
    """Frames per second of a recording that is only read; 0 where hardly any can be."""
    stamps: list[float] = []
    end = time.monotonic() + seconds
    with closing(camera):
        while time.monotonic() < end + (0 if len(stamps) > 1 else PATIENCE_S):
            with suppress(Unreadable):
                camera.read()
                stamps.append(time.perf_counter())
    return _rate(stamps)


class _Engine(Engine):
    def __init__(self, engine: Engine, took_ms: list[float]) -> None:
        self.name = engine.name
        self._engine, self._took_ms = engine, took_ms

    def infer(self, frames: Picture) -> Answer:
        with _clock(self._took_ms):
            return self._engine.infer(frames)


@dataclass
class _Watch(Watch):
    ran: Ran = field(default_factory=Ran)
    trouble: str = "none was delivered"

    def prepared(self, frame: Frame, judge: Judge) -> Frame:
        with _clock(self.ran.prepare_ms):
            return super().prepared(frame, judge)

    def turn(self, news: News, judge: Judge) -> Turn:
        if isinstance(news, Frame) and type(news) is Frame:  # a live one: the same work at another place, where it can be timed
            news = self.prepared(news, judge)
        answers, before = len(self.ran.infer_ms), time.perf_counter()
        turn = super().turn(news, judge)
        took_ms = (time.perf_counter() - before) * 1000
        if turn.judged:
            self.ran.decide_ms.append(took_ms - sum(self.ran.infer_ms[answers:]))
        self.trouble = next((step.faults[-1].message for step in turn.steps.values() if step.faults), self.trouble)
        return turn


@contextmanager
def _clock(took_ms: list[float]) -> Iterator[None]:
    before = time.perf_counter()
    yield
    took_ms.append((time.perf_counter() - before) * 1000)


def _rate(stamps: list[float]) -> float:
    counted = stamps[WARM_UP:] if len(stamps) > 2 * WARM_UP else stamps
    return (len(counted) - 1) / (counted[-1] - counted[0]) if len(counted) > 1 and counted[-1] > counted[0] else 0.0

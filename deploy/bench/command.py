"""`inspector bench --source`: engine, loop and source take turns, so that what else the machine does hits all alike."""

import json
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from rich.console import Console
from rich.table import Table

from deploy.addresses import shown
from deploy.bench.loop import Ran, run_engine, run_loop, run_reading
from deploy.bench.process import Started, start
from deploy.bench.sources import Raw, Repeated, decoded
from deploy.cameras import open_camera
from deploy.cameras.newest import NewestOnly
from deploy.command import say
from deploy.files import write_whole
from deploy.inspector.judge import Judge, open_judge
from deploy.installation.machine import Machine, this_machine
from deploy.preprocess import Picture, letterbox

ROUNDS = 7
LIVE_SHARE = 0.5
"""Of the time, for the one look at a live camera that all rounds have in common."""
PARTS = ("read", "prepare", "infer", "decide", "record")


@dataclass(frozen=True)
class Spread:
    """Of times in milliseconds."""

    p50: float
    p99: float


@dataclass(frozen=True)
class Loop:
    """The whole loop on one kind of source."""

    per_second: float
    """Verdicts per second, the median of the rounds."""
    of_engine: float
    """Its share of the bare engine's rate, the median of the rounds' own shares."""
    latency_ms: Spread
    """From capture to verdict. A frame of a recording is read ahead, so it waits for the one before."""
    parts_ms: dict[str, Spread]
    """`read` (decoding; not for live cameras, where it is waiting), `prepare` (crop, letterbox), `infer`, `decide`, `record`.
    For recordings the first two overlap with the others."""
    verdicts: int
    dropped: int
    faulted: int


@dataclass(frozen=True)
class Benched:
    """What `--json` writes."""

    bundle: str
    version: int
    precision: str
    engine: str
    source: str
    live: bool
    machine: Machine
    load: tuple[float, float]
    """Of the system, over the minute before the measurement and over its last minute (load average)."""
    rounds: int
    input: tuple[int, int]
    """Height and width that the graph takes."""
    picture: tuple[int, int]
    """Height and width of the source's first picture."""
    engine_per_second: float
    """The bare engine on the raw pictures, letterboxed before: frames per second, the median of the rounds."""
    engine_ms: Spread
    raw: Loop
    """The source's first pictures, decoded before."""
    whole: Loop
    """The source itself."""
    reading_per_second: float | None
    """Frames per second of a loop that only reads and decodes the source; None for a live camera."""
    of_reading: float | None
    """The whole loop's share of that."""
    camera_per_second: float | None
    """Frames per second that a live camera brings; None for a recording."""
    started: Started
    """`inspector run` on this source, as a process of its own."""


def bench_source(
    bundle: Path, source: str, trusted_key: str | None, seconds: float, json_file: Path | None, console: Console
) -> Benched:
    """Measure for about `seconds` in all, beside the start of a process; tell it as tables, and write it to `json_file`.

    Raises as `deploy.inspector.session.run_session` does.
    """
    judge = open_judge(bundle, trusted_key)
    with open_camera(source) as camera:
        is_live, pictures = camera.live, decoded(camera)
    if judge.note:
        say(judge.note)
    load = os.getloadavg()[0]
    started = start([str(bundle), source, *(["--trust", trusted_key] if trusted_key else [])])
    found = _measure(judge, source, is_live, pictures, seconds, started, load)
    _show(console, found)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(json_file, json.dumps({**asdict(found), "machine": found.machine.model_dump()}, indent=2) + "\n")
        say(f"figures in {json_file}")
    return found


def _measure(
    judge: Judge, source: str, is_live: bool, pictures: list[Picture], seconds: float, started: Started, load: float
) -> Benched:
    spec = judge.bundle.spec
    frames = np.stack([letterbox(picture, judge.preprocessing) for picture in pictures])
    open_again = partial(open_camera, source)
    slice_s = seconds * (1 - LIVE_SHARE if is_live else 1) / ROUNDS / (2 if is_live else 4)
    rates, took_ms, raw, whole, reading = [], [], [], [], []
    for _ in range(ROUNDS):
        rate, times_ms = run_engine(judge.engine, frames, slice_s)
        rates.append(rate)
        took_ms += times_ms
        raw.append(run_loop(Raw(pictures), judge, slice_s))
        if not is_live:
            whole.append(run_loop(Repeated(open_again), judge, slice_s))
            reading.append(run_reading(Repeated(open_again), slice_s))
    camera_rate = None
    if is_live:
        with closing(open_again()) as camera:
            whole.append(run_loop(camera, judge, seconds * LIVE_SHARE))
            camera_rate = camera.figures().fps if isinstance(camera, NewestOnly) else None
    return Benched(
        bundle=spec.name,
        version=spec.version,
        precision=judge.precision,
        engine=judge.engine.name,
        source=shown(source),
        live=is_live,
        machine=this_machine(),
        load=(round(load, 2), round(os.getloadavg()[0], 2)),
        rounds=ROUNDS,
        input=(judge.preprocessing.height, judge.preprocessing.width),
        picture=(pictures[0].shape[0], pictures[0].shape[1]),
        engine_per_second=median(rates),
        engine_ms=_spread(took_ms),
        raw=_loop(raw, rates, is_live=False),
        whole=_loop(whole, [median(rates)] if is_live else rates, is_live),
        reading_per_second=median(reading) if reading else None,
        of_reading=median(loop.per_second / rate for loop, rate in zip(whole, reading, strict=True))
        if reading and all(reading)
        else None,
        camera_per_second=camera_rate,
        started=started,
    )


def _loop(rounds: Sequence[Ran], engine: Sequence[float], is_live: bool) -> Loop:
    parts = {name: [took for ran in rounds for took in getattr(ran, f"{name}_ms")] for name in PARTS}
    return Loop(
        per_second=median(ran.per_second for ran in rounds),
        of_engine=median(ran.per_second / rate for ran, rate in zip(rounds, engine, strict=True)),
        latency_ms=_spread([took for ran in rounds for took in ran.latency_ms]),
        parts_ms={name: _spread(took) for name, took in parts.items() if not (is_live and name == "read")},
        verdicts=sum(len(ran.stamps) for ran in rounds),
        dropped=sum(ran.dropped for ran in rounds),
        faulted=sum(ran.faulted for ran in rounds),
    )


def _spread(took_ms: Sequence[float]) -> Spread:
    p50, p99 = (round(float(found), 3) for found in np.percentile(took_ms, (50, 99)))
    return Spread(p50, p99)


def _show(console: Console, found: Benched) -> None:
    say(f"{found.bundle} version {found.version}, {found.precision} on {found.engine}; {found.machine}")
    say(f"load of the machine {found.load[0]:.1f} before and {found.load[1]:.1f} at the end, {found.rounds} rounds in turn")
    named = {"raw pictures": found.raw, "camera" if found.live else "source": found.whole}
    table = Table("", box=None, pad_edge=False)
    for head in ("per second", "of the engine", "to verdict p50", "p99 ms", "dropped", "faulted"):
        table.add_column(head, justify="right")
    bare = found.engine_ms
    table.add_row("bare engine", f"{found.engine_per_second:.1f}", "", f"{bare.p50:.2f}", f"{bare.p99:.2f}", "", "")
    for name, loop in named.items():
        speed = f"{loop.per_second:.1f}", f"{loop.of_engine:.2f}"
        latency = f"{loop.latency_ms.p50:.2f}", f"{loop.latency_ms.p99:.2f}"
        table.add_row(f"loop, {name}", *speed, *latency, str(loop.dropped), str(loop.faulted))
    if found.reading_per_second is not None:
        table.add_row("only reading", f"{found.reading_per_second:.1f}")
    console.print(table)
    parts = Table("ms, p50 and p99", box=None, pad_edge=False)
    for name in PARTS:
        parts.add_column(name, justify="right")
    for name, loop in named.items():
        cells = (loop.parts_ms.get(part) for part in PARTS)
        parts.add_row(name, *("" if cell is None else f"{cell.p50:.2f} {cell.p99:.2f}" for cell in cells))
    console.print(parts)
    if found.of_reading is not None:
        say(f"the loop has {found.of_reading:.2f} of the rate of a loop that only reads and decodes")
    if found.camera_per_second is not None:
        say(f"the camera brings {found.camera_per_second:.1f} frames per second")
    started = found.started
    memory = "" if started.peak_mb is None else f"; it takes {started.steady_mb:.0f} MB, {started.peak_mb:.0f} MB at most"
    say(f"`inspector run` has its first verdict after {started.first_verdict_s:.2f} s{memory}")

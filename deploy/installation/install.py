"""`inspector install` and `inspector bench`: try what the lab passed here, time what agrees, say and keep what is chosen."""

import os
from collections.abc import Sequence
from datetime import datetime, timezone
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy.bundle import Bundle, load_bundle, sha256_of
from deploy.command import say
from deploy.engines import RUNTIMES, Engine
from deploy.errors import EngineError
from deploy.files import write_whole
from deploy.installation.choice import Choice, Measured, PairFound, check_writable, choice_file, choose, write_choice
from deploy.installation.machine import this_machine, version_of
from deploy.installation.measure import latency, measure
from deploy.installation.trial import pairs_of, try_pair

_SHORT = {"cannot run here": "not here", "not passed in the lab": "lab: no"}

SECONDS_EACH = 2.0
"""How long each pair is timed at an installation."""


def install(path: Path, trusted_key: str | None, console: Console) -> Choice:
    """Choose the fastest model and engine that agree with the lab on this device, and write the choice beside the bundle.

    Raises BundleError or SignatureError for a bundle that is not as signed or a folder that takes no files, GoldenMismatch when
    nothing agrees. Whatever ends it early leaves the former choice.
    """
    bundle = load_bundle(path, trusted_key)
    file = choice_file(bundle)
    check_writable(file)
    measured = _measure(bundle, None, None, console)
    chosen = choose(measured.pairs)
    choice = Choice(**dict(measured), precision=chosen.precision, runtime=chosen.runtime)
    _show(console, choice.pairs, chosen)
    write_choice(file, choice)
    say(f"chosen: {chosen.name}, the fastest here that answers as the lab did; `inspector run {path}` takes it from now on")
    say(f"figures in {file}")
    return choice


def bench(
    path: Path, trusted_key: str | None, seconds: float, threads: int | None, json_file: Path | None, console: Console
) -> Measured:
    """Time every pair that agrees, for `seconds` in all; writes no choice. Raises as `install` does."""
    bundle = load_bundle(path, trusted_key)
    measured = _measure(bundle, seconds, threads, console)
    fastest = choose(measured.pairs)
    _show(console, measured.pairs, None)
    for pair in sorted(measured.pairs, key=_p50):
        if pair.latency is not None:
            rate = f"{pair.latency.per_second:.0f} pictures per second"
            say(f"{pair.name}: {rate}, one after the other, over {pair.latency.pictures} of them")
    say(f"fastest: {fastest.name}; nothing was installed")
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(json_file, measured.model_dump_json(indent=2) + "\n")
        say(f"figures in {json_file}")
    return measured


def _measure(bundle: Bundle, seconds: float | None, threads: int | None, console: Console) -> Measured:
    machine = this_machine()
    say(f"{bundle.path}: {bundle.spec.name} version {bundle.spec.version}, signed by {bundle.signed_by}, unchanged since")
    say(f"this device: {machine}")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > machine.cores / 2:
        say(f"it is busy (load {load:.1f}): the figures are those of a busy machine; measure again when it does what it will do")
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        pairs, engines = _try_all(bundle, threads, bar)
        pairs = _time(pairs, engines, bundle, seconds, bar)
    return Measured(
        bundle=bundle.spec.name,
        version=bundle.spec.version,
        bundle_sha256=sha256_of(bundle.path / "bundle.json"),
        signed_by=bundle.signed_by,
        measured=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=machine,
        runtimes={runtime: version for runtime in RUNTIMES if (version := version_of(runtime)) is not None},
        threads=threads,
        pairs=pairs,
    )


def _try_all(bundle: Bundle, threads: int | None, bar: Progress) -> tuple[list[PairFound], dict[tuple[str, str], Engine]]:
    pairs, engines = [], {}
    task = bar.add_task("", total=len(pairs_of(bundle)))
    for precision, runtime in pairs_of(bundle):
        bar.update(task, description=f"{precision} on {runtime}: opened and asked the golden pictures")
        found, engine = try_pair(bundle, precision, runtime, threads)
        pairs.append(found)
        if engine is not None:
            engines[precision, runtime] = engine
        bar.advance(task)
    bar.remove_task(task)
    return pairs, engines


def _time(
    pairs: list[PairFound], engines: dict[tuple[str, str], Engine], bundle: Bundle, seconds: float | None, bar: Progress
) -> list[PairFound]:
    task = bar.add_task(f"timing {len(engines)} pairs, one picture at a time, in turns", total=1.0)
    frames = bundle.golden().frames
    times = measure(engines, frames, seconds or SECONDS_EACH * len(engines), lambda share: bar.update(task, completed=share))

    def with_latency(pair: PairFound) -> PairFound:
        found = times.get((pair.precision, pair.runtime))
        if found is None:
            return pair
        if isinstance(found, EngineError):
            return pair.model_copy(update={"outcome": "failed", "refused": f"failed while it was timed: {found}"})
        fp32 = times.get(("fp32", pair.runtime))
        return pair.model_copy(update={"latency": latency(found, fp32 if isinstance(fp32, list) else None)})

    return [with_latency(pair) for pair in pairs]


def _show(console: Console, pairs: Sequence[PairFound], chosen: PairFound | None) -> None:
    """A row for each pair, those that may be chosen from first and by speed, then the reasons why others may not."""
    table = Table("model", "engine", "verdicts", "difference", "p50 ms", "p99 ms", "× fp32", "", box=None, pad_edge=False)
    for pair in sorted(pairs, key=_p50):
        outcome = "chosen" if pair is chosen else _SHORT.get(pair.outcome, pair.outcome)
        style = "bold green" if pair is chosen else "bold red" if pair.outcome in ("differs", "failed") else None
        table.add_row(pair.precision, pair.runtime, *_agreement(pair), *_speed(pair), outcome, style=style)
    console.print(table)
    refused = sorted((pair for pair in pairs if pair.refused), key=lambda pair: (RUNTIMES.index(pair.runtime), pair.refused))
    for (runtime, reason), same in groupby(refused, key=lambda pair: (pair.runtime, pair.refused)):
        say(f"{', '.join(pair.precision for pair in same)} on {runtime}: {reason}")


def _agreement(pair: PairFound) -> tuple[str, str]:
    if pair.difference is None:
        return "", ""
    return f"{pair.pictures - pair.other_verdicts} of {pair.pictures}", f"{pair.difference:.2g}"


def _speed(pair: PairFound) -> tuple[str, str, str]:
    took = pair.latency
    if took is None:
        return "", "", ""
    return f"{took.p50_ms:.2f}", f"{took.p99_ms:.2f}", f"{took.times_fp32:.2f}" if took.times_fp32 is not None else ""


def _p50(pair: PairFound) -> float:
    return pair.latency.p50_ms if pair.latency is not None else float("inf")

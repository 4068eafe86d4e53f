"""How long one picture takes in each engine, with all of them taking turns: what the clock does in between hits all alike."""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

from deploy.engines import Engine
from deploy.errors import EngineError
from deploy.installation.choice import Latency
from deploy.preprocess import Picture

LEAST_ROUNDS = 8
WARM_UP, BURST = 4, 10
"""Pictures of each turn that are not timed (the former engine's threads still spin, its data is in the caches), and that are."""

Key = TypeVar("Key")


def measure(
    engines: Mapping[Key, Engine], frames: Picture, seconds: float, progress: Callable[[float], None] = lambda share: None
) -> dict[Key, list[float] | EngineError]:
    """Milliseconds of each timed picture, one at a time, for about `seconds` in all and at least LEAST_ROUNDS turns of each.

    `frames` is N x H x W x 3, as the graph takes it; `progress` is told the share of the time that has gone. An engine that fails
    on the way has its error in place of times, and the others go on.
    """
    times: dict[Key, list[float]] = {key: [] for key in engines}
    failed: dict[Key, EngineError] = {}
    started, rounds = time.monotonic(), 0
    while len(failed) < len(engines) and (rounds < LEAST_ROUNDS or time.monotonic() - started < seconds):
        running = [key for key in engines if key not in failed]
        first = rounds % len(running)  # nobody always comes after the same one
        for key in running[first:] + running[:first]:
            try:
                times[key] += _turn(engines[key], frames, rounds)
            except EngineError as error:
                failed[key] = error
        rounds += 1
        gone = (time.monotonic() - started) / seconds if seconds > 0 else 1.0
        progress(min(gone, rounds / LEAST_ROUNDS, 1.0))
    return {key: failed.get(key) or times[key] for key in engines}


def _turn(engine: Engine, frames: Picture, number: int) -> list[float]:
    took = []
    for step in range(WARM_UP + BURST):
        frame = frames[(number * BURST + step) % len(frames)][None]
        before = time.perf_counter()
        engine.infer(frame)
        took.append((time.perf_counter() - before) * 1000)
    return took[WARM_UP:]


def latency(times: list[float], fp32: list[float] | None) -> Latency:
    """The figures of one engine's times in milliseconds, beside those of fp32 in the same engine, where it ran."""
    p50, p99 = (float(found) for found in np.percentile(times, (50, 99)))
    ratio = float(np.percentile(fp32, 50)) / p50 if fp32 else None
    return Latency(p50_ms=p50, p99_ms=p99, per_second=1000 * len(times) / sum(times), pictures=len(times), times_fp32=ratio)

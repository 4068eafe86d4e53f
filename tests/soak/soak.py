"""The soak itself: faults and samples for so long, then the end, then what must hold."""

import json
import random
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.soak.faults import Injected, Injector
from tests.soak.line import MAX_AGE_MS, RECORD_MB, Line
from tests.soak.samples import Sample, quarters, sample

WARM_UP = 1 / 6
"""Share of the time after which memory is compared: latencies are ranked over 10 000 frames, drift over 500 parts."""
MEMORY_MB = 300


def soak(folder: Path, seconds: float, seed: int, pause_s: float, every_s: float, growth: float) -> dict[str, Any]:
    """Run it in a new `folder`; what came of it, also as `result.json` there. `growth`: the share that memory may grow by."""
    folder.mkdir(parents=True)
    rng = random.Random(seed)
    line = Line(folder.resolve(), rng)
    samples: list[Sample] = []
    with line.started():
        began = time.monotonic()
        while len(line.asked("SELECT camera FROM parts GROUP BY camera")) < len(line.cameras):
            if line.process.poll() is not None or time.monotonic() > began + 60:
                raise RuntimeError(f"the station does not start; see {folder}/station.log")
            time.sleep(0.2)
        injector = Injector(line, rng, pause_s)
        injector.start()
        with (folder / "samples.jsonl").open("w", buffering=1) as log:
            while time.monotonic() < began + seconds and (one := sample(line, began)) is not None:
                samples.append(one)
                log.write(json.dumps(asdict(one)) + "\n")
                time.sleep(every_s)
        injector.stop()
        ended_by_itself = line.process.poll() is not None
        line.process.send_signal(signal.SIGTERM)
        code = line.process.wait(timeout=120)
        trouble = [] if code == 0 and not ended_by_itself else [f"the station ended by itself, or with code {code}"]
        trouble += _amiss_in_record(line)
    trouble += _amiss(samples, injector.injected, growth)
    kinds = Counter(one.name for one in injector.injected)
    result = {
        "seconds": samples[-1].at_s,
        "seed": seed,
        "resident_mb": _growth(samples, "rss_mb"),
        "heap_mb": _growth(samples, "own_mb"),
        "descriptors": _growth(samples, "descriptors"),
        "threads": _growth(samples, "threads"),
        "most_rss_mb": max(one.rss_mb for one in samples),
        "cpu_share": samples[-1].cpu_s / samples[-1].at_s,
        "frames": samples[-1].frames,
        "cameras": _summary(line)["cameras"],
        "rows_lost": _summary(line)["store"]["rows_lost"],
        "faults": {name: _times(name, injector.injected) | {"injected": count} for name, count in sorted(kinds.items())},
        "not_injected": [] if line.is_small_disk else ["disk full: mounting a small tmpfs needs root"],
        "trouble": trouble,
    }
    (folder / "injected.json").write_text(json.dumps([asdict(one) for one in injector.injected], indent=1) + "\n")
    (folder / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    return result


def _growth(samples: list[Sample], name: str) -> dict[str, float]:
    first, last = quarters(samples, name, WARM_UP * samples[-1].at_s)
    return {"first_quarter": first, "last_quarter": last, "growth": round(last / first - 1, 5)}


def _times(name: str, injected: list[Injected]) -> dict[str, float]:
    """The longest of one kind."""
    own = [one for one in injected if one.name == name]
    return {
        "told_within_s": round(max(one.told_s or 0 for one in own), 1),
        "recovered_within_s": round(max(one.recovered_s or 0 for one in own), 1),
    }


def _amiss(samples: list[Sample], injected: list[Injected], growth: float) -> list[str]:
    """What of the process and of the faults is not as it must be."""
    found = []
    if (grown := _growth(samples, "rss_mb"))["growth"] > growth:
        found.append(f"resident memory grew by more than {growth:.0%}: {grown}")
    if (most := max(one.rss_mb for one in samples)) > MEMORY_MB:
        found.append(f"{most:.0f} MB were resident, at most {MEMORY_MB} are allowed")
    for name in ("descriptors", "threads"):
        if abs((grown := _growth(samples, name))["growth"]) > growth:
            found.append(f"{name} are not constant: {grown}")
    for one in injected:
        if one.told_s is None:
            found.append(f"{one.name} at {one.at_s:.0f} s is not in the record")
        if one.recovered_s is None:
            found.append(f"{one.name} at {one.at_s:.0f} s: a camera had no verdict afterwards")
    return found


def _summary(line: Line) -> dict[str, Any]:
    kept = line.folder / "record" if line.is_small_disk else line.record
    summary: dict[str, Any] = json.loads((kept / "summary.json").read_text())
    return summary


def _amiss_in_record(line: Line) -> list[str]:
    """What of the closed record is not as it must be."""
    found = []
    for name, account in json.loads((line.record / "summary.json").read_text())["cameras"].items():
        if account["captured"] != account["judged"] + account["dropped"] + account["faulted"]:
            found.append(f"frames of {name} that nobody accounts for: {account}")
    with closing(sqlite3.connect(line.record / "store.sqlite")) as database:
        integrity = database.execute("PRAGMA integrity_check").fetchall()
        rows = {path for (path,) in database.execute("SELECT path FROM pictures WHERE gone IS NULL")}
        stale = "SELECT count(*) FROM parts WHERE verdict != 'FAULT' AND max(latency_ms, age_ms) > ?"
        (stale_verdicts,) = database.execute(stale, (MAX_AGE_MS,)).fetchone()
        open_sessions = database.execute("SELECT count(*) FROM sessions WHERE ended IS NULL OR killed").fetchone()[0]
    if integrity != [("ok",)]:
        found.append(f"the database is damaged: {integrity}")
    if open_sessions:
        found.append(f"{open_sessions} sessions were not closed")
    if stale_verdicts:
        found.append(f"{stale_verdicts} verdicts are of frames that were more than {MAX_AGE_MS} ms old")
    if (size_mb := (line.record / "store.sqlite").stat().st_size / 1e6) > 1.5 * RECORD_MB:
        found.append(f"the database takes {size_mb:.1f} MB, its quota is {RECORD_MB} MB")
    pictures = line.record / "pictures"
    files = {path.relative_to(pictures).as_posix() for path in pictures.rglob("*") if path.is_file()}
    if files != rows:
        found.append(f"{len(files - rows)} pictures without a row, {len(rows - files)} rows without their picture")
    if not files:
        found.append("no picture was kept")
    return found

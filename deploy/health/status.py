"""`status.json` in the record's folder: written by the running inspector, read by `inspector status`."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.errors import StationError
from deploy.files import write_whole
from deploy.health.snapshot import Snapshot
from deploy.inspector.drift_window import Figure
from deploy.inspector.running import running

NAME = "status.json"
EVERY_S = 2.0
OLD_S = 10.0
"""A status that nobody wrote anew for so long is no longer believed."""


@contextmanager
def status_kept(folder: Path, snapshot: Callable[[], Snapshot]) -> Iterator[None]:
    """Write the file now and then meanwhile, on a thread of its own, since a disk may hang.

    Whatever keeps it from being written is no matter. One that is left says that its inspector was killed.
    """
    file, closing = folder / NAME, threading.Event()

    def keep() -> None:
        forget()
        while not closing.is_set():
            with suppress(Exception):
                write_whole(file, json.dumps(asdict(snapshot()), indent=2) + "\n")
            closing.wait(EVERY_S)
        forget()  # here, after the last write, however long that took

    def forget() -> None:
        with suppress(OSError):
            file.unlink(missing_ok=True)

    thread = threading.Thread(target=keep, name="status", daemon=True)
    thread.start()
    try:
        yield
    finally:
        closing.set()
        thread.join(2)


def read_status(folder: Path) -> dict[str, Any]:
    """The status that is true now: the keys of `Snapshot`, with `running`. Where it is none, `ready` is false and why.

    A file that is missing or old leaves only `running`, `ready` and `complaint`.
    """
    found: dict[str, Any] = {}
    with suppress(OSError, ValueError, TypeError):
        found = dict(json.loads((folder / NAME).read_text(encoding="utf-8")))
    try:
        process = running(folder)
    except StationError as error:
        killed = f"; one was killed, its last sign of life is of {found.get('at')}" if found else ""
        return {"running": False, "ready": False, "complaint": f"{error}{killed}"}
    who = f"{folder}: the inspector (process {process})"
    complaint = f"{who} has not told its status yet; it is starting, or its disk takes nothing"
    with suppress(KeyError, TypeError, ValueError):  # not what we write
        age_s = time.monotonic() - float(found["monotonic_s"])
        if found["process"] == process and 0 <= age_s <= OLD_S and "ready" in found:
            return {"running": True, **found}
        if found["process"] == process and age_s > OLD_S:
            complaint = f"{who} has told nothing for {age_s:.0f} s; it hangs, or its disk is full"
    return {"running": True, "ready": False, "complaint": complaint}


def show_status(folder: Path, as_json: bool, console: Console) -> bool:
    """Print how the inspector that records into `folder` fares; is it ready?"""
    status = read_status(folder)
    if as_json:
        console.print_json(data=status, ensure_ascii=True)
        return bool(status["ready"])
    if status.keys() == {"running", "ready", "complaint"}:
        raise StationError(status["complaint"])
    try:
        lines, table = list(_lines(status)), _camera_table(status["cameras"])
    except (KeyError, TypeError) as error:
        raise StationError(f"{folder}: the inspector that runs here is of another version; start it again") from error
    for line in lines:
        line = line.encode(errors="replace").decode()  # the name of a file need not be text
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(table)
    return bool(status["ready"])


def _lines(status: dict[str, Any]) -> Iterator[str]:
    session, latency, record = status["session"], status["latency_ms"], status["record"]
    yield "READY" if status["ready"] else f"NOT READY: {status['complaint']}"
    if record["trouble"]:
        yield f"NOT RECORDING: {record['trouble']}"
    if record["picture_trouble"]:
        yield f"NOT SAVING PICTURES: {record['picture_trouble']}"
    yield f"{session['bundle']} version {session['version']} ({session['precision']} on {session['engine']})"
    yield f"since {status['started']} ({status['up_s'] / 3600:.1f} h)"
    yield f"parts {sum(status['parts'].values())}: " + ", ".join(f"{name} {count}" for name, count in status["parts"].items())
    yield f"faults {status['faults']}"
    if latency["p50"] is not None:
        yield f"capture to decision {latency['p50']:.1f} ms (p50), {latency['p99']:.1f} ms (p99)"
    for figure in (Figure(**one) for one in status["drift"]):
        if figure.drifts:
            yield f"DRIFT: {figure.sentence()}"
    waiting = f"{record['rows_waiting']} rows and {record['pictures_waiting']} pictures wait"
    yield f"record: {waiting}, {record['rows_lost']} rows lost; pictures saved {record['pictures_saved']}"
    if status["memory_bytes"] is not None:
        yield f"memory {status['memory_bytes'] / 1e6:.0f} MB, {status['open_files']} open files, process {status['process']}"


def _camera_table(cameras: list[dict[str, Any]]) -> Table:
    table = Table("camera", "state")
    for column in ("newest frame", "rate", "captured", "judged", "dropped", "faulted", "reconnects/h"):
        table.add_column(column, justify="right")
    for one in cameras:
        age = "-" if one["age_s"] is None else f"{one['age_s']:.2f} s ago"
        rate = "-" if one["fps"] is None else f"{one['fps']:.1f} fps"
        counts = (str(one[name]) for name in ("captured", "judged", "dropped", "faulted", "reconnects_last_hour"))
        table.add_row(one["name"], one["state"] or "recording", age, rate, *counts)
    return table

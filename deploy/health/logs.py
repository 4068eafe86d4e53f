"""What befalls the station, one line per event on stderr, for a journal or a log collector. Never with a password.

Events: started, ready, not_ready, recording, not_recording, saving_pictures, not_saving_pictures, camera, faults, bundle,
engine, drift, incomplete, stopped, failed.
"""

import json
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone

from deploy.addresses import without_secrets
from deploy.errors import InspectionError
from deploy.inspector.lane import Lane

LOG = logging.getLogger("inspector")
LOG.addHandler(logging.NullHandler())  # until someone wants to hear of it
LOG.propagate = False
LOG.setLevel(logging.INFO)

LINES_WAITING = 1_000
"""Lines that may wait for a reader of stderr who is slow; beyond that the oldest are dropped."""
PRIORITY = {logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}


def log_event(event: str, level: int = logging.INFO, /, **fields: object) -> None:
    """Tell of an event; returns at once."""
    LOG.log(level, event, extra={"fields": {name: _clean(value) for name, value in fields.items()}})


@contextmanager
def logged(form: str) -> Iterator[None]:
    """Write events to stderr meanwhile, `plain` or as `json`. An error for the user becomes the last one, and the exit code 1."""
    lane: Lane[str] = Lane(LINES_WAITING, must_pass=False)
    handler = _ToLane(lane)
    handler.setFormatter(_Json() if form == "json" else _Plain())
    thread = threading.Thread(target=_write, args=(lane,), name="log", daemon=True)
    thread.start()
    LOG.addHandler(handler)
    try:
        yield
    except (InspectionError, OSError) as error:
        log_event("failed", logging.ERROR, reason=str(error))
        raise SystemExit(1) from None
    finally:
        LOG.removeHandler(handler)
        lane.close()
        thread.join(2)  # a reader who takes nothing must not keep the process from ending


def is_journal() -> bool:
    """Does stderr go to systemd's journal?"""
    with suppress(OSError):
        stderr = os.fstat(2)
        return os.environ.get("JOURNAL_STREAM") == f"{stderr.st_dev}:{stderr.st_ino}"
    return False


class _ToLane(logging.Handler):
    def __init__(self, lane: Lane[str]) -> None:
        super().__init__()
        self._lane = lane

    def emit(self, record: logging.LogRecord) -> None:
        self._lane.put(self.format(record))


class _Json(logging.Formatter):
    """One object per line: time (UTC), level, event, and the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        head = {"time": _at(record), "level": record.levelname.lower(), "event": record.getMessage()}
        return json.dumps({**head, **record.__dict__["fields"]}, default=str)


class _Plain(logging.Formatter):
    """`time level event key=value …`; the journal has its own time, and takes the level as a number in front."""

    def format(self, record: logging.LogRecord) -> str:
        head = f"<{PRIORITY[record.levelno]}>" if is_journal() else f"{_at(record)} {record.levelname.lower()} "
        return head + " ".join([record.getMessage(), *(f"{key}={_word(one)}" for key, one in record.__dict__["fields"].items())])


def _at(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")


def _word(value: object) -> str:
    is_plain = isinstance(value, str) and value != "" and not set(value) & set(" \t\r\n\"'=")
    return str(value) if is_plain else json.dumps(value, ensure_ascii=False, default=str)


def _clean(value: object) -> object:
    if isinstance(value, str):
        return without_secrets(value)
    return {key: _clean(one) for key, one in value.items()} if isinstance(value, dict) else value


def _write(lane: Lane[str]) -> None:
    while (line := lane.get()) is not None:
        with suppress(OSError):  # a log on a full disk, or nobody reads it any more
            os.write(2, f"{line}\n".encode("utf-8", "replace"))  # not by sys.stderr: a write that hangs holds its lock at exit

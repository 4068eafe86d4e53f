"""The record of a station: every part, view and fault in one SQLite file that is never in the inspection's way."""

import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from deploy.errors import StationError
from deploy.inspector.loop import Fault, Seen, Step
from deploy.inspector.part import PartResult, now_utc

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE sessions (
    session INTEGER PRIMARY KEY, started TEXT NOT NULL, ended TEXT,
    bundle TEXT NOT NULL, version INTEGER NOT NULL, bundle_sha256 TEXT NOT NULL, signed_by TEXT NOT NULL,
    precision TEXT NOT NULL, accept REAL NOT NULL, reject REAL NOT NULL, source TEXT NOT NULL, engine TEXT NOT NULL
) STRICT;
CREATE TABLE parts (
    session INTEGER NOT NULL REFERENCES sessions, part INTEGER NOT NULL, at TEXT NOT NULL, verdict TEXT NOT NULL,
    probability REAL, views INTEGER NOT NULL, faults INTEGER NOT NULL, first_frame INTEGER NOT NULL, last_frame INTEGER NOT NULL,
    name TEXT NOT NULL, peak_x INTEGER, peak_y INTEGER, age_ms REAL NOT NULL, reason TEXT,
    PRIMARY KEY (session, part)
) STRICT;
CREATE TABLE frames ( -- one row for each part in each frame that was judged
    session INTEGER NOT NULL REFERENCES sessions, frame INTEGER NOT NULL, part INTEGER NOT NULL, name TEXT NOT NULL,
    at TEXT NOT NULL, age_ms REAL NOT NULL, probability REAL, fault TEXT,
    box_left INTEGER NOT NULL, box_top INTEGER NOT NULL, box_width INTEGER NOT NULL, box_height INTEGER NOT NULL,
    PRIMARY KEY (session, frame, part)
) STRICT;
CREATE TABLE faults (
    session INTEGER NOT NULL REFERENCES sessions, number INTEGER NOT NULL, kind TEXT NOT NULL, message TEXT NOT NULL,
    at TEXT NOT NULL, frame INTEGER, part INTEGER, lasted_s REAL,
    PRIMARY KEY (session, number)
) STRICT;
CREATE TABLE feedback ( -- what a person says about a part
    session INTEGER NOT NULL, part INTEGER NOT NULL, label TEXT NOT NULL, defect_type TEXT, at TEXT NOT NULL, person TEXT,
    FOREIGN KEY (session, part) REFERENCES parts
) STRICT;
"""

FRAMES_WAITING = 2_000
"""View rows that may wait for the disk: a minute of a busy belt. Beyond that the oldest are dropped and counted."""
PARTS_WAITING = 50_000
"""Part and fault rows that may wait. They are a hundred times rarer than views, so this is a day of a disk that is full,
in some 50 MB of memory; only beyond that are the oldest lost, and counted."""
RETRY_S = 1.0

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Session:
    """What decided: a row of `sessions`."""

    bundle: str
    version: int
    bundle_sha256: str
    signed_by: str
    precision: str
    accept: float
    reject: float
    source: str
    engine: str


class Store:
    """Takes rows from the loop at once and writes them on its own thread.

    Two lanes: views may be dropped, parts and faults wait in memory until the disk takes them. Neither ever blocks the loop.
    Raises StationError when the file cannot be opened; later trouble is in `trouble` and in the counts, and does not raise.
    """

    def __init__(self, path: Path, session: Session) -> None:
        self.path = path
        self.views_dropped = 0
        self.rows_lost = 0
        self.trouble: str | None = None
        """Why the last write failed; None while writing works."""
        self._views: deque[Row] = deque()
        self._keep: deque[tuple[str, Row]] = deque()
        self._work = threading.Condition()
        self._closing = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = _connect(path)
            try:
                self.session = _begin(self._database, path, session)
            except Exception:
                self._database.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise StationError(
                f"{path}: the record cannot be written ({error}); check the disk, or give another --out"
            ) from error
        self._thread = threading.Thread(target=self._write_all, name="store", daemon=True)
        self._thread.start()

    def add(self, step: Step) -> None:
        """Take in what one step of the loop brought; returns at once."""
        at = now_utc()
        views = [self._view_row(seen, at) for seen in step.seen if seen.sighting.whole]
        keep = [("parts", self._part_row(part)) for part in step.parts]
        keep += [("faults", self._fault_row(fault)) for fault in [*step.faults, *([step.recovered] if step.recovered else [])]]
        if not (views or keep):
            return
        with self._work:
            self._views.extend(views)
            self._keep.extend(keep)
            self._shorten()
            self._work.notify()

    def close(self) -> None:
        """Write what is waiting and end the session; rows that the disk refuses even now are counted in `rows_lost`."""
        with self._work:
            self._closing = True
            self._work.notify()
        self._thread.join()

    def parts(self) -> Iterator[dict[str, Any]]:
        """The session's parts as they were recorded."""
        with closing(_connect(self.path)) as database:
            database.row_factory = sqlite3.Row
            for row in database.execute("SELECT * FROM parts WHERE session = ? ORDER BY part", (self.session,)):
                yield dict(row)

    def _view_row(self, seen: Seen, at: str) -> Row:
        view = seen.view
        row = (self.session, view.frame, seen.part, view.name, at, view.age_ms, view.probability, view.fault)
        return (*row, *seen.sighting.box)

    def _part_row(self, part: PartResult) -> Row:
        x, y = part.peak or (None, None)
        return (
            *(self.session, part.part, part.at, part.verdict.value, part.probability, part.views, part.faults),
            *(part.first_frame, part.last_frame, part.name, x, y, part.age_ms, part.reason),
        )

    def _fault_row(self, fault: Fault) -> Row:
        return (self.session, fault.number, fault.kind, fault.message, fault.at, fault.frame, fault.part, fault.lasted_s)

    def _shorten(self) -> None:
        while len(self._views) > FRAMES_WAITING:
            self._views.popleft()
            self.views_dropped += 1
        while len(self._keep) > PARTS_WAITING:
            self._keep.popleft()
            self.rows_lost += 1

    def _write_all(self) -> None:
        is_last = False
        while not is_last:
            with self._work:
                self._work.wait_for(lambda: self._views or self._keep or self._closing)
                views, keep, is_last = list(self._views), list(self._keep), self._closing
                self._views.clear()
                self._keep.clear()
            try:
                self._write_kept(keep, is_last)
                keep = []
                with self._database:  # apart from the parts, so that a disk which is nearly full still takes those
                    self._database.executemany(_replace("frames", 12), views)
                self.trouble = None
            except sqlite3.Error as error:
                self._put_back(views, keep, error, is_last)
        self._database.close()

    def _write_kept(self, keep: list[tuple[str, Row]], is_last: bool) -> None:
        with self._database:
            for table, row in keep:
                # A camera's fault is written when it begins and again, with its length, when it ends.
                self._database.execute(_replace(table, len(row)), row)
            if is_last:
                self._database.execute("UPDATE sessions SET ended = ? WHERE session = ?", (now_utc(), self.session))

    def _put_back(self, views: list[Row], keep: list[tuple[str, Row]], error: sqlite3.Error, is_last: bool) -> None:
        self.trouble = f"{self.path}: rows cannot be written ({error})"
        with self._work:
            if is_last:
                self.views_dropped += len(views)
                self.rows_lost += len(keep)
                return
            self._views.extendleft(reversed(views))
            self._keep.extendleft(reversed(keep))
            self._shorten()
            self._work.wait_for(lambda: self._closing, RETRY_S)


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=5, check_same_thread=False)  # opened by one thread, then used by another only
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last second of rows, never the file
    database.execute("PRAGMA foreign_keys = ON")
    return database


def _begin(database: sqlite3.Connection, path: Path, session: Session) -> int:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version == 0:
        database.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    elif version != SCHEMA_VERSION:
        raise StationError(
            f"{path}: a record of schema version {version} was found, expected {SCHEMA_VERSION}; "
            "update the inspector, or give another --out"
        )
    names = [field.name for field in fields(session)]
    with database:
        cursor = database.execute(
            f"INSERT INTO sessions (started, {', '.join(names)}) VALUES ({', '.join('?' * (len(names) + 1))})",
            (now_utc(), *(getattr(session, name) for name in names)),
        )
    return int(cursor.lastrowid or 0)


def _replace(table: str, columns: int) -> str:
    return f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * columns)})"

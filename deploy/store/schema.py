"""The tables of a record, and how a file of an earlier version becomes one of this version."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.errors import StationError

STEPS = (
    # 1
    """
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
CREATE TABLE frames (
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
CREATE TABLE feedback (
    session INTEGER NOT NULL, part INTEGER NOT NULL, label TEXT NOT NULL, defect_type TEXT, at TEXT NOT NULL, person TEXT,
    FOREIGN KEY (session, part) REFERENCES parts
) STRICT;
""",
    # 2: several cameras and regions, bundles that change within a session, pictures, and an order that no clock can disturb.
    # `record` counts what a session recorded, from 1, over parts, faults and events together.
    """
CREATE TABLE sessions_2 (
    session INTEGER PRIMARY KEY, started TEXT NOT NULL, ended TEXT, source TEXT NOT NULL,
    killed INTEGER NOT NULL DEFAULT 0 -- 1: it ended without closing the record; `ended` is then its last record
) STRICT;
CREATE TABLE bundles ( -- what decided: load 1 is the bundle a session began with
    session INTEGER NOT NULL REFERENCES sessions, load INTEGER NOT NULL, at TEXT NOT NULL,
    bundle TEXT NOT NULL, version INTEGER NOT NULL, bundle_sha256 TEXT NOT NULL, signed_by TEXT NOT NULL,
    precision TEXT NOT NULL, accept REAL NOT NULL, reject REAL NOT NULL, engine TEXT NOT NULL,
    PRIMARY KEY (session, load)
) STRICT;
CREATE TABLE parts_2 (
    session INTEGER NOT NULL REFERENCES sessions, record INTEGER NOT NULL, camera TEXT NOT NULL DEFAULT '',
    region TEXT NOT NULL DEFAULT '', part INTEGER NOT NULL, load INTEGER NOT NULL DEFAULT 1,
    at TEXT NOT NULL, verdict TEXT NOT NULL, probability REAL, views INTEGER NOT NULL, faults INTEGER NOT NULL,
    first_frame INTEGER NOT NULL, last_frame INTEGER NOT NULL, name TEXT NOT NULL, peak_x INTEGER, peak_y INTEGER,
    age_ms REAL NOT NULL, latency_ms REAL, reason TEXT,
    PRIMARY KEY (session, record)
) STRICT;
CREATE TABLE frames_2 ( -- one row for each part in each frame that was judged
    session INTEGER NOT NULL REFERENCES sessions, camera TEXT NOT NULL DEFAULT '', region TEXT NOT NULL DEFAULT '',
    frame INTEGER NOT NULL, part INTEGER NOT NULL, load INTEGER NOT NULL DEFAULT 1, name TEXT NOT NULL, at TEXT NOT NULL,
    age_ms REAL NOT NULL, latency_ms REAL, probability REAL, fault TEXT,
    box_left INTEGER NOT NULL, box_top INTEGER NOT NULL, box_width INTEGER NOT NULL, box_height INTEGER NOT NULL,
    PRIMARY KEY (session, camera, region, frame, part)
) STRICT;
CREATE TABLE faults_2 (
    session INTEGER NOT NULL REFERENCES sessions, record INTEGER NOT NULL, camera TEXT NOT NULL DEFAULT '',
    region TEXT NOT NULL DEFAULT '', number INTEGER NOT NULL, kind TEXT NOT NULL, message TEXT NOT NULL, at TEXT NOT NULL,
    frame INTEGER, part INTEGER, lasted_s REAL, ended_record INTEGER, -- the record by which its end was noted
    PRIMARY KEY (session, record)
) STRICT;
CREATE TABLE events ( -- what befell the record itself: a locked database, a full disk, a clock that jumped, a kill
    session INTEGER NOT NULL REFERENCES sessions, record INTEGER NOT NULL, kind TEXT NOT NULL, message TEXT NOT NULL,
    at TEXT NOT NULL, lasted_s REAL,
    PRIMARY KEY (session, record)
) STRICT;
CREATE TABLE pictures (
    picture INTEGER PRIMARY KEY AUTOINCREMENT, -- the order in which they were saved
    session INTEGER NOT NULL REFERENCES sessions, record INTEGER NOT NULL, -- the part or fault it shows
    camera TEXT NOT NULL, region TEXT NOT NULL, frame INTEGER NOT NULL,
    kind TEXT NOT NULL, -- good, review, defective, before (a fault), after (it)
    path TEXT NOT NULL, -- below the folder `pictures` beside this file
    bytes INTEGER NOT NULL, gone TEXT -- why the file is no longer there; NULL: it is
) STRICT;
CREATE TABLE feedback_2 ( -- what a person says about a part
    session INTEGER NOT NULL, record INTEGER NOT NULL, label TEXT NOT NULL, defect_type TEXT, at TEXT NOT NULL, person TEXT,
    FOREIGN KEY (session, record) REFERENCES parts
) STRICT;

INSERT INTO bundles SELECT session, 1, started, bundle, version, bundle_sha256, signed_by, precision, accept, reject, engine
    FROM sessions;
INSERT INTO sessions_2 SELECT session, started, ended, source, 0 FROM sessions;
CREATE TEMP TABLE numbered AS
    SELECT is_fault, session, number, row_number() OVER (PARTITION BY session ORDER BY at, is_fault DESC, number) AS record FROM
    (SELECT 0 AS is_fault, session, part AS number, at FROM parts UNION ALL SELECT 1, session, number, at FROM faults);
CREATE UNIQUE INDEX temp.numbered_by ON numbered (is_fault, session, number);
INSERT INTO parts_2 SELECT parts.session, record, '', '', part, 1, at, verdict, probability, views, faults, first_frame,
    last_frame, name, peak_x, peak_y, age_ms, NULL, reason
    FROM parts JOIN numbered ON is_fault = 0 AND numbered.session = parts.session AND numbered.number = part;
INSERT INTO faults_2 SELECT faults.session, record, '', '', faults.number, kind, message, at, frame, part, lasted_s, NULL
    FROM faults JOIN numbered ON is_fault = 1 AND numbered.session = faults.session AND numbered.number = faults.number;
INSERT INTO frames_2 SELECT session, '', '', frame, part, 1, name, at, age_ms, NULL, probability, fault, box_left, box_top,
    box_width, box_height FROM frames;
INSERT INTO feedback_2 SELECT feedback.session, record, label, defect_type, at, person
    FROM feedback JOIN numbered ON is_fault = 0 AND numbered.session = feedback.session AND numbered.number = part;
DROP TABLE temp.numbered;
DROP TABLE feedback; DROP TABLE frames; DROP TABLE parts; DROP TABLE faults; DROP TABLE sessions;
ALTER TABLE sessions_2 RENAME TO sessions; ALTER TABLE parts_2 RENAME TO parts; ALTER TABLE frames_2 RENAME TO frames;
ALTER TABLE faults_2 RENAME TO faults; ALTER TABLE feedback_2 RENAME TO feedback;
CREATE INDEX parts_by_number ON parts (session, camera, region, part);
CREATE INDEX faults_by_number ON faults (session, camera, region, number);
CREATE INDEX pictures_of ON pictures (session, record);
CREATE INDEX pictures_by_path ON pictures (path);
CREATE INDEX pictures_kept ON pictures (kind = 'good', picture) WHERE gone IS NULL;
CREATE INDEX feedback_of ON feedback (session, record);
""",
)
VERSION = len(STEPS)

BUSY_S = 1.0
"""How long the writer waits for another process's lock before it says so and keeps its rows in memory."""


def connect(path: Path) -> sqlite3.Connection:
    """Open for writing, in WAL mode; every statement is its own transaction unless `transaction` says otherwise."""
    database = sqlite3.connect(
        path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
    )  # used by one thread at a time
    try:
        database.execute("PRAGMA journal_mode = WAL")
        # A commit is on the disk when it returns: what was reported survives a power cut as well as a kill.
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA foreign_keys = ON")
        database.execute("PRAGMA journal_size_limit = 67108864")  # a long reader lets the log grow; it shrinks again after
    except sqlite3.Error:
        database.close()
        raise
    return database


def set_aside_log(path: Path) -> Path | None:
    """Where the log lies now that a file left behind when it was moved away, if it did. Call before `path` is begun anew.

    It holds rows of that file, and SQLite would delete it, or mix it into the new one while somebody still reads the old one.
    """
    if path.exists():
        return None
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)  # only an index of the log
    log = path.with_name(f"{path.name}-wal")
    if not log.exists() or log.stat().st_size == 0:
        log.unlink(missing_ok=True)
        return None
    return log.replace(path.with_name(f"{path.name}-of-{log.stat().st_mtime_ns}-wal"))


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing. Raises sqlite3.Error, with nothing written."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # some errors have rolled back by themselves
            database.execute("ROLLBACK")
        raise


def migrate(database: sqlite3.Connection, path: Path) -> None:
    """Bring the file to this version, one transaction per step: a stop leaves the step before whole.

    Raises StationError for a file of a newer version, sqlite3.Error where the disk does not take a step.
    """
    found = version_of(database, path)
    if found == VERSION:
        return
    database.execute("PRAGMA foreign_keys = OFF")  # while tables change places; SQLite ignores this within a transaction
    try:
        for number in range(found + 1, VERSION + 1):
            with transaction(database):
                if version_of(database, path) >= number:  # another process was first
                    continue
                for statement in statements(STEPS[number - 1]):
                    database.execute(statement)
                database.execute(f"PRAGMA user_version = {number}")
    finally:
        database.execute("PRAGMA foreign_keys = ON")


def version_of(database: sqlite3.Connection, path: Path) -> int:
    """The schema version of a file, 0 for an empty one. Raises StationError for one of a newer inspector."""
    (found,) = database.execute("PRAGMA user_version").fetchone()
    if found > VERSION:
        raise StationError(
            f"{path}: a record of schema version {found} was found, expected at most {VERSION}; "
            "update the inspector, or give another --out"
        )
    return int(found)


def statements(script: str) -> Iterator[str]:
    """The single statements of a script. (`executescript` would commit before it begins.)"""
    statement = ""
    for piece in script.split(";")[:-1]:
        statement += piece + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""

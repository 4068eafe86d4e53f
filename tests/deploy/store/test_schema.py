"""A record of version 1 becomes one of this version without loss, or stays what it was."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import deploy
from deploy.errors import StationError
from deploy.store import Store
from deploy.store.schema import STEPS, VERSION, connect, migrate, statements
from tests.deploy.store.feed import SESSION, rows, step

# What version 1 of the inspector wrote, as `.dump` of the sqlite3 shell shows it.
VERSION_1 = """
BEGIN TRANSACTION;
CREATE TABLE sessions (
    session INTEGER PRIMARY KEY, started TEXT NOT NULL, ended TEXT,
    bundle TEXT NOT NULL, version INTEGER NOT NULL, bundle_sha256 TEXT NOT NULL, signed_by TEXT NOT NULL,
    precision TEXT NOT NULL, accept REAL NOT NULL, reject REAL NOT NULL, source TEXT NOT NULL, engine TEXT NOT NULL
) STRICT;
INSERT INTO sessions VALUES(1,'2026-11-20T06:00:00.000+00:00','2026-11-20T14:00:00.000+00:00','flange',3,'aa','bb','fp32',0.25,
    0.5,'rtsp://camera:***@10.0.0.2/1','onnxruntime CPU');
INSERT INTO sessions VALUES(2,'2026-11-21T06:00:00.000+00:00',NULL,'flange',4,'cc','bb','int8-cpu',0.125,0.75,'0','openvino');
CREATE TABLE parts (
    session INTEGER NOT NULL REFERENCES sessions, part INTEGER NOT NULL, at TEXT NOT NULL, verdict TEXT NOT NULL,
    probability REAL, views INTEGER NOT NULL, faults INTEGER NOT NULL, first_frame INTEGER NOT NULL, last_frame INTEGER NOT NULL,
    name TEXT NOT NULL, peak_x INTEGER, peak_y INTEGER, age_ms REAL NOT NULL, reason TEXT,
    PRIMARY KEY (session, part)
) STRICT;
INSERT INTO parts VALUES(1,1,'2026-11-20T06:00:01.000+00:00','GOOD',0.0625,3,0,1,3,'frame 2',10,20,12.5,NULL);
INSERT INTO parts VALUES(1,2,'2026-11-20T06:00:02.000+00:00','DEFECTIVE',0.875,2,1,4,6,'frame 5',30,40,13.5,NULL);
INSERT INTO parts VALUES(1,3,'2026-11-20T06:00:09.000+00:00','FAULT',NULL,0,1,7,7,'frame 7',NULL,NULL,0.0,'the camera is gone');
INSERT INTO parts VALUES(2,1,'2026-11-21T06:00:01.000+00:00','REVIEW',0.5,1,0,1,1,'frame 1',50,60,14.5,NULL);
CREATE TABLE frames ( -- one row for each part in each frame that was judged
    session INTEGER NOT NULL REFERENCES sessions, frame INTEGER NOT NULL, part INTEGER NOT NULL, name TEXT NOT NULL,
    at TEXT NOT NULL, age_ms REAL NOT NULL, probability REAL, fault TEXT,
    box_left INTEGER NOT NULL, box_top INTEGER NOT NULL, box_width INTEGER NOT NULL, box_height INTEGER NOT NULL,
    PRIMARY KEY (session, frame, part)
) STRICT;
INSERT INTO frames VALUES(1,2,1,'frame 2','2026-11-20T06:00:00.500+00:00',12.5,0.0625,NULL,-1,2,30,40);
INSERT INTO frames VALUES(1,7,3,'frame 7','2026-11-20T06:00:08.500+00:00',12.5,NULL,'stale',1,2,30,40);
CREATE TABLE faults (
    session INTEGER NOT NULL REFERENCES sessions, number INTEGER NOT NULL, kind TEXT NOT NULL, message TEXT NOT NULL,
    at TEXT NOT NULL, frame INTEGER, part INTEGER, lasted_s REAL,
    PRIMARY KEY (session, number)
) STRICT;
INSERT INTO faults VALUES(1,1,'camera','unplugged','2026-11-20T06:00:03.000+00:00',NULL,NULL,2.5);
INSERT INTO faults VALUES(1,2,'stale','old','2026-11-20T06:00:09.000+00:00',7,3,NULL);
CREATE TABLE feedback ( -- what a person says about a part
    session INTEGER NOT NULL, part INTEGER NOT NULL, label TEXT NOT NULL, defect_type TEXT, at TEXT NOT NULL, person TEXT,
    FOREIGN KEY (session, part) REFERENCES parts
) STRICT;
INSERT INTO feedback VALUES(1,2,'defective','crack','2026-11-22T08:00:00.000+00:00','kim');
PRAGMA user_version = 1;
COMMIT;
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "store.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(VERSION_1)
    return path


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return list(database.iterdump())


def test_a_record_of_version_1_keeps_everything(old: Path) -> None:
    Store(old, SESSION).close()
    assert rows(old, "PRAGMA user_version") == [(VERSION,)]
    assert rows(old, "PRAGMA integrity_check") == [("ok",)]
    assert rows(old, "PRAGMA foreign_key_check") == []
    assert rows(old, "SELECT session, source, ended, killed FROM sessions WHERE session < 3") == [
        (1, "rtsp://camera:***@10.0.0.2/1", "2026-11-20T14:00:00.000+00:00", 0),
        (2, "0", "2026-11-21T06:00:01.000+00:00", 1),
    ]
    assert rows(old, "SELECT session, load, bundle, version, bundle_sha256, signed_by, precision, accept, reject, engine, at "
                     "FROM bundles WHERE session < 3") == [
        (1, 1, "flange", 3, "aa", "bb", "fp32", 0.25, 0.5, "onnxruntime CPU", "2026-11-20T06:00:00.000+00:00"),
        (2, 1, "flange", 4, "cc", "bb", "int8-cpu", 0.125, 0.75, "openvino", "2026-11-21T06:00:00.000+00:00"),
    ]  # fmt: skip
    old_columns = (
        "session, part, at, verdict, probability, views, faults, first_frame, last_frame, name, peak_x, peak_y, age_ms, reason"
    )
    assert rows(old, f"SELECT {old_columns} FROM parts ORDER BY session, part") == [
        (1, 1, "2026-11-20T06:00:01.000+00:00", "GOOD", 0.0625, 3, 0, 1, 3, "frame 2", 10, 20, 12.5, None),
        (1, 2, "2026-11-20T06:00:02.000+00:00", "DEFECTIVE", 0.875, 2, 1, 4, 6, "frame 5", 30, 40, 13.5, None),
        (1, 3, "2026-11-20T06:00:09.000+00:00", "FAULT", None, 0, 1, 7, 7, "frame 7", None, None, 0.0, "the camera is gone"),
        (2, 1, "2026-11-21T06:00:01.000+00:00", "REVIEW", 0.5, 1, 0, 1, 1, "frame 1", 50, 60, 14.5, None),
    ]
    assert rows(old, "SELECT session, frame, part, name, at, age_ms, probability, fault, box_left, box_top, box_width, "
                     "box_height FROM frames ORDER BY frame") == [
        (1, 2, 1, "frame 2", "2026-11-20T06:00:00.500+00:00", 12.5, 0.0625, None, -1, 2, 30, 40),
        (1, 7, 3, "frame 7", "2026-11-20T06:00:08.500+00:00", 12.5, None, "stale", 1, 2, 30, 40),
    ]  # fmt: skip
    assert rows(old, "SELECT session, record, number, kind, message, frame, part, lasted_s FROM faults ORDER BY number") == [
        (1, 3, 1, "camera", "unplugged", None, None, 2.5),
        (1, 4, 2, "stale", "old", 7, 3, None),
    ]
    assert rows(old, "SELECT record, camera, region, load FROM parts WHERE session = 1 ORDER BY part") == [
        (1, "", "", 1),
        (2, "", "", 1),
        (5, "", "", 1),
    ]
    assert rows(old, "SELECT part, label, defect_type, person FROM feedback JOIN parts USING (session, record)") == [
        (2, "defective", "crack", "kim")
    ]


def test_a_migrated_record_is_gone_on_with(old: Path) -> None:
    store = Store(old, SESSION)
    store.add(step(1))
    store.close()
    assert rows(old, "SELECT session, record FROM parts WHERE session = 3") == [(3, 2)]  # after the note of the kill
    assert rows(old, "SELECT message FROM events WHERE session = 3")[0] == (
        "session 2 was killed; its last record is of 2026-11-21T06:00:01.000+00:00",
    )


def test_a_migrated_record_has_the_schema_of_a_new_one(old: Path, tmp_path: Path) -> None:
    new = tmp_path / "new" / "store.sqlite"
    for path in (old, new):
        Store(path, SESSION).close()
    schema = "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name"
    assert rows(old, schema) == rows(new, schema)


def test_a_newer_record_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    Store(path, SESSION).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {VERSION + 7}")
    before = dump(path)
    with pytest.raises(StationError, match=f"schema version {VERSION + 7} was found, expected at most {VERSION}; update"):
        Store(path, SESSION)
    assert dump(path) == before


@pytest.mark.parametrize("share", [0, 0.3, 0.7, 0.99])
def test_a_kill_amid_the_migration_leaves_the_old_version_whole(share: float, old: Path) -> None:
    with closing(sqlite3.connect(old)) as database, database:
        database.executemany(
            "INSERT INTO frames VALUES (2, ?, 1, 'frame', 'now', 1.0, 0.5, NULL, 1, 2, 3, 4)", [(n,) for n in range(3000)]
        )
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        with closing(sqlite3.connect(old)) as source:
            source.backup(database)
        calls = 0

        def count() -> int:
            nonlocal calls
            calls += 1
            return 0

        database.set_progress_handler(count, 100)
        migrate(database, old)
    before = dump(old)
    code = (
        "import os, signal, sys; from pathlib import Path; from deploy.store.schema import connect, migrate\n"
        "path, left = Path(sys.argv[1]), int(sys.argv[2])\n"
        "def count():\n"
        "    global left\n"
        "    left -= 1\n"
        "    left > 0 or os.kill(os.getpid(), signal.SIGKILL)\n"
        "database = connect(path); database.set_progress_handler(count, 100); migrate(database, path)\n"
    )
    killed_after = max(1, int(share * calls))
    root = Path(deploy.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code, str(old), str(killed_after)], cwd=root, timeout=60, check=False)
    assert done.returncode == -9
    assert rows(old, "PRAGMA integrity_check") == [("ok",)]
    assert dump(old) == before
    Store(old, SESSION).close()
    assert rows(old, "SELECT count(*) FROM frames") == [(3002,)]


def test_a_step_that_fails_leaves_the_old_version_whole(old: Path) -> None:
    with closing(sqlite3.connect(old)) as database:
        database.execute("CREATE TABLE pictures (mine TEXT)")  # in the way of the step
    before = dump(old)
    with closing(connect(old)) as database, pytest.raises(sqlite3.OperationalError, match="already exists"):
        migrate(database, old)
    assert dump(old) == before
    with pytest.raises(StationError, match="the record cannot be written"):
        Store(old, SESSION)


def test_scripts_are_taken_apart_at_their_statements() -> None:
    assert [len(list(statements(script))) for script in STEPS] == [5, 33]
    assert list(statements("CREATE TABLE a (b); -- one; two\nDROP TABLE a;")) == [
        "CREATE TABLE a (b);",
        " -- one; two\nDROP TABLE a;",
    ]

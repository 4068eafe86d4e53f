"""Kills a recording station again and again, at any moment, and looks at what is left. Run by test_kills.py, in a process
that has no threads, so that stations can be forked off it: `python -m tests.deploy.store.killed FOLDER KILLS SEED`.
"""

import mmap
import os
import random
import shutil
import signal
import sqlite3
import struct
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from deploy.store import Policy, Store, writer
from tests.deploy.store.feed import DEFECTIVE, GOOD, REVIEW, SESSION, fault, frame, step

QUOTA = 200_000
POLICY = Policy(good_every=3, quota_bytes=QUOTA, floor_bytes=0, before_fault=3)
KILLS_PER_RECORD = 25


def station(path: Path, reported: mmap.mmap) -> None:
    """Record at speed, and report what the store says is committed."""
    frames = [frame(number) for number in range(1, 20)]
    writer.GATHER_S = 0.02  # more commits in a life: more that a kill can interrupt
    store = Store(path, SESSION, POLICY)
    number = 0
    while True:
        number += 1
        one = step(number, (GOOD, DEFECTIVE, GOOD, REVIEW)[number % 4])
        faults = [fault(number)] if number % 40 == 0 else []
        recovered = fault(number - 10, lasted_s=1.0) if number % 40 == 10 and number > 40 else None
        store.add(replace(one, frame=frames[number % len(frames)], faults=faults, recovered=recovered))
        if number % 100 == 0:
            store.reload(SESSION)
        struct.pack_into("<qq", reported, 0, store.session or 0, store.committed())
        time.sleep(0.0005)


def check(path: Path, session: int, committed: int) -> None:
    """What must hold right after a kill, before anybody has put anything right."""
    copy = path.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for name in (path.name, f"{path.name}-wal"):
        if path.with_name(name).exists():
            shutil.copy(path.with_name(name), copy / name)
    with closing(sqlite3.connect(copy / path.name)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        if committed:
            (found,) = database.execute(
                "SELECT count(*) FROM (SELECT record FROM parts WHERE session = :s "
                "UNION SELECT record FROM faults WHERE session = :s "
                "UNION SELECT ended_record FROM faults WHERE session = :s UNION SELECT record FROM events WHERE session = :s) "
                "WHERE record BETWEEN 1 AND :c",
                {"s": session, "c": committed},
            ).fetchone()
            assert found == committed, f"{committed} records were reported, {found} are there"
        has_pictures = database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'pictures'").fetchone()
        known = {name for (name,) in database.execute("SELECT path FROM pictures")} if has_pictures else set()
    files = {file.relative_to(path.parent / "pictures").as_posix(): file for file in path.parent.glob("pictures/*/*")}
    finished = {name: file for name, file in files.items() if not name.endswith(".part")}
    assert not finished.keys() - known, "a picture without a record"
    assert len(files) - len(finished) <= 1, "more than the one picture in flight"
    assert sum(file.stat().st_size for file in files.values()) <= QUOTA
    for name, file in finished.items():
        data = file.read_bytes()
        assert data[:2] == b"\xff\xd8", name
        assert data[-2:] == b"\xff\xd9", f"{name} is not whole"


def check_put_right(path: Path, kills: int) -> None:
    """What must hold once the station was started again and ended."""
    with closing(sqlite3.connect(path)) as database:
        kept = {name for (name,) in database.execute("SELECT path FROM pictures WHERE gone IS NULL")}
        sessions, killed, open_ = database.execute("SELECT count(*), sum(killed), sum(ended IS NULL) FROM sessions").fetchone()
    assert {file.relative_to(path.parent / "pictures").as_posix() for file in path.parent.glob("pictures/*/*")} == kept
    assert (killed, open_) == (sessions - 1, 0)
    assert sessions <= kills + 1


def run_and_kill(path: Path, reported: mmap.mmap, life_s: float) -> None:
    reported[:16] = bytes(16)
    child = os.fork()
    if child == 0:
        try:
            station(path, reported)
        finally:
            os._exit(1)
    time.sleep(life_s)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the station ended by itself"


def start_and_end(path: Path) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            Store(path, SESSION, POLICY).close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def main(folder: Path, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    records = pictures = 0
    with mmap.mmap(-1, mmap.PAGESIZE) as reported:
        for number in range(kills):
            path = folder / f"{number // KILLS_PER_RECORD}" / "store.sqlite"
            run_and_kill(path, reported, chance.uniform(0, 0.8))
            session, committed = struct.unpack_from("<qq", reported, 0)
            if path.exists():
                check(path, session, committed)
            records += committed
            pictures = max(pictures, len(list(path.parent.glob("pictures/*/*"))))
            if (number + 1) % KILLS_PER_RECORD == 0 or number + 1 == kills:
                start_and_end(path)
                check_put_right(path, KILLS_PER_RECORD)
    assert records > 10 * kills, f"only {records} records were reported: the stations did not record at speed"
    assert pictures > 5
    print(f"{kills} kills, {records} records reported, none lost")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

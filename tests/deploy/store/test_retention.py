"""A record stays below its quota for as long as a station runs."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from deploy.inspector.step import Step
from deploy.store import Store, retention
from deploy.store.policy import MB
from tests.deploy.store.feed import GOOD, SESSION, fault, rows, step, wait_for


def record(path: Path, numbers: range, quota_bytes: int = 4_000 * MB) -> Store:
    """One part and one view each, and a fault now and then."""
    store = Store(path, SESSION, quota_bytes=quota_bytes)
    for number in numbers:
        store.add(step(number, GOOD))
        if number % 10 == 0:
            given = store.add(Step(faults=[fault(number)]))
            wait_for(lambda given=given: store.committed() >= given - 100)  # type: ignore[misc]
    store.close()
    return store


def used(path: Path) -> int:
    ((pages,),) = rows(path, "PRAGMA page_count")
    ((free,),) = rows(path, "PRAGMA freelist_count")
    return 4096 * (int(str(pages)) - int(str(free)))


def test_the_oldest_rows_make_room_and_the_newest_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 500)
    path = tmp_path / "store.sqlite"
    record(path, range(1, 1_001))
    before = used(path)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("INSERT INTO feedback VALUES (1, 7, 'defective', NULL, '2026-11-20', 'Ada')")
    store = record(path, range(1, 6_001), quota_bytes=before)
    assert used(path) < 1.2 * before
    assert path.stat().st_size < 1.5 * before
    assert store.rows_lost == 0
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert rows(path, "PRAGMA foreign_key_check") == []
    assert rows(path, "SELECT record FROM parts WHERE session = 1") == [(7,)], "a person has spoken about it"
    ((first, last, count),) = rows(path, "SELECT min(part), max(part), count(*) FROM parts WHERE session = 2")
    assert last == 6_000
    assert 1 < int(str(first)) == 6_000 - int(str(count)) + 1
    for table, newest in (("frames", "max(frame)"), ("faults", "max(number)")):
        ((left, found),) = rows(path, f"SELECT count(*), {newest} FROM {table}")
        assert (0 < int(str(left)) < 2_000, found) == (True, 6_000), table


def test_a_view_takes_what_is_reckoned(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    record(path, range(1, 1_001))
    before = used(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("DELETE FROM frames")
    assert 0.7 < (before - used(path)) / 1_000 / retention.VIEW_BYTES < 1.3

"""A record stays below its quota for as long as a station runs."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.inspector.locate import Box, Sighting
from deploy.inspector.step import Step
from deploy.store import Place, Policy, Store, retention
from deploy.store.policy import MB
from deploy.store.retention import Retention
from deploy.store.rows import INSERT
from deploy.store.schema import connect, migrate, transaction
from tests.deploy.store.feed import DEFECTIVE, GOOD, SESSION, fault, rows, step, wait_for


def record(path: Path, numbers: range, quota_bytes: int = 4_000 * MB, bad: int = 0) -> Store:
    """One part and one view each, and a fault now and then; the first `bad` parts are defective, and their pictures are kept."""
    store = Store(path, SESSION, Policy(good_every=0, before_fault=0, floor_bytes=0), quota_bytes)
    for number in numbers:
        is_bad = number < numbers.start + bad
        store.add(step(number, DEFECTIVE if is_bad else GOOD, with_frame=is_bad))
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


def test_a_part_stays_for_as_long_as_its_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else nobody could tell what the picture shows, nor say something about the part."""
    monkeypatch.setattr(retention, "AT_ONCE", 500)
    path = tmp_path / "store.sqlite"
    record(path, range(1, 1_001), bad=5)
    before = used(path)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE pictures SET gone = 'made room' WHERE record = 2")
    next(tmp_path.glob("pictures/*/*-s1-r3.jpg")).unlink()
    record(path, range(0))  # which sees what is missing
    record(path, range(1, 3_001), quota_bytes=before)
    assert used(path) < 1.2 * before
    kept = [(1,), (4,), (5,)]
    assert rows(path, "SELECT record FROM parts WHERE session = 1") == kept
    assert rows(path, "SELECT record, gone FROM pictures ORDER BY record") == [(1, None), (3, "missing"), (4, None), (5, None)]


def test_rows_that_stay_are_not_looked_at_again_at_every_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.sqlite"
    record(path, range(1, 2_001))
    with closing(connect(path)) as database:
        database.execute("DELETE FROM frames")
        database.execute("INSERT INTO feedback SELECT session, record, 'good', NULL, at, NULL FROM parts WHERE record <= 1100")
        monkeypatch.setattr(retention, "AT_ONCE", 100)
        old = Retention(quota_bytes=1)

        def steps() -> int:
            """What it costs SQLite to remove some."""
            taken = [0]
            database.set_progress_handler(lambda: taken.__setitem__(0, taken[0] + 1), 10)
            before = database.total_changes
            old.make_room(database)
            assert database.total_changes > before
            database.set_progress_handler(None, 10)
            return taken[0]

        first, second = steps(), steps()
        assert second < first / 2
        database.execute("DELETE FROM feedback WHERE record <= 200")
        monkeypatch.setattr(old, "_again", 0.0)
        steps()
        assert database.execute("SELECT min(record) FROM parts").fetchone()[0] > 90, "in an hour they are"


LONG = "2026-11-20T06-00-00-123456_press1_top_"


@pytest.mark.parametrize(
    ("place", "name", "fault_", "part_bytes"),
    [
        (Place("top"), "frame ", None, 150),
        (Place("press-line-1-top", "left-bore"), LONG, None, None),
        (Place("Überwachung-Süd-" * 2, "r" * 40), LONG, "was 612 ms old when it was judged, at most 500 ms are allowed", None),
    ],
    ids=["short", "long", "longest"],
)
def test_a_view_and_a_part_take_what_is_reckoned(
    place: Place, name: str, fault_: str | None, part_bytes: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "store.sqlite"
    store = Store(path, SESSION)
    box = Box(812, 404, 160, 160)
    for number in range(1_000_000, 1_001_000):
        example = step(number)
        view = replace(example.seen[0].view, age_ms=23.47, name=f"{name}{number}", fault=fault_)
        seen = replace(example.seen[0], view=view, sighting=Sighting(box, box, whole=True))
        part = replace(example.parts[0], age_ms=23.47, peak=(892, 484))
        store._waiting.records = number
        store.add(replace(example, seen=[seen], parts=[part], latency_ms=25.31), place)
    store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        reckoned = retention.bytes_of_views(database)
        sizes = {}
        for table in ("frames", "parts"):
            before = used(path)
            database.execute(f"DELETE FROM {table}")
            sizes[table] = before - used(path)
        assert retention.bytes_of_views(database) == 0
    assert reckoned == pytest.approx(sizes["frames"], rel=0.1)
    if part_bytes is not None:
        assert sizes["parts"] / 1_000 == pytest.approx(part_bytes, rel=0.1), "docs/station.md says for how long a record lasts"


@pytest.mark.parametrize("fault_", [None, f"{LONG} was 612 ms old when it was judged, at most 500 ms are allowed"])
def test_views_make_room_before_parts_however_long_their_names_are(
    fault_: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Views alone would fill the quota before they are reckoned to take half of it, and every part would go."""
    monkeypatch.setattr(retention, "AT_ONCE", 250)
    quota = 2 * MB
    with closing(connect(tmp_path / "store.sqlite")) as database:
        migrate(database, tmp_path / "store.sqlite")
        database.execute("INSERT INTO sessions (started, source) VALUES ('', '')")
        old = Retention(quota)
        at = "2026-11-20T06:00:00.123+00:00"
        for first in range(1, 20_000, 100):
            with transaction(database):
                for number in range(first, first + 100):
                    view = (1, "c" * 40, "r" * 40, number, number, 1, f"{LONG}{number}", at, 12.3, 15.6, 0.1, fault_, *[100] * 4)
                    part = (1, number, "c" * 40, "r" * 40, number, 1, at, "GOOD", 0.1, 1, 0, number, number, f"{LONG}{number}")
                    database.execute(INSERT["frames"], view)
                    database.execute(INSERT["parts"], (*part, 100, 100, 12.3, 15.6, None))
            old.make_room(database)
        before = used(tmp_path / "store.sqlite")
        assert before < 1.2 * quota
        assert database.execute("SELECT max(part) FROM parts").fetchone() == (20_000,)
        database.execute("DELETE FROM parts")
        assert before - used(tmp_path / "store.sqlite") == pytest.approx(quota / 2, rel=0.2)

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import deploy
from deploy.errors import StationError
from deploy.inspector.step import Step
from deploy.store import Place, Store, clock, waiting, writer
from tests.deploy.store.feed import DEFECTIVE, GOOD, SESSION, fault, rows, step, wait_for


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "RETRY_S", 0.01)


def limit(store: Store, pages: int) -> None:
    """Let the file grow so far. Python 3.10 refuses the answer's row when the writer rolls back just then: ask again."""
    while True:
        try:
            database = store._writer._database
            assert database is not None
            database.execute(f"PRAGMA max_page_count = {pages}")
        except sqlite3.InterfaceError:
            continue
        return


def pages(store: Store) -> int:
    return int(str(rows(store.path, "PRAGMA page_count")[0][0]))


def test_what_was_added_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "store.sqlite"
    store = Store(path, SESSION)
    store.add(step(1))
    store.add(Step(faults=[fault(1)]))
    store.add(Step(recovered=fault(1, lasted_s=2.5)))
    store.close()
    assert rows(
        path, "SELECT session, record, part, verdict, probability, views, name, peak_x, peak_y, latency_ms FROM parts"
    ) == [(1, 1, 1, "DEFECTIVE", 0.75, 1, "frame 1", 3, 4, 6.0)]
    assert rows(path, "SELECT frame, part, probability, age_ms, latency_ms, box_left, box_height FROM frames") == [
        (1, 1, 0.75, 5.0, 6.0, 1, 40)
    ]
    assert rows(path, "SELECT record, number, kind, message, lasted_s, ended_record FROM faults") == [
        (2, 1, "camera", "unplugged", 2.5, 3)
    ]
    assert rows(path, "SELECT source, killed, ended >= started FROM sessions") == [("0", 0, 1)]
    assert rows(path, "SELECT load, bundle, precision, accept, reject, engine FROM bundles") == [
        (1, "redness", "fp32", 0.3, 0.6, "onnxruntime")
    ]
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]
    assert rows(path, "SELECT count(*) FROM events") == [(0,)]
    assert rows(store.path, "SELECT verdict FROM parts") == [("DEFECTIVE",)]
    assert store.committed() == 3
    assert [file.name for file in path.parent.iterdir()] == ["store.sqlite"]


def test_each_session_has_its_own_parts(tmp_path: Path) -> None:
    for _ in range(2):
        store = Store(tmp_path / "store.sqlite", SESSION)
        store.add(step(1))
        store.close()
    assert rows(store.path, "SELECT session, record, part FROM parts") == [(1, 1, 1), (2, 1, 1)]


def test_cameras_and_regions_count_their_own_parts(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite", SESSION)
    places = [Place("top", "left"), Place("top", "right"), Place("side", "")]
    numbers = [store.add(replace(step(1), faults=[fault(1)]), place) for place in places]
    store.add(Step(recovered=fault(1, lasted_s=2.5)), places[1])
    store.close()
    assert numbers == [2, 4, 6]
    assert rows(store.path, "SELECT record, camera, region, part FROM parts ORDER BY record") == [
        (1, "top", "left", 1),
        (3, "top", "right", 1),
        (5, "side", "", 1),
    ]
    assert rows(store.path, "SELECT camera, region, lasted_s FROM faults WHERE lasted_s") == [("top", "right", 2.5)]
    assert rows(store.path, "SELECT count(*) FROM frames") == [(3,)]


def test_parts_name_the_bundle_that_decided_them(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite", SESSION)
    store.add(step(1))
    store.reload(replace(SESSION, version=2, reject=0.9))
    store.add(step(2))
    store.close()
    query = "SELECT part, version, reject FROM {} JOIN bundles USING (session, load) ORDER BY part"
    for table in ("parts", "frames"):
        assert rows(store.path, query.format(table)) == [(1, 1, 0.6), (2, 2, 0.9)]


def test_committed_is_what_another_process_can_read(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite", SESSION)
    assert store.committed() == 0
    for number in range(1, 301):
        given = store.add(step(number))
        reported = store.committed()
        assert reported <= given
        if number % 50 == 0:
            assert rows(store.path, f"SELECT count(*) FROM parts WHERE record <= {reported}") == [(reported,)]
    wait_for(lambda: store.committed() == 300)
    store.close()


def test_a_full_disk_stops_nothing_and_parts_are_written_when_it_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FRAMES_WAITING", 10)
    store = Store(tmp_path / "store.sqlite", SESSION)
    limit(store, pages(store))
    for number in range(1, 501):
        store.add(step(number))
    wait_for(lambda: store.trouble is not None and store.views_dropped > 0)
    assert "database or disk is full" in str(store.trouble)
    reported = store.committed()
    assert rows(store.path, "SELECT count(*) FROM parts") == [(reported,)]
    limit(store, 100_000)
    wait_for(lambda: store.trouble is None)
    store.close()
    assert rows(store.path, "SELECT count(*) FROM parts") == [(500,)]
    assert rows(store.path, "SELECT count(*) FROM frames") == [(500 - store.views_dropped,)]
    assert store.rows_lost == 0
    ((message, lasted_s),) = rows(store.path, "SELECT message, lasted_s FROM events WHERE kind = 'database'")
    assert "database or disk is full" in str(message)
    assert float(str(lasted_s)) >= 0


def test_a_disk_that_stays_full_is_reported_in_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "CLOSE_WITHIN_S", 0.3)
    store = Store(tmp_path / "store.sqlite", SESSION)
    limit(store, pages(store))
    for number in range(1, 501):
        store.add(step(number))
    store.close()
    (written,) = rows(store.path, "SELECT count(*) FROM parts")[0]
    assert store.rows_lost > 0
    assert store.rows_lost + int(str(written)) == 500


def test_what_memory_cannot_hold_is_counted_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PARTS_WAITING", 100)
    store = Store(tmp_path / "store.sqlite", SESSION)
    limit(store, pages(store))
    wait_for(lambda: store.add(step(store._waiting.records + 1)) > 0 and store.rows_lost >= 50)
    limit(store, 100_000)
    wait_for(lambda: store.trouble is None)
    store.close()
    ((message,),) = rows(store.path, "SELECT message FROM events")
    assert f"{store.rows_lost} so far" in str(message)
    assert rows(store.path, "SELECT count(*) FROM parts") == [(store._waiting.records - 1 - store.rows_lost,)]


def test_a_row_that_no_database_takes_holds_up_no_other(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite", SESSION)
    good, bad = step(1), step(2)
    store.add(replace(bad, parts=[replace(bad.parts[0], first_frame=2**70)]))
    store.add(good)
    store.close()
    assert rows(store.path, "SELECT record, part FROM parts") == [(2, 1)]
    assert (store.rows_lost, store.trouble) == (1, None)
    ((message,),) = rows(store.path, "SELECT message FROM events")
    assert "record 1 of parts could not be written" in str(message)


def test_a_file_name_that_is_no_text_is_recorded(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite", SESSION)
    odd = step(1)
    store.add(replace(odd, parts=[replace(odd.parts[0], name="caf\udce9.png")]))
    store.close()
    assert rows(store.path, "SELECT name FROM parts") == [("caf\\udce9.png",)]


def test_order_is_that_of_the_records_when_the_clock_jumps_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store.sqlite", SESSION)
    late, early = step(1), step(2, GOOD)
    store.add(replace(late, parts=[replace(late.parts[0], at="2030-01-01T00:00:00.000+00:00")]))
    monkeypatch.setattr(clock, "time", SimpleNamespace(time=lambda: time.time() - 3600, monotonic=time.monotonic))
    store.add(early)
    store.close()
    assert rows(store.path, "SELECT part FROM parts ORDER BY record") == [(1,), (2,)]
    assert rows(store.path, "SELECT record, kind, message FROM events") == [
        (2, "clock", "the clock jumped back by 3600.0 s; records are in the order of their numbers")
    ]
    with closing(sqlite3.connect(store.path)) as database, database:
        database.execute("UPDATE sessions SET ended = '2030-01-01T00:00:00.000+00:00'")
    store = Store(store.path, SESSION)
    store.close()
    ((message,),) = rows(store.path, "SELECT message FROM events WHERE session = 2")
    assert "the clock is behind" in str(message)


def test_a_killed_process_leaves_a_readable_record(tmp_path: Path) -> None:
    code = (
        "import sys, os, signal, time; from pathlib import Path; from deploy.store import Store, Session\n"
        "from deploy.inspector.step import Step, Fault\n"
        "store = Store(Path(sys.argv[1]), Session('b', 1, 'h', 's', 'fp32', 0.3, 0.6, '0', 'e'))\n"
        "for number in range(1, 2001):\n"
        "    store.add(Step(faults=[Fault(number, 'engine', 'failed', '2020-01-01')])); number % 100 or time.sleep(0.01)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "store.sqlite"
    root = Path(deploy.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=root, timeout=60, check=False)
    assert done.returncode == -9
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert rows(path, "SELECT count(*) > 0 FROM faults") == [(1,)]
    store = Store(path, SESSION)
    store.add(step(1))
    store.close()
    assert rows(store.path, "SELECT session FROM parts ORDER BY session DESC LIMIT 1") == [(2,)]
    assert rows(path, "SELECT session, killed, ended FROM sessions WHERE killed") == [(1, 1, "2020-01-01")]
    assert rows(path, "SELECT kind, message FROM events") == [("start", "session 1 was killed; its last record is of 2020-01-01")]


def test_two_processes_do_not_share_a_record(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite", SESSION)
    with pytest.raises(StationError, match="another inspector is recording here; end it, or give another --out"):
        Store(tmp_path / "store.sqlite", SESSION)
    store.close()
    Store(tmp_path / "store.sqlite", SESSION).close()


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_text("these are no rows, but a text that is long enough to be taken for some" * 20)
    with pytest.raises(StationError, match=r"store\.sqlite: the record cannot be written \(file is not a database\)"):
        Store(tmp_path / "store.sqlite", SESSION)


def test_parts_of_every_verdict_are_told(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite", SESSION)
    for number, probability in enumerate([GOOD, DEFECTIVE], 1):
        store.add(step(number, probability))
    store.close()
    assert rows(store.path, "SELECT verdict FROM parts ORDER BY record") == [("GOOD",), ("DEFECTIVE",)]

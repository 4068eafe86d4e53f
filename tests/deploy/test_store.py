import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

import deploy
from deploy import store as store_module
from deploy.errors import StationError
from deploy.inspector.locate import Box, Sighting
from deploy.inspector.loop import Fault, Seen, Step
from deploy.inspector.part import PartSoFar, View
from deploy.store import Session, Store
from deploy.verdict import Thresholds

SESSION = Session("redness", 1, "0" * 64, "1" * 64, "fp32", 0.3, 0.6, "0", "onnxruntime")


def step(number: int) -> Step:
    """One frame with one part that left in it."""
    view = View(number, f"frame {number}", 5.0, 0.75, (3, 4), None)
    part = PartSoFar(number, Thresholds(accept=0.3, reject=0.6))
    part.add(view)
    box = Box(1, 2, 30, 40)
    return Step(seen=[Seen(number, Sighting(box, box, whole=True), view, part.result(), None)], parts=[part.result()])


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


def give_room(store: Store) -> None:
    """Let the file grow. Python 3.10 refuses the answer's row when the writer rolls back just then: ask again."""
    while True:
        try:
            store._database.execute("PRAGMA max_page_count = 100000")
        except sqlite3.InterfaceError:
            continue
        return


def test_what_was_added_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "store.sqlite"
    store = Store(path, SESSION)
    store.add(step(1))
    store.add(Step(faults=[Fault(1, "camera", "unplugged", "2026-11-20T12:00:00+00:00")]))
    store.add(Step(recovered=Fault(1, "camera", "unplugged", "2026-11-20T12:00:00+00:00", lasted_s=2.5)))
    store.close()
    assert rows(path, "SELECT session, part, verdict, probability, views, name, peak_x, peak_y FROM parts") == [
        (1, 1, "DEFECTIVE", 0.75, 1, "frame 1", 3, 4)
    ]
    assert rows(path, "SELECT frame, part, probability, box_left, box_height FROM frames") == [(1, 1, 0.75, 1, 40)]
    assert rows(path, "SELECT kind, message, lasted_s FROM faults") == [("camera", "unplugged", 2.5)]
    assert rows(path, "SELECT bundle, precision, ended >= started FROM sessions") == [("redness", "fp32", 1)]
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]
    assert [part["verdict"] for part in store.parts()] == ["DEFECTIVE"]


def test_each_session_has_its_own_parts(tmp_path: Path) -> None:
    for _ in range(2):
        store = Store(tmp_path / "store.sqlite", SESSION)
        store.add(step(1))
        store.close()
    assert rows(store.path, "SELECT session, part FROM parts") == [(1, 1), (2, 1)]
    assert [part["session"] for part in store.parts()] == [2]


def test_a_full_disk_stops_nothing_and_parts_are_written_when_it_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "RETRY_S", 0.01)
    monkeypatch.setattr(store_module, "FRAMES_WAITING", 10)
    store = Store(tmp_path / "store.sqlite", SESSION)
    (pages,) = rows(store.path, "PRAGMA page_count")[0]
    store._database.execute(f"PRAGMA max_page_count = {pages}")
    for number in range(1, 501):
        store.add(step(number))
    wait_for(lambda: store.trouble is not None and store.views_dropped > 0)
    assert "database or disk is full" in str(store.trouble)
    give_room(store)
    wait_for(lambda: store.trouble is None)
    store.close()
    assert rows(store.path, "SELECT count(*) FROM parts") == [(500,)]
    assert rows(store.path, "SELECT count(*) FROM frames") == [(500 - store.views_dropped,)]
    assert store.rows_lost == 0


def test_a_disk_that_stays_full_is_reported_in_numbers(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite", SESSION)
    (pages,) = rows(store.path, "PRAGMA page_count")[0]
    store._database.execute(f"PRAGMA max_page_count = {pages}")
    for number in range(1, 501):
        store.add(step(number))
    store.close()
    (written,) = rows(store.path, "SELECT count(*) FROM parts")[0]
    assert store.rows_lost > 0
    assert store.rows_lost + int(str(written)) == 500


def test_a_killed_process_leaves_a_readable_record(tmp_path: Path) -> None:
    code = (
        "import sys, os, signal, time; from pathlib import Path; from deploy.store import Store, Session\n"
        "from deploy.inspector.loop import Step, Fault\n"
        "store = Store(Path(sys.argv[1]), Session('b', 1, 'h', 's', 'fp32', 0.3, 0.6, '0', 'e'))\n"
        "for number in range(1, 2001):\n"
        "    store.add(Step(faults=[Fault(number, 'engine', 'failed', 'now')])); number % 100 or time.sleep(0.005)\n"
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
    assert [part["session"] for part in store.parts()] == [2]


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_text("these are no rows, but a text that is long enough to be taken for some" * 20)
    with pytest.raises(StationError, match=r"store\.sqlite: the record cannot be written \(file is not a database\)"):
        Store(tmp_path / "store.sqlite", SESSION)


def test_a_newer_record_is_refused(tmp_path: Path) -> None:
    Store(tmp_path / "store.sqlite", SESSION).close()
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(StationError, match="schema version 99 was found, expected 1"):
        Store(tmp_path / "store.sqlite", SESSION)


def wait_for(condition: object, seconds: float = 10) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)

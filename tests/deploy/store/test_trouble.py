"""A full disk, a locked database, a folder that cannot be written: inspection goes on, recording comes back, the record tells."""

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

import deploy
from deploy.errors import StationError
from deploy.inspector.step import Step
from deploy.store import Policy, Store, recorder, waiting, writer
from tests.deploy.store.feed import DEFECTIVE, GOOD, SESSION, fault, frame, rows, step, wait_for

ROOT = Path(deploy.__file__).parents[1]
KEEP = Policy(good_every=1, floor_bytes=200_000)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "RETRY_S", 0.05)
    monkeypatch.setattr(writer, "GATHER_S", 0.01)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(disk)], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting a small tmpfs needs root: run the tests as root to see a disk that is really full")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path, leave: int = 0) -> Path:
    """Another program writes until no more than this is left of the disk, in bytes."""
    path = disk / f"somebody-elses-{leave}"
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while shutil.disk_usage(disk).free > leave:
            file.write(bytes(4096))
    return path


def test_a_disk_that_runs_full_costs_pictures_and_nothing_else(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FRAMES_WAITING", 100)
    store = Store(small_disk / "store.sqlite", SESSION, KEEP)
    store.add(step(1, with_frame=True))
    wait_for(lambda: store.pictures_saved == 1)
    fillers = [fill(small_disk, leave=150_000)]
    for number in range(2, 12):
        store.add(step(number, GOOD, with_frame=True))
    wait_for(lambda: store.pictures_dropped == 10)
    assert "MB left free" in str(store.picture_trouble)
    wait_for(lambda: store.committed() >= 11)
    assert store.trouble is None
    fillers.append(fill(small_disk))
    given = 11
    while store.trouble is None:  # some rows still go into what the log has of room
        given += 1
        store.add(step(given, GOOD, with_frame=True))
        time.sleep(0.001)
        assert given < 50_000
    assert "full" in store.trouble
    reported = store.committed()
    for _ in range(500):
        given += 1
        store.add(step(given, GOOD, with_frame=True))
    for filler in fillers:
        filler.unlink()
    wait_for(lambda: store.trouble is None)
    assert store.committed() >= reported
    given += 1
    store.add(step(given, DEFECTIVE, with_frame=True))
    wait_for(lambda: store.picture_trouble is None)
    store.close()
    assert store.rows_lost == 0
    assert rows(store.path, "PRAGMA integrity_check") == [("ok",)]
    assert rows(store.path, "SELECT count(*), max(part) FROM parts") == [(given, given)]
    told = [str(message) for (message,) in rows(store.path, "SELECT message FROM events ORDER BY record")]
    assert any("pictures are not saved from here on" in message for message in told)
    assert any("pictures are saved again" in message for message in told)
    assert any("rows cannot be written (database or disk is full)" in message for message in told)


def test_a_disk_that_is_full_at_the_start_is_waited_for(small_disk: Path) -> None:
    filler = fill(small_disk)
    store = Store(small_disk / "store.sqlite", SESSION, KEEP)
    assert (store.session, store.committed()) == (None, 0)
    assert store.trouble is not None
    for number in range(1, 20):
        store.add(step(number))
    filler.unlink()
    wait_for(lambda: store.trouble is None)
    store.close()
    assert rows(store.path, "SELECT count(*) FROM parts") == [(19,)]
    assert rows(store.path, "SELECT session, ended IS NULL FROM sessions") == [(1, 0)]


@pytest.mark.parametrize("leave", [0, 20_000, 45_000, 57_000, 70_000, 80_000])  # not to be opened; to be opened, but no rows
def test_pictures_make_room_where_a_disk_is_full_at_the_start(leave: int, small_disk: Path) -> None:
    store = Store(small_disk / "store.sqlite", SESSION, KEEP)
    for number in range(1, 20):
        store.add(replace(step(number, GOOD if number > 15 else DEFECTIVE), frame=frame(number, side=128)))
    store.close()
    stranger = next(small_disk.glob("pictures/*/*")).with_name("holiday.jpg")
    stranger.write_bytes(bytes(1000))
    os.utime(stranger, (0, 0))
    fill(small_disk, leave)
    store = Store(small_disk / "store.sqlite", SESSION, KEEP)
    assert leave > 0 or store.session is None
    for number in range(101, 121):
        store.add(step(number))
    wait_for(lambda: store.committed() >= 20)
    store.close()
    assert store.rows_lost == 0
    assert rows(store.path, "SELECT count(*) FROM parts WHERE session = 2") == [(20,)]
    gone = "SELECT part, gone FROM pictures JOIN parts USING (session, record) WHERE gone IS NOT NULL ORDER BY picture"
    removed = rows(store.path, gone)
    assert removed[-4:] == [(part, "made room") for part in range(16, 20)], "the good ones first"
    assert removed[:-4] == [(part, "made room") for part in range(1, len(removed) - 3)], "then the oldest others"
    assert len(removed) < 15
    files = {path.relative_to(small_disk / "pictures").as_posix() for path in small_disk.glob("pictures/*/part*")}
    assert files == {path for (path,) in rows(store.path, "SELECT path FROM pictures WHERE gone IS NULL")}
    assert stranger.exists()


def test_a_full_disk_makes_room_by_removing_pictures(small_disk: Path) -> None:
    store = Store(small_disk / "store.sqlite", SESSION, KEEP)
    for number in range(1, 301):  # 300 pictures of some 40 kB do not fit onto 8 MB
        one = step(number, GOOD if number < 150 else DEFECTIVE)
        store.add(replace(one, frame=frame(number, side=128)))
        wait_for(lambda: not store._waiting.has_some())
    store.close()
    assert store.rows_lost == 0
    assert store.trouble is None
    assert rows(store.path, "SELECT count(*) FROM parts") == [(300,)]
    assert rows(store.path, "SELECT DISTINCT kind FROM pictures WHERE gone IS NULL") == [("defective",)]
    files = {path.relative_to(small_disk / "pictures").as_posix() for path in small_disk.glob("pictures/*/*")}
    assert files == {path for (path,) in rows(store.path, "SELECT path FROM pictures WHERE gone IS NULL")}
    assert store.pictures_saved > len(files)


@contextmanager
def another_process(code: str, path: Path, folder: Path) -> Iterator[None]:
    """It does something with the database, and goes on holding it for as long as this lasts."""
    held = folder / "held"
    code = f"import sqlite3, sys, time; from pathlib import Path\n{code}\nPath(sys.argv[2]).touch(); time.sleep(600)"
    quiet = subprocess.DEVNULL
    process = subprocess.Popen([sys.executable, "-c", code, str(path), str(held)], stdin=quiet, stdout=quiet, stderr=quiet)
    try:
        wait_for(held.exists)
        yield
    finally:
        process.kill()
        process.wait()
        held.unlink(missing_ok=True)


def lock(path: Path, folder: Path, pragma: str = "") -> AbstractContextManager[None]:
    """Another process locks the database."""
    code = (
        "database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)\n"
        f"database.execute('{pragma}') if {pragma!r} else None\n"
        "database.execute('BEGIN EXCLUSIVE')"
    )
    return another_process(code, path, folder)


def reader(path: Path, folder: Path, fetch: str = "fetchone") -> AbstractContextManager[None]:
    """Another process exports the parts; with `fetchone` it is in the midst of them, with `fetchall` it has them."""
    code = (
        "database = sqlite3.connect(f'{Path(sys.argv[1]).as_uri()}?mode=ro', uri=True)\n"
        f"found = database.execute('SELECT * FROM parts'); found.{fetch}()"
    )
    return another_process(code, path, folder)


def test_a_locked_database_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FRAMES_WAITING", 50)
    store = Store(tmp_path / "store.sqlite", SESSION, KEEP)
    store.add(step(1))
    wait_for(lambda: store.committed() == 1)
    with lock(store.path, tmp_path):
        for number in range(2, 202):  # nothing of this waits for the lock, or it would never end
            store.add(step(number, with_frame=True))
        wait_for(lambda: store.trouble is not None)
        assert "database is locked" in str(store.trouble)
        assert store.committed() == 1
        store.add(Step(faults=[fault(1)]))
    wait_for(lambda: store.trouble is None)
    store.close()
    assert rows(store.path, "SELECT count(*) FROM parts") == [(201,)]
    assert rows(store.path, "SELECT count(*) FROM frames") == [(201 - store.views_dropped,)]
    assert store.views_dropped > 0
    assert store.rows_lost == 0
    ((message, lasted_s),) = rows(store.path, "SELECT message, lasted_s FROM events WHERE kind = 'database'")
    assert "database is locked" in str(message)
    assert float(str(lasted_s)) >= 0
    assert store.pictures_saved + store.pictures_dropped > 0
    assert [(None,)] * store.pictures_saved == rows(store.path, "SELECT gone FROM pictures")


def test_a_database_that_is_locked_at_the_start_is_waited_for(tmp_path: Path) -> None:
    Store(tmp_path / "store.sqlite", SESSION).close()
    with lock(tmp_path / "store.sqlite", tmp_path):
        store = Store(tmp_path / "store.sqlite", SESSION)
        assert store.session is None
        store.add(step(1))
    wait_for(lambda: store.committed() == 1)
    store.close()
    assert rows(store.path, "SELECT session, part FROM parts") == [(2, 1)]


def test_a_lock_that_stays_is_told_in_numbers_when_the_station_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "CLOSE_WITHIN_S", 0.2)
    store = Store(tmp_path / "store.sqlite", SESSION, KEEP)
    wait_for(lambda: rows(store.path, "SELECT count(*) FROM bundles") == [(1,)])
    with lock(store.path, tmp_path):
        for number in range(1, 11):
            store.add(step(number, with_frame=True))
        store.close()
    assert (store.rows_lost, store.views_dropped, store.pictures_dropped) == (10, 10, 10)
    Store(store.path, SESSION).close()
    assert rows(store.path, "SELECT session FROM sessions WHERE killed") == [(1,)]


def test_a_disk_that_does_not_answer_is_left_behind_when_the_station_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "LEAVE_AFTER_S", 0.2)
    store = Store(tmp_path / "store.sqlite", SESSION)
    store.add(step(1))
    wait_for(lambda: store.committed() == 1)
    answers, asked = threading.Event(), threading.Event()

    def hang(*_: object) -> bool:
        asked.set()
        answers.wait(60)
        return True

    monkeypatch.setattr(store._writer, "_write", hang)
    store.add(step(2))
    assert asked.wait(30)
    store.add(step(3))
    store.close()
    assert store.rows_lost == 2
    answers.set()
    store._thread.join(30)
    assert not store._thread.is_alive()
    store.close()


STATION = """
import json, os, sys, time
from pathlib import Path
from dataclasses import asdict
from deploy.errors import StationError
from deploy.store import Policy, Store, writer
from tests.deploy.store.feed import DEFECTIVE, SESSION, step
writer.RETRY_S = 0.05
folder, reports = Path(sys.argv[1]), Path(sys.argv[2])
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)  # to root every folder is writable
def report(**what):
    (reports / "new").write_text(json.dumps(what)); (reports / "new").rename(reports / "report")
try:
    store = Store(folder / "store.sqlite", SESSION, Policy(floor_bytes=0))
except StationError as error:
    report(refused=str(error))
    sys.exit()
number = 0
while not (reports / "stop").exists():
    number += 1
    store.add(step(number, DEFECTIVE, with_frame=True))
    report(given=number, saved=store.pictures_saved, pictures=store.picture_trouble, done=store.committed())
    time.sleep(0.01)
store.close()
"""


@contextmanager
def station_of_a_user() -> Iterator[tuple[Path, Path]]:
    """Its record's folder, and the folder of its reports; the station runs without root's rights."""
    with tempfile.TemporaryDirectory() as name:
        folder, reports = Path(name) / "record", Path(name) / "reports"
        for path in (folder, reports):
            path.mkdir()
        for path in (Path(name), folder, reports):
            path.chmod(0o777)
        yield folder, reports


@contextmanager
def started(folder: Path, reports: Path) -> Iterator["subprocess.Popen[bytes]"]:
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        [sys.executable, "-c", STATION, str(folder), str(reports)], cwd=ROOT, stdin=quiet, stdout=quiet, stderr=quiet
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def reported(reports: Path) -> dict[str, object]:
    path = reports / "report"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def test_a_folder_that_becomes_read_only_costs_pictures_until_it_is_writable_again() -> None:
    with station_of_a_user() as (folder, reports), started(folder, reports) as process:
        wait_for(lambda: int(str(reported(reports).get("saved", 0))) > 2)
        days = list((folder / "pictures").iterdir())
        for path in (folder, folder / "pictures", *days):
            path.chmod(stat.S_IRUSR | stat.S_IXUSR | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
        wait_for(lambda: bool(reported(reports)["pictures"]))
        before = reported(reports)
        assert "Permission denied" in str(before["pictures"])
        wait_for(lambda: int(str(reported(reports)["done"])) > int(str(before["given"])))  # rows go on
        for path in (folder, folder / "pictures", *days):
            path.chmod(0o777)
        wait_for(lambda: reported(reports)["pictures"] is None)
        wait_for(lambda: int(str(reported(reports)["saved"])) > int(str(before["saved"])) + 2)
        (reports / "stop").touch()
        assert process.wait(timeout=60) == 0
        given = reported(reports)["given"]
        assert rows(folder / "store.sqlite", "SELECT count(*) FROM parts") == [(given,)]
        told = [str(message) for (message,) in rows(folder / "store.sqlite", "SELECT message FROM events ORDER BY record")]
        assert "Permission denied" in told[0]
        assert "pictures are saved again" in told[1]


@pytest.mark.parametrize("is_new", [True, False], ids=["no record yet", "a record"])
def test_a_folder_that_is_read_only_at_the_start_is_refused_in_one_sentence(is_new: bool) -> None:
    with station_of_a_user() as (folder, reports):
        if not is_new:
            Store(folder / "store.sqlite", SESSION).close()
        folder.chmod(0o555)
        try:
            with started(folder, reports) as process:
                assert process.wait(timeout=60) == 0
        finally:
            folder.chmod(0o777)
        assert "store.sqlite: the record cannot be written (" in str(reported(reports)["refused"])


@pytest.mark.parametrize("is_kept", [True, False], ids=["moved", "deleted"])
def test_a_file_that_is_taken_away_is_begun_anew(is_kept: bool, tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite", SESSION, KEEP)
    store.add(step(1, with_frame=True))
    wait_for(lambda: store.pictures_saved == 1)
    if is_kept:
        store.path.rename(tmp_path / "old.sqlite")
    else:
        store.path.unlink()
    given = [store.add(step(2, with_frame=True))]
    wait_for(lambda: store.committed() >= given[0])
    store.add(step(3, with_frame=True))
    store.close()
    assert rows(store.path, "SELECT part FROM parts ORDER BY record") == [(2,), (3,)]
    assert rows(store.path, "PRAGMA integrity_check") == [("ok",)]
    assert rows(store.path, "SELECT session, ended IS NULL FROM sessions") == [(1, 0)]
    assert rows(store.path, "SELECT count(*) FROM bundles") == [(1,)]
    told = [str(message) for (message,) in rows(store.path, "SELECT message FROM events")]
    assert any("the file was taken away; a new one is begun" in message for message in told)
    if is_kept:
        assert rows(tmp_path / "old.sqlite", "SELECT part FROM parts") == [(1,)]


@contextmanager
def moved_while_read(folder: Path, fetch: str = "fetchone") -> Iterator[Store]:
    """Parts 1 to 49 are committed, then the file is moved to old.sqlite while another process reads it; 50 to 54 come later."""
    store = Store(folder / "store.sqlite", SESSION)
    for number in range(1, 6):
        store.add(step(number))
    wait_for(lambda: store.committed() == 5)
    with reader(store.path, folder, fetch):
        for number in range(6, 50):
            store.add(step(number))
        wait_for(lambda: store.committed() == 49)
        store.path.rename(folder / "old.sqlite")
        for number in range(50, 55):
            store.add(step(number))
        yield store


def check_whole(path: Path, parts: range) -> None:
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert rows(path, "SELECT part FROM parts ORDER BY record") == [(part,) for part in parts]


def test_a_file_that_is_moved_while_it_is_read_is_whole_before_a_new_one_is_begun(tmp_path: Path) -> None:
    with moved_while_read(tmp_path) as store:
        wait_for(lambda: "taken away" in str(store.trouble))
        assert "read" in str(store.trouble)
        assert store.committed() == 49
        assert not store.path.exists()
    wait_for(lambda: store.committed() == 54)
    store.close()
    assert store.rows_lost == 0
    check_whole(tmp_path / "old.sqlite", range(1, 50))
    check_whole(store.path, range(50, 55))


def test_a_file_that_is_moved_while_a_reader_is_connected_takes_nothing_along(tmp_path: Path) -> None:
    with moved_while_read(tmp_path, "fetchall") as store:
        wait_for(lambda: store.committed() == 54)
        check_whole(tmp_path / "old.sqlite", range(1, 50))
        check_whole(store.path, range(50, 55))
        store.close()
    check_whole(store.path, range(50, 55))


def test_the_log_of_a_file_that_was_moved_outlives_the_station(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "CLOSE_WITHIN_S", 0.2)
    with moved_while_read(tmp_path) as store:
        wait_for(lambda: store.trouble is not None)
        store.close()
        assert store.rows_lost == 5
        again = Store(store.path, SESSION)
        again.add(step(55))
        again.close()
        check_whole(store.path, range(55, 56))
        (log,) = tmp_path.glob("store.sqlite-of-*-wal")
        assert any(log.name in str(message) for (message,) in rows(store.path, "SELECT message FROM events"))
    log.rename(tmp_path / "old.sqlite-wal")
    check_whole(tmp_path / "old.sqlite", range(1, 50))


def test_a_folder_where_the_file_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").mkdir()
    with pytest.raises(StationError, match="unable to open database file"):
        Store(tmp_path / "store.sqlite", SESSION)


def test_readers_do_not_stop_the_writer(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite", SESSION)
    store.add(step(1))
    wait_for(lambda: store.committed() == 1)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM parts").fetchone() == (1,)
        store.add(step(2))
        wait_for(lambda: store.committed() == 2)
        assert store.trouble is None
    store.close()

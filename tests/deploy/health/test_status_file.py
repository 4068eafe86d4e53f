"""`status.json`: what is believed of it, and what becomes of it on disks that hang."""

import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.errors import StationError
from deploy.files import write_whole
from deploy.health import status
from deploy.health.snapshot import RecordHealth, Snapshot
from deploy.health.status import NAME, read_status, status_kept
from deploy.inspector.running import announced, running
from tests.deploy.health.conftest import asked
from tests.deploy.store.feed import SESSION, wait_for

RECORD = RecordHealth(0, 0, 0, 0, 0, 0, None, None)


def snapshot(**changed: Any) -> Snapshot:
    """Of a station that has just begun."""
    found = Snapshot(
        at="2026-11-20T12:00:00+00:00",
        monotonic_s=time.monotonic(),
        process=os.getpid(),
        started="2026-11-20T12:00:00+00:00",
        up_s=1.0,
        ready=True,
        complaint=None,
        session=SESSION,
        parts={"GOOD": 0},
        faults=3,
        latency_ms={"p50": None, "p99": None},
        cameras=(),
        record=RECORD,
        drift=(),
        memory_bytes=None,
        open_files=None,
    )
    return replace(found, **changed)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """This process is the inspector."""
    with announced(tmp_path):
        yield tmp_path


def test_it_is_told_while_it_lasts_and_gone_after(folder: Path) -> None:
    with status_kept(folder, snapshot):
        wait_for(lambda: read_status(folder)["ready"])
        assert asked(folder)[1].startswith("READY\n")
        assert "faults 3\n" in asked(folder)[1], "before the first latency, too"
    assert not (folder / NAME).exists()


@pytest.mark.parametrize(
    ("since_s", "message"), [(-3600, "not told its status yet"), (3600, "has told nothing for 3600 s")], ids=["reboot", "hang"]
)
def test_a_status_of_another_time_is_not_believed(since_s: float, message: str, folder: Path) -> None:
    (folder / NAME).write_text(json.dumps({"process": os.getpid(), "ready": True, "monotonic_s": time.monotonic() - since_s}))
    found = read_status(folder)
    assert (found["running"], found["ready"]) == (True, False)
    assert message in found["complaint"]


def test_what_an_earlier_process_left_is_taken_away_at_the_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / NAME).write_text("{}")
    monkeypatch.setattr(status, "write_whole", lambda *_: None)
    with status_kept(folder, snapshot):
        wait_for(lambda: not (folder / NAME).exists())


def test_a_write_that_outlasts_the_end_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, writes = threading.Event(), threading.Event()

    def slow(path: Path, text: str) -> None:
        writes.set()
        assert hangs.wait(60)
        write_whole(path, text)

    monkeypatch.setattr(status, "write_whole", slow)
    with status_kept(folder, snapshot):
        (thread,) = [one for one in threading.enumerate() if one.name == "status"]
        assert writes.wait(10)
    hangs.set()
    thread.join(10)
    assert not thread.is_alive()
    assert not (folder / NAME).exists()


def test_whatever_a_snapshot_raises_the_next_one_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "EVERY_S", 0.01)
    troubles = iter([RuntimeError("changed size"), ValueError("no"), MemoryError()])

    def troubled() -> Snapshot:
        for trouble in troubles:
            raise trouble
        return snapshot()

    with status_kept(folder, troubled):
        wait_for(lambda: read_status(folder)["ready"])


@pytest.mark.parametrize("left_out", ["session", "faults", "drift", "cameras", "ready", "monotonic_s"])
def test_one_of_another_version_is_an_error_that_says_what_to_do(left_out: str, folder: Path) -> None:
    with status_kept(folder, snapshot):
        wait_for(lambda: (folder / NAME).exists())
        content = json.loads((folder / NAME).read_text())
    del content[left_out]
    (folder / NAME).write_text(json.dumps(content))
    with pytest.raises(StationError, match=r"start it again|not told its status yet"):
        asked(folder)
    assert json.loads(asked(folder, as_json=True)[1])["running"]


def test_trouble_with_pictures_is_not_taken_for_trouble_with_rows(folder: Path) -> None:
    with status_kept(folder, lambda: snapshot(record=replace(RECORD, picture_trouble="the disk is full"))):
        wait_for(lambda: read_status(folder)["ready"])
        assert "NOT SAVING PICTURES: the disk is full" in asked(folder)[1]
        assert "NOT RECORDING" not in asked(folder)[1]


@pytest.mark.parametrize("as_json", [False, True])
def test_the_name_of_a_file_need_not_be_text(as_json: bool, folder: Path) -> None:
    name = os.fsdecode(b"belt\xff.avi")
    with status_kept(folder, lambda: snapshot(ready=False, complaint=f"{name}: no picture")):
        wait_for(lambda: (folder / NAME).exists())
        assert "no picture" in asked(folder, as_json)[1]


def test_who_asks_at_the_wrong_moment_does_not_hide_an_inspector(tmp_path: Path) -> None:
    (tmp_path / "inspector.pid").touch()
    asking = os.open(tmp_path / "inspector.pid", os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    threading.Timer(0.2, os.close, [asking]).start()
    with announced(tmp_path):
        assert running(tmp_path) == os.getpid()

"""The log of real stations: one line per event, plain or JSON, and never a password."""

import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from deploy.health import pulse
from deploy.health.logs import logged
from tests.deploy.commands import COMMAND, ENVIRONMENT, give, started
from tests.deploy.health.conftest import PASSWORD, Stuck
from tests.deploy.health.test_status import wait_until

Station = Callable[..., Path]


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_every_event_is_one_object_per_line(station: Station, bundle_path: Path, network_camera: Any, tmp_path: Path) -> None:
    station()
    log = tmp_path / "log"

    def told(event: str) -> list[dict[str, Any]]:
        return [line for line in lines(log) if line["event"] == event]

    with (
        log.open("wb") as stderr,
        started("run", "station.yaml", "--log", "json", cwd=tmp_path, stderr=stderr.fileno()) as process,
    ):
        wait_until(lambda: told("ready"), process)
        with closing(sqlite3.connect(tmp_path / "store.sqlite")) as database:
            database.execute("BEGIN IMMEDIATE")
            wait_until(lambda: told("not_recording"), process)
        wait_until(lambda: told("recording"), process)
        network_camera.unplug()
        wait_until(lambda: told("not_ready"), process)
        network_camera.plug_in()
        wait_until(lambda: len(told("ready")) == 2, process)
        assert give("reload", ".", cwd=tmp_path).returncode == 0
        assert give("reload", ".", "--bundle", tmp_path, cwd=tmp_path).returncode == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    found = lines(log)
    assert [found[0]["event"], found[-1]["event"]] == ["started", "stopped"]
    assert all(line["time"].endswith("+00:00") and line["level"] in ("info", "warning") for line in found)
    begun, end = found[0], found[-1]
    assert (begun["bundle"], begun["version"], begun["precision"], begun["process"]) == ("redness", 1, "fp32", process.pid)
    assert "admin:***@" in begun["source"]
    assert told("engine")[0]["message"].startswith("fp32 on onnxruntime: nothing was installed")
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert end["parts"] == summary["verdicts"]
    assert end["frames"] == summary["cameras"]
    assert end["faults"] == summary["faults"] == sum(line["count"] for line in told("faults"))
    assert {line["after"] for line in told("camera")} >= {"streaming", "lost", "reopening"}
    assert told("not_ready")[0]["reason"].startswith("top: ")
    assert "locked" in told("not_recording")[0]["reason"]
    assert [(line["level"], "refused" in line["message"]) for line in told("bundle")] == [("info", False), ("warning", True)]
    assert PASSWORD not in log.read_text()


def test_plain_lines_and_nothing_else(
    station: Station, bundle_path: Path, tmp_path: Path, draw_part: Any, write_video: Any
) -> None:
    write_video(tmp_path / "belt.avi", [draw_part(False) for _ in range(5)])
    done = give("run", bundle_path, "belt.avi", "--out", "record", "--log", "plain", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    first, *_, last = done.stderr.splitlines()
    assert " info started process=" in first
    assert "bundle=redness version=1" in first
    assert " info stopped up_s=" in last
    assert '"GOOD": 5' in last


def test_an_error_is_an_event_too(station: Station, tmp_path: Path, bundle_path: Path) -> None:
    source = f"http://admin:{PASSWORD}@127.0.0.1:9/none"
    done = give("run", bundle_path, source, "--log", "json", cwd=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert (json.loads(line)["event"], json.loads(line)["level"]) == ("failed", "error")
    assert PASSWORD not in line


def test_the_journal_gets_plain_lines_unasked(tmp_path: Path, bundle_path: Path, draw_part: Any, write_video: Any) -> None:
    write_video(tmp_path / "belt.avi", [draw_part(True)])
    with (tmp_path / "journal").open("wb") as journal:
        seen = os.fstat(journal.fileno())
        environment = {**ENVIRONMENT, "JOURNAL_STREAM": f"{seen.st_dev}:{seen.st_ino}"}
        words = [*COMMAND, "run", str(bundle_path), "belt.avi", "--out", "record"]
        done = subprocess.run(words, cwd=tmp_path, env=environment, stdout=journal, stderr=journal, timeout=120)
    assert done.returncode == 0
    told = (tmp_path / "journal").read_text().splitlines()
    assert told[0].startswith("<6>started ")
    assert told[-1].startswith("<6>stopped ")


def test_a_reader_that_takes_nothing_holds_up_nobody(tmp_path: Path, bundle_path: Path, draw_part: Any, write_video: Any) -> None:
    write_video(tmp_path / "belt.avi", [draw_part(True)])
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    while True:  # until not one byte more fits
        try:
            os.write(writing, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(writing, True)
    try:
        with started("run", bundle_path, "belt.avi", "--out", "record", "--log", "json", cwd=tmp_path, stderr=writing) as process:
            assert process.wait(timeout=60) == 0
    finally:
        os.close(reading)
        os.close(writing)
    assert json.loads((tmp_path / "record/summary.json").read_text())["parts"] == 1


def test_a_burst_of_faults_is_one_line_and_none_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    session: Any = Stuck()
    monkeypatch.setattr(pulse, "EVERY_S", 0)
    with logged("json"):
        beat = pulse.Pulse(session)
        for session.faults in range(50):
            session.last_fault = f"frame {session.faults} from rtsp://admin:{PASSWORD}@camera is black"
            beat.tick()
        monkeypatch.setattr(pulse, "FAULTS_EVERY_S", 0)
        beat._faults_due = 0
        beat.tick()
    ready, *faults = map(json.loads, capfd.readouterr().err.splitlines())
    assert ready["event"] == "ready"
    assert [line["count"] for line in faults] == [1, 48]
    assert faults[1]["last"] == "frame 49 from rtsp://admin:***@camera is black"

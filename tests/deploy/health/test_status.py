"""`inspector status` and Prometheus' endpoint, asked of real stations: well, blind, hung, killed and on a full disk."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.errors import StationError
from deploy.health import status as status_module
from deploy.health.status import read_status
from tests.deploy.commands import give, started
from tests.deploy.health.conftest import PASSWORD, asked

Station = Callable[..., Path]


def wait_until(condition: Callable[[], object], process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        assert process.poll() is None, "the inspector ended by itself"
        time.sleep(0.1)


def is_judging(folder: Path) -> bool:
    return bool(sum(read_status(folder).get("parts", {}).values()) > 3)


def scraped(port: int) -> tuple[str, dict[str, dict[tuple[tuple[str, str], ...], float]]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return text, found


def test_a_station_is_asked_while_it_is_well_blind_hung_and_killed(
    station: Station, network_camera: Any, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    station(f"health: {{port: {port}}}")
    with started("run", "station.yaml", cwd=tmp_path) as process:
        wait_until(lambda: is_judging(tmp_path), process)

        done = give("status", "station.yaml", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        for word in ("READY", "redness version 1 (fp32 on onnxruntime", "DEFECTIVE", "top", "streaming"):
            assert word in done.stdout
        found = json.loads(asked(tmp_path, as_json=True)[1])
        assert (found["running"], found["ready"], found["complaint"]) == (True, True, None)
        assert found["process"] == process.pid
        assert found["parts"]["DEFECTIVE"] == sum(found["parts"].values()) > 0
        (camera,) = found["cameras"]
        assert (camera["name"], camera["state"], camera["reconnects_last_hour"]) == ("top", "streaming", 0)
        assert camera["age_s"] < 60
        assert camera["captured"] >= camera["judged"] + camera["dropped"] + camera["faulted"] - 5  # no two counts of one moment
        assert found["latency_ms"]["p50"] > 0
        assert found["memory_bytes"] > 10_000_000
        assert found["open_files"] > 3

        text, metrics = scraped(port)
        assert metrics["inspector_ready"] == {(): 1}
        assert metrics["inspector_recording"] == {(): 1}
        assert metrics["inspector_parts_total"][(("verdict", "DEFECTIVE"),)] >= found["parts"]["DEFECTIVE"]
        assert metrics["inspector_frames_total"][(("camera", "top"), ("fate", "judged"))] >= camera["judged"]
        assert metrics["inspector_camera_state"][(("camera", "top"), ("state", "streaming"))] == 1
        assert 0 < metrics["inspector_latency_seconds"][(("quantile", "0.5"),)] < 60
        assert 0 <= metrics["inspector_frame_age_seconds"][(("camera", "top"),)] < 60
        (bundle,) = metrics["inspector_bundle_info"]
        assert dict(bundle)["sha256"] == found["session"]["bundle_sha256"]
        assert metrics["process_resident_memory_bytes"][()] > 10_000_000
        for told in (text, json.dumps(found), done.stdout):
            assert PASSWORD not in told

        network_camera.unplug()
        wait_until(lambda: read_status(tmp_path)["complaint"], process)
        ready, shown = asked(tmp_path)
        assert not ready
        assert "NOT READY: top: " in shown
        assert PASSWORD not in shown
        text, metrics = scraped(port)
        assert metrics["inspector_ready"] == {(): 0}
        assert metrics["inspector_camera_state"][(("camera", "top"), ("state", "streaming"))] == 0
        network_camera.plug_in()
        wait_until(lambda: read_status(tmp_path)["ready"], process)
        assert read_status(tmp_path)["cameras"][0]["reconnects_last_hour"] >= 1

        process.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(status_module, "OLD_S", 1.0)
        wait_until(lambda: "has told nothing for" in str(read_status(tmp_path)["complaint"]), process)
        assert read_status(tmp_path)["running"]
        process.send_signal(signal.SIGCONT)
        monkeypatch.undo()
        wait_until(lambda: read_status(tmp_path)["ready"], process)
        process.kill()
        process.wait()
        done = give("status", "station.yaml", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert "no inspector is running here" in done.stderr
        assert "one was killed" in done.stderr
        assert json.loads(asked(tmp_path, as_json=True)[1])["running"] is False


def test_it_ends_cleanly_and_leaves_no_status_and_no_port(station: Station, tmp_path: Path, port: int) -> None:
    station(f"health: {{port: {port}}}")
    with started("run", "station.yaml", cwd=tmp_path) as process:
        wait_until(lambda: is_judging(tmp_path), process)
        assert is_listening(process.pid)
        with socket.create_connection(("127.0.0.1", port)):  # who connects and says nothing is in nobody's way
            assert scraped(port)[1]["inspector_ready"] == {(): 1}
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0
    assert not (tmp_path / "status.json").exists()
    with pytest.raises(StationError, match="no inspector is running here") as told:
        asked(tmp_path)
    assert "killed" not in str(told.value)


def test_a_port_that_cannot_be_had_is_told_before_the_first_frame(station: Station, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        station(f"health: {{port: {port}}}")
        done = give("run", "station.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert f"127.0.0.1 port {port} cannot be listened on" in done.stderr
    assert "in use" in done.stderr
    assert "Give another port" in done.stderr
    assert not (tmp_path / "summary.json").exists()


def is_listening(process: int) -> bool:
    """Does it take connections over IPv4?"""
    sockets = set()
    for one in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # it has just been closed
            sockets.add(os.readlink(one))
    listening = [line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines() if line.split()[3] == "0A"]
    return bool(sockets & {f"socket:[{inode}]" for inode in listening})


def test_a_disk_that_takes_no_status_is_no_reason_to_stop(station: Station, tmp_path: Path) -> None:
    """And without the section `health` nobody listens."""
    (tmp_path / ".status.json.part").mkdir()  # which keeps the file from being written, and nothing else
    station()
    with started("run", "station.yaml", cwd=tmp_path) as process:
        wait_until(lambda: "its disk takes nothing" in str(read_status(tmp_path)["complaint"]), process)
        wait_until(lambda: has_parts(tmp_path / "store.sqlite"), process)
        assert not is_listening(process.pid)
        with pytest.raises(StationError, match="its disk takes nothing"):
            asked(tmp_path)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    assert json.loads((tmp_path / "summary.json").read_text())["parts"] > 0


def has_parts(store: Path) -> bool:
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as database:
        return bool(database.execute("SELECT 1 FROM parts LIMIT 1").fetchone())
    return False

"""Whole stations, as processes: several cameras and regions, reloads, ends, and what must not hold up the loop."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from deploy.bundle_spec import Signature
from deploy.preprocess import Picture
from tests.deploy.commands import give, started

DrawPart = Callable[..., Picture]
WriteVideo = Callable[[Path, list[Picture]], Path]
PATIENT = "max_age_ms: 60000, limit_s: 10"  # a loaded test machine is not what is tested here


def asked(store: Path, query: str) -> list[tuple[Any, ...]]:
    if not store.exists():
        return []
    with closing(sqlite3.connect(store)) as database:
        try:
            return database.execute(query).fetchall()
        except sqlite3.OperationalError:  # it is just being created
            return []


def wait_until(condition: Callable[[], object], process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        assert process.poll() is None, "the inspector ended by itself"
        time.sleep(0.05)


def summary(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    for name, account in content["cameras"].items():
        assert account["captured"] == account["judged"] + account["dropped"] + account["faulted"], name
    return content


def another_version(bundle: Path, target: Path) -> Path:
    """The same bundle as version 2, which takes nothing for good or defective."""
    shutil.copytree(bundle, target)
    spec = json.loads((target / "bundle.json").read_text())
    spec["version"] = 2
    spec["models"]["fp32"]["engines"]["onnxruntime"]["thresholds"] = {"accept": 0.0, "reject": 1.0}
    raw = json.dumps(spec, indent=2).encode()
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    (target / "bundle.json").write_bytes(raw)
    (target / "signature").write_text(Signature(public_key=public, signature=key.sign(raw).hex()).model_dump_json())
    return target


def test_recordings_of_two_cameras_with_regions_in_one_station(
    bundle_path: Path, tmp_path: Path, draw_part: DrawPart, write_video: WriteVideo
) -> None:
    write_video(tmp_path / "top.avi", [draw_part(index % 2 == 0, 240) for index in range(12)])
    write_video(tmp_path / "side.avi", [draw_part(False, 240) for _ in range(8)])
    (tmp_path / "station.yaml").write_text(
        f"name: press-1\nbundle: {bundle_path}\ncameras:\n"
        "  - name: top\n    source: top.avi\n    regions:\n"
        "      - {name: left, roi: [0, 0, 60, 240]}\n      - {name: right, roi: [60, 0, 180, 240]}\n"
        "  - {name: side, source: side.avi}\n"
    )
    done = give("run", "station.yaml", "--annotate", "annotated", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    out = tmp_path / "inspections" / "press-1"
    found = summary(out)
    assert found["cameras"] == {
        "top": {"captured": 12, "judged": 12, "dropped": 0, "faulted": 0},
        "side": {"captured": 8, "judged": 8, "dropped": 0, "faulted": 0},
    }
    assert (found["parts"], found["faults"]) == (32, 0)
    query = "SELECT camera, region, verdict, count(*) FROM parts GROUP BY 1, 2, 3"
    assert set(asked(out / "store.sqlite", query)) == {
        ("top", "left", "GOOD", 12),
        ("top", "right", "GOOD", 6),
        ("top", "right", "DEFECTIVE", 6),
        ("side", "", "GOOD", 8),
    }
    header, *rows = (out / "parts.csv").read_text().splitlines()
    assert {"camera", "region", "part", "verdict"} <= set(header.split(","))
    assert len(rows) == 32
    films = sorted(path.relative_to(tmp_path / "annotated").as_posix() for path in (tmp_path / "annotated").rglob("*.mp4"))
    assert films == ["side/annotated.mp4", "top/annotated.mp4"]


def test_a_camera_that_is_lost_holds_up_nobody_and_sigterm_leaves_the_record_complete(
    bundle_path: Path, tmp_path: Path, network_camera: Any, draw_part: DrawPart
) -> None:
    other = type(network_camera)(draw_part(False))
    (tmp_path / "station.yaml").write_text(
        f"name: press-1\nbundle: {bundle_path}\nrecord: {{folder: ., pictures: {{leave_free_mb: 0}}}}\ncameras:\n"
        f"  - {{name: top, source: '{network_camera.address}', {PATIENT}}}\n"
        f"  - {{name: side, source: '{other.address}', {PATIENT}}}\n"
    )
    store = tmp_path / "store.sqlite"

    def parts(camera: str) -> int:
        return len(asked(store, f"SELECT 1 FROM parts WHERE camera = '{camera}'"))

    try:
        with started("run", "station.yaml", cwd=tmp_path) as process:
            wait_until(lambda: parts("top") >= 5 and parts("side") >= 5, process)
            network_camera.unplug()
            wait_until(lambda: asked(store, "SELECT 1 FROM faults WHERE camera = 'top' AND kind = 'camera'"), process)
            seen = parts("side"), parts("top")
            wait_until(lambda: parts("side") >= seen[0] + 25, process)
            assert parts("top") == seen[1], "no verdict without a frame"
            network_camera.plug_in()
            wait_until(lambda: parts("top") > seen[1], process)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0
    finally:
        other.unplug()
    found = summary(tmp_path)
    assert found["ended_by"] == "user"
    assert {name for name, account in found["cameras"].items() if account["judged"] > 0} == {"top", "side"}
    lasted_s = asked(store, "SELECT lasted_s FROM faults WHERE camera = 'top' AND kind = 'camera'")
    assert all(one > 0 for (one,) in lasted_s)
    changes = " ".join(message for (message,) in asked(store, "SELECT message FROM events WHERE kind = 'camera'"))
    for word in ("top: lost", "top: streaming"):
        assert word in changes
    assert asked(store, "SELECT 1 FROM sessions WHERE ended IS NOT NULL AND killed = 0")
    assert list((tmp_path / "pictures").rglob("*.jpg")), "pictures of live cameras are kept"
    assert not (tmp_path / "inspector.pid").exists()


def test_another_bundle_takes_over_between_two_frames_and_a_bad_one_does_not(
    bundle_path: Path, tmp_path: Path, draw_part: DrawPart, write_video: WriteVideo
) -> None:
    write_video(tmp_path / "long.avi", [draw_part(index % 2 == 0) for index in range(3000)])
    options = ("--out", ".", "--realtime", "--max-age-ms", 60000)
    store = tmp_path / "store.sqlite"
    second = another_version(bundle_path, tmp_path / "redness-2")
    bad = another_version(bundle_path, tmp_path / "bad")
    (bad / "model.onnx").write_bytes((bad / "model.onnx").read_bytes()[:-1])
    with started("run", bundle_path, "long.avi", *options, cwd=tmp_path) as process:
        wait_until(lambda: len(asked(store, "SELECT 1 FROM parts")) >= 20, process)
        refused = give("reload", ".", "--bundle", bad, cwd=tmp_path)
        assert refused.returncode == 1
        assert "the bundle was refused, redness version 1" in refused.stderr
        assert "model.onnx was changed after export" in refused.stderr
        taken = give("reload", ".", "--bundle", second, cwd=tmp_path)
        assert (taken.returncode, taken.stderr) == (0, "")
        assert "redness version 2 (fp32 on onnxruntime" in taken.stdout
        wait_until(lambda: len(asked(store, "SELECT 1 FROM parts WHERE load = 2")) >= 20, process)
        process.send_signal(signal.SIGHUP)  # as a service manager does: the bundle it began with, again
        wait_until(lambda: asked(store, "SELECT 1 FROM parts WHERE load = 3"), process)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    found = summary(tmp_path)
    assert found["session"]["version"] == 1
    assert asked(store, "SELECT count(*) FROM faults WHERE kind != 'camera'") == [(0,)]
    bundles = asked(store, "SELECT load, version, reject FROM bundles ORDER BY load")
    assert bundles == [(1, 1, 0.6), (2, 2, 1.0), (3, 1, 0.6)]
    verdicts = asked(store, "SELECT load, verdict FROM parts WHERE load < 3 GROUP BY 1, 2 ORDER BY 1, 2")
    assert verdicts == [(1, "DEFECTIVE"), (1, "GOOD"), (2, "REVIEW")]
    events = [message for (message,) in asked(store, "SELECT message FROM events WHERE kind = 'bundle'")]
    assert len(events) == 3
    assert events[0].startswith("the bundle was refused, redness version 1")
    assert events[1].startswith("redness version 2")
    assert events[2].startswith("redness version 1")
    assert not list(tmp_path.glob("reload*"))


def test_a_reload_needs_a_station_that_runs(tmp_path: Path) -> None:
    (tmp_path / "inspector.pid").write_text(f"{os.getpid()}\n")  # left behind by a kill: the number is somebody else's now
    done = give("reload", ".", cwd=tmp_path)
    assert done.returncode == 1
    assert "no inspector is running here" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("run", "station.yaml", "--out", "elsewhere"), 2, "belongs into station.yaml"),
        (("run", "station.yaml", "belt.mp4"), 2, "belongs into station.yaml"),
        (("run", "bundle"), 2, "is missing: give what to inspect"),
        (("run", "station.yaml"), 1, "the key bundle is missing"),
        (("run", "nowhere.yaml"), 1, "nowhere.yaml: cannot be read"),
    ],
)
def test_what_cannot_work_is_said(words: tuple[str, ...], code: int, message: str, tmp_path: Path) -> None:
    (tmp_path / "station.yaml").write_text("name: press-1\ncamera: belt.mp4\n")
    done = give(*words, cwd=tmp_path)
    assert done.returncode == code
    assert message in " ".join(done.stderr.replace("│", " ").split())

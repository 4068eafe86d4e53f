import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import cv2
import pytest

import deploy
from deploy.preprocess import Picture
from tests.deploy.commands import give, started

DrawPart = Callable[..., Picture]
BeltFrames = Callable[..., list[Picture]]
WriteVideo = Callable[[Path, list[Picture]], Path]


class NetworkCamera(Protocol):
    """See the fixture in conftest.py."""

    address: str

    def plug_in(self) -> None: ...

    def unplug(self) -> None: ...


Inspector = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def inspector(tmp_path: Path) -> Inspector:
    """Runs the command in an empty folder."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return give(*arguments, cwd=tmp_path)

    return run


@pytest.fixture
def folder(tmp_path: Path, draw_part: DrawPart) -> Path:
    """Two good parts, a defective one and a file that is no picture."""
    path = tmp_path / "pictures"
    path.mkdir()
    for name, defective in (("a", False), ("c", True), ("d", False)):
        cv2.imwrite(str(path / f"{name}.png"), draw_part(defective, side=300))
    (path / "b.png").write_bytes(b"")
    return path


def record(out: Path) -> tuple[dict[str, Any], list[dict[str, str]]]:
    with (out / "parts.csv").open(newline="", encoding="utf-8") as file:
        return json.loads((out / "summary.json").read_text(encoding="utf-8")), list(csv.DictReader(file))


def test_a_folder_is_inspected_and_one_bad_file_is_a_fault(inspector: Inspector, bundle_path: Path, folder: Path) -> None:
    done = inspector("run", bundle_path, folder, "--annotate", "annotated")
    assert (done.returncode, done.stderr) == (0, "")
    summary, parts = record(folder.parent / "inspections" / "redness")
    assert [(part["name"], part["verdict"]) for part in parts] == [
        ("a.png", "GOOD"),
        ("b.png", "FAULT"),
        ("c.png", "DEFECTIVE"),
        ("d.png", "GOOD"),
    ]
    assert summary["verdicts"] == {"GOOD": 2, "DEFECTIVE": 1, "REVIEW": 0, "FAULT": 1}
    assert (summary["parts"], summary["frames_seen"], summary["frames_dropped"], summary["faults"]) == (4, 3, 0, 1)
    assert (summary["ended_by"], summary["session"]["precision"]) == ("recording", "fp32")
    assert summary["latency_ms"]["p99"] >= summary["latency_ms"]["p50"] > 0
    assert summary["store"] == {"views_dropped": 0, "rows_lost": 0}
    assert summary["cameras"] == {"": {"captured": 4, "judged": 3, "dropped": 0, "faulted": 1}}
    assert sorted(path.name for path in (folder.parent / "annotated").iterdir()) == ["a.jpg", "c.jpg", "d.jpg"]
    assert "DEFECTIVE" in done.stdout
    assert "4 parts" in done.stdout


def test_parts_on_a_belt_are_counted(
    inspector: Inspector, bundle_path: Path, tmp_path: Path, belt_frames: BeltFrames, write_video: WriteVideo
) -> None:
    frames = belt_frames([100, 220, 900], {1})
    film = write_video(tmp_path / "belt.avi", frames)
    done = inspector("run", bundle_path, film, "--parts", "belt", "--crop", 120, "--annotate", "annotated", "--out", "out")
    assert (done.returncode, done.stderr) == (0, "")
    summary, parts = record(tmp_path / "out")
    assert [part["verdict"] for part in parts] == ["GOOD", "DEFECTIVE", "GOOD"]
    assert summary["frames_seen"] == len(frames)
    capture = cv2.VideoCapture(str(tmp_path / "annotated" / "annotated.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == len(frames)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("nothing", "pictures"), "nothing: no bundle.json found", id="no bundle"),
        pytest.param(("BUNDLE", "nowhere"), "nowhere: no such file or folder", id="no source"),
        pytest.param(("BUNDLE", "[/]nowhere"), "[/]nowhere: no such file or folder", id="a name that looks like markup"),
        pytest.param(("BUNDLE", "pictures", "--show"), "--show needs a screen, but DISPLAY is not set", id="no screen"),
        pytest.param(("BUNDLE", "pictures", "--precision", "fp16"), "no fp16 model (left out: no faster here)", id="no model"),
        pytest.param(("BUNDLE", "pictures", "--trust", "ab" * 32), "expected abab", id="another signer"),
        pytest.param(("BUNDLE", "pictures", "--realtime"), "--realtime replays a video file", id="no video"),
        pytest.param(("BUNDLE", "pictures", "--out", "pictures/a.png"), "the record cannot be written", id="out is a file"),
    ],
)
def test_what_cannot_work_is_one_sentence(
    arguments: tuple[str, ...], message: str, inspector: Inspector, bundle_path: Path, folder: Path
) -> None:
    done = inspector("run", *(str(bundle_path) if argument == "BUNDLE" else argument for argument in arguments))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_crop_without_a_belt_is_refused(inspector: Inspector, bundle_path: Path, folder: Path) -> None:
    done = inspector("run", bundle_path, folder, "--crop", 100)
    assert done.returncode == 2
    assert "add --parts belt" in done.stderr


def test_selftest_shows_who_signed_and_how_close_the_answers_are(inspector: Inspector, bundle_path: Path) -> None:
    done = inspector("selftest", bundle_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((bundle_path / "signature").read_text())["public_key"] in done.stdout
    assert "as in the lab" in done.stdout


def test_selftest_names_the_changed_file(inspector: Inspector, bundle_path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in bundle_path.iterdir():
        (copy / file.name).write_bytes(file.read_bytes() + (b"x" if file.name == "golden.npz" else b""))
    done = inspector("selftest", copy)
    assert done.returncode == 1
    assert "golden.npz was changed after export" in done.stderr


@pytest.mark.parametrize("command", [(), ("run",), ("reload",), ("selftest",)])
def test_help_has_an_example(command: tuple[str, ...], inspector: Inspector) -> None:
    done = inspector(*command, "--help")
    assert done.returncode == 0
    assert "Usage: " in done.stdout
    assert ("Example: inspector" in done.stdout) == bool(command)


@pytest.mark.parametrize(("options", "code"), [pytest.param(["--realtime"], 0, id="live"), pytest.param([], 130, id="recording")])
def test_ctrl_c_leaves_everything_complete(
    options: list[str], code: int, bundle_path: Path, tmp_path: Path, draw_part: DrawPart, write_video: WriteVideo
) -> None:
    film = write_video(tmp_path / "long.avi", [draw_part(index % 2 == 0) for index in range(3000)])
    with started("run", bundle_path, film, "--annotate", ".", "--out", ".", *options, cwd=tmp_path) as process:
        wait_until(lambda: count(tmp_path / "store.sqlite") >= 10, process)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == code
    summary, parts = record(tmp_path)
    assert summary["ended_by"] == "user"
    assert summary["parts"] == len(parts) == count(tmp_path / "store.sqlite") < 3000
    capture = cv2.VideoCapture(str(tmp_path / "annotated.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == summary["frames_seen"]
    assert not list(tmp_path.glob(".*"))


def test_a_camera_that_is_unplugged_is_a_fault_and_inspection_goes_on_when_it_is_back(
    network_camera: NetworkCamera, bundle_path: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store.sqlite"
    patient = ["--max-age-ms", "60000"]  # a loaded test machine is not what is tested here
    with started("run", bundle_path, network_camera.address, "--out", ".", *patient, cwd=tmp_path) as process:
        wait_until(lambda: count(store) >= 5, process)
        network_camera.unplug()
        wait_until(lambda: count(store, "faults") == 1, process)
        seen = count(store)
        network_camera.plug_in()
        wait_until(lambda: count(store) > seen, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    summary, _ = record(tmp_path)
    assert (summary["faults"], summary["verdicts"]["FAULT"]) == (1, 0)
    with closing(sqlite3.connect(store)) as database:
        ((kind, lasted_s),) = database.execute("SELECT kind, lasted_s FROM faults").fetchall()
    assert kind == "camera"
    assert lasted_s > 0


def wait_until(condition: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        assert process.poll() is None, "the inspector ended by itself"
        time.sleep(0.05)


def count(path: Path, table: str = "parts") -> int:
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as database:
        try:
            (found,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()
        except sqlite3.OperationalError:  # it is just being created
            return 0
        return int(found)


@pytest.mark.parametrize("target", ["pictures", "pictures/annotated"])
def test_annotating_never_overwrites_the_source(inspector: Inspector, bundle_path: Path, folder: Path, target: str) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    done = inspector("run", bundle_path, folder, "--annotate", folder.parent / target)
    assert done.returncode == 1
    assert "could overwrite the source" in done.stderr
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_name_the_terminal_cannot_show_is_no_reason_to_stop(tmp_path: Path) -> None:
    line = [sys.executable, "-c", "from deploy.cli import main; main()", "selftest", str(tmp_path / "裂纹")]
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONPATH": str(Path(deploy.__file__).parents[1])}
    done = subprocess.run(line, capture_output=True, env=environment)
    assert done.returncode == 1
    assert b"??" in done.stderr
    assert b"Traceback" not in done.stderr

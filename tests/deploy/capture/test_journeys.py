"""Through the command line, as a user gives it: scripts, interruptions, full disks, lost cameras."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import pytest

from deploy.preprocess import Picture, read_picture

Capture = Callable[..., "subprocess.CompletedProcess[str]"]
ReadRows = Callable[[Path], list[dict[str, str]]]
WriteVideo = Callable[[Path, list[Picture]], Path]


class NetworkCamera(Protocol):
    """See the fixture in tests/deploy/conftest.py."""

    address: str

    def unplug(self) -> None: ...


def classes(rows: list[dict[str, str]]) -> list[str]:
    return [str(Path(row["file"]).parent) for row in rows]


def test_a_folder_is_labelled_picture_by_picture(capture: Capture, pictures: Path, tmp_path: Path, read_rows: ReadRows) -> None:
    done = capture("g 1 n d u 2 s g q", pictures, "parts", "--types", "scratch,dent")
    assert (done.returncode, done.stderr) == (0, "")
    rows = read_rows(tmp_path / "parts")
    assert classes(rows) == ["good", "defective/scratch", "defective/dent", "good"]
    groups = [row["group"] for row in rows]
    assert groups[0] == groups[1] != groups[2] == groups[3]
    # a b (c cannot be read) d, undone and labelled again; e skipped; f
    originals = [read_picture(pictures / f"{name}.png") for name in "abdf"]
    for row, original in zip(rows, originals, strict=True):
        assert (read_picture(tmp_path / "parts" / row["file"]) == original).all()
    assert "left out: " in done.stdout
    assert "4 pictures of 2 parts: 2 good, 2 defective (1 dent, 1 scratch) in parts; next: pipeline audit parts" in done.stdout


def test_a_video_passes_by_and_a_second_session_continues(
    capture: Capture, tmp_path: Path, draw_part: Callable[..., Picture], write_video: WriteVideo, read_rows: ReadRows
) -> None:
    film = write_video(tmp_path / "belt.avi", [draw_part(index % 2 == 1) for index in range(50)])
    (tmp_path / "station.yaml").write_text("name: press-1\ncamera: belt.avi\n")
    for keys in ("g\nd\nn\ng\n", "gg"):
        done = capture(keys, "station.yaml", "parts")
        assert (done.returncode, done.stderr) == (0, "")
    assert "2 pictures of 1 part: 2 good, 0 defective in parts, now 5 in all" in done.stdout
    rows = read_rows(tmp_path / "parts")
    assert len({row["group"] for row in rows}) == 3
    assert {row["station"] for row in rows} == {"press-1"}
    assert capture("g", film, "parts").returncode == 0
    assert [row["station"] for row in read_rows(tmp_path / "parts")] == ["press-1"] * 5 + [""]


def test_a_station_with_several_cameras_is_asked_for_one_which_is_set_as_there(
    capture: Capture, tmp_path: Path, draw_part: Callable[..., Picture], write_video: WriteVideo, read_rows: ReadRows
) -> None:
    write_video(tmp_path / "top.avi", [draw_part(False)] * 20)
    write_video(tmp_path / "side.avi", [draw_part(True)[:64]] * 20)
    (tmp_path / "station.yaml").write_text(
        "name: press-1\ncameras:\n"
        "  - {name: top, source: top.avi}\n  - {name: side, source: side.avi, settings: {rotation: 90}}\n"
    )
    for words, message in (
        ((), "station.yaml: has several cameras; choose one with --camera: top, side"),
        (("--camera", "front"), "station.yaml: no camera is called 'front'; expected top, side"),
    ):
        done = capture("g", "station.yaml", "parts", *words)
        assert done.returncode == 1
        assert message in done.stderr
    done = capture("g", "station.yaml", "parts", "--camera", "side")
    assert (done.returncode, done.stderr) == (0, "")
    (row,) = read_rows(tmp_path / "parts")
    assert row["station"] == "press-1"
    assert read_picture(tmp_path / "parts" / row["file"]).shape == (128, 64, 3)


def test_a_stop_between_picture_and_line_is_put_right_on_the_next_start(
    capture: Capture, pictures: Path, tmp_path: Path, environment: dict[str, str], read_rows: ReadRows
) -> None:
    code = (
        "import os; from deploy.capture import collection; from deploy.cli import main\n"
        "append, lines = collection.append_row, []\n"
        "def killed(*arguments):\n"
        "    lines.append(append(*arguments)) if len(lines) < 2 else os.kill(os.getpid(), 9)\n"
        "collection.append_row = killed; main()"
    )
    command = [sys.executable, "-c", code, "capture", str(pictures), "parts"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, input="gngdg", capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "parts").rglob("*.png"))) == 3
    done = capture("g", pictures, "parts")
    assert done.returncode == 0
    assert "had no line in groups.csv" in done.stdout
    rows = read_rows(tmp_path / "parts")
    assert classes(rows) == ["good", "good", "defective/defective", "good"]
    groups = [row["group"] for row in rows]
    assert groups[1] == groups[2]  # the part is known from the file's name
    assert len(set(groups)) == 3


def test_a_kill_at_any_moment_loses_nothing(
    command: list[str], capture: Capture, pictures: Path, tmp_path: Path, environment: dict[str, str], read_rows: ReadRows
) -> None:
    for _ in range(2):
        process = subprocess.Popen(
            [*command, str(pictures), "parts"], cwd=tmp_path, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        assert process.stdin is not None
        goal = len(list((tmp_path / "parts").rglob("*.png"))) + 2
        process.stdin.write(b"gu" * 400 + b"gg" + b"gu" * 4000)
        process.stdin.flush()
        wait_for_pictures(tmp_path / "parts", goal, process)
        process.kill()
        process.wait()
        process.stdin.close()
    assert capture("q", pictures, "parts").returncode == 0
    files = {row["file"] for row in rows_of(tmp_path / "parts")}
    assert files >= {path.relative_to(tmp_path / "parts").as_posix() for path in (tmp_path / "parts").rglob("*.png")}


def rows_of(folder: Path) -> list[dict[str, str]]:
    lines = (folder / "groups.csv").read_text().splitlines()
    return [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]


def test_ctrl_c_ends_with_the_summary(
    command: list[str], pictures: Path, tmp_path: Path, environment: dict[str, str], read_rows: ReadRows
) -> None:
    process = subprocess.Popen(
        [*command, str(pictures), "parts"], cwd=tmp_path, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(b"gg")
    process.stdin.flush()
    wait_for_pictures(tmp_path / "parts", 2, process)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)[0].decode()
    assert process.returncode == 0
    assert "2 pictures of 1 part: 2 good, 0 defective in parts" in said
    assert len(read_rows(tmp_path / "parts")) == 2


def test_a_full_disk_is_an_error_and_what_was_taken_stays(
    pictures: Path, command: list[str], tmp_path: Path, environment: dict[str, str], read_rows: ReadRows
) -> None:
    # No file may grow beyond 1 KiB: the first line of groups.csv fits, pictures of this size do not.
    big = tmp_path / "big"
    big.mkdir()
    (pictures / "a.png").rename(big / "a.png")
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8)
    cv2.imwrite(str(big / "b.png"), noise)
    line = f"ulimit -f 1; exec {' '.join(command)} big parts"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=environment, input="gg", capture_output=True, text=True)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert "1 picture of 1 part" in done.stdout
    assert len(read_rows(tmp_path / "parts")) == 1
    assert not list(tmp_path.rglob("*.part"))


def test_a_lost_camera_ends_a_script_and_what_was_taken_stays(
    network_camera: NetworkCamera, command: list[str], tmp_path: Path, environment: dict[str, str], read_rows: ReadRows
) -> None:
    process = subprocess.Popen(
        [*command, network_camera.address, "parts"],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(b"g")
    process.stdin.flush()
    wait_for_pictures(tmp_path / "parts", 1, process)
    network_camera.unplug()
    time.sleep(0.5)
    process.stdin.write(b"gggggg")
    process.stdin.flush()
    said, complained = (stream.decode() for stream in process.communicate(timeout=60))
    assert process.returncode == 1
    assert network_camera.address in complained
    taken = len(read_rows(tmp_path / "parts"))
    assert 1 <= taken < 7
    assert f"{taken} picture" in said


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        pytest.param(("nowhere", "parts"), 1, "nowhere: no such file or folder", id="no source"),
        pytest.param(("station.yaml", "parts"), 1, "station.yaml: cannot be read", id="no station"),
        pytest.param(("pictures", "pictures"), 1, "lie in each other", id="labelling a folder into itself"),
        pytest.param(("pictures", "pictures/labelled"), 1, "lie in each other", id="below the source"),
        pytest.param(("pictures/a.png", "pictures/b.png"), 1, "cannot be used as a folder", id="a file"),
        pytest.param(("pictures", "parts", "--camera", "top"), 1, "is none; leave --camera out", id="no station's camera"),
        pytest.param(("pictures", "parts", "--types", "a/b"), 2, "cannot be a defect type", id="types"),
        pytest.param(("pictures", "parts", "--min-sharpness", "-1"), 2, "--min-sharpness", id="sharpness"),
    ],
)
def test_what_cannot_work_is_said(
    arguments: tuple[str, ...], code: int, message: str, capture: Capture, pictures: Path, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    done = capture("g", *arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("keys", "said"), [("gggggn", None), ("ggggggn", "1 key was"), ("gggggdgsq", "3 keys were"), ("ggggggug", "1 key was")]
)
def test_keys_beyond_the_last_picture_are_an_error(
    keys: str, said: str | None, capture: Capture, pictures: Path, tmp_path: Path, read_rows: ReadRows
) -> None:
    done = capture(keys, pictures, "parts")
    assert done.returncode == (1 if said else 0)
    assert (f"{said} not carried out; the last: there are no more pictures" in done.stderr) if said else not done.stderr
    assert "5 pictures of 1 part" in done.stdout
    assert len(read_rows(tmp_path / "parts")) == 5


def test_types_in_any_script(capture: Capture, pictures: Path, tmp_path: Path, read_rows: ReadRows) -> None:
    done = capture("1 2 n g", pictures, "parts", "--types", "Öl,裂纹")
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 pictures of 2 parts: 1 good, 2 defective (1 Öl, 1 裂纹)" in done.stdout
    assert classes(read_rows(tmp_path / "parts")) == ["defective/Öl", "defective/裂纹", "good"]


def test_passwords_are_neither_printed_nor_written(capture: Capture, tmp_path: Path) -> None:
    (tmp_path / "station.yaml").write_text("name: a\ncamera: rtsp://anna:secret@127.0.0.1:9/belt\n")
    done = capture("g", "station.yaml", "parts")
    assert done.returncode == 1
    assert "rtsp://anna:***@127.0.0.1:9/belt: no stream could be opened" in done.stderr
    assert "secret" not in done.stdout + done.stderr


def test_nobody_to_press_keys_is_an_error(
    command: list[str], pictures: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    line = [*command, str(pictures), "parts"]
    done = subprocess.run(line, cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no keys can be pressed: DISPLAY is not set" in done.stderr


def test_help_has_an_example(capture: Capture) -> None:
    done = capture("", "--help")
    assert done.returncode == 0
    assert "Example: inspector capture 0 datasets/parts --types scratch,dent" in done.stdout


def wait_for_pictures(folder: Path, count: int, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 30
    while len(list(folder.rglob("*.png"))) < count:
        assert time.monotonic() < end, "waited in vain"
        assert process.poll() is None, "the capture ended by itself"
        time.sleep(0.01)

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import deploy
from deploy.cameras import Unreadable, open_camera, shown
from deploy.cameras.newest import NewestOnly
from deploy.errors import CameraError
from deploy.preprocess import Picture

WriteVideo = Callable[[Path, list[Picture]], Path]
SHADES = [np.full((48, 64, 3), 20 * shade, np.uint8) for shade in range(1, 6)]


def test_a_folder_is_read_in_order_and_with_what_lies_below(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("c.png", "a.JPG", "b/1.bmp"):
        assert cv2.imwrite(str(tmp_path / name), SHADES[0])
    (tmp_path / "notes.txt").write_text("no picture")
    with open_camera(str(tmp_path)) as camera:
        frames = [camera.read() for _ in range(4)]
    assert [frame and (frame.sequence, frame.name) for frame in frames] == [(1, "a.JPG"), (2, "b/1.bmp"), (3, "c.png"), None]
    assert not camera.live


def test_one_bad_picture_is_named_and_the_next_one_follows(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"")
    cv2.imwrite(str(tmp_path / "2.png"), SHADES[0])
    with open_camera(str(tmp_path)) as camera:
        with pytest.raises(Unreadable, match=r"1\.png: the file is empty") as caught:
            camera.read()
        after = camera.read()
    assert (caught.value.sequence, caught.value.name) == (1, "1.png")
    assert after is not None
    assert after.sequence == 2


def test_one_picture_is_a_recording_of_one_frame(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "part.png"), SHADES[0])
    with open_camera(str(tmp_path / "part.png")) as camera:
        frames = [camera.read(), camera.read()]
    assert [frame and frame.name for frame in frames] == ["part.png", None]


def test_a_video_is_read_frame_by_frame(tmp_path: Path, write_video: WriteVideo) -> None:
    with open_camera(str(write_video(tmp_path / "shades.avi", SHADES))) as camera:
        frames = [frame for _ in range(6) if (frame := camera.read()) is not None]
    assert [round(frame.picture.mean() / 20) for frame in frames] == [1, 2, 3, 4, 5]
    assert [frame.sequence for frame in frames] == [1, 2, 3, 4, 5]
    assert camera.fps == 25


def test_realtime_plays_a_video_as_a_live_camera(tmp_path: Path, write_video: WriteVideo) -> None:
    with open_camera(str(write_video(tmp_path / "shades.avi", SHADES)), realtime=True) as camera:
        assert isinstance(camera, NewestOnly)
        sequences = [frame.sequence for _ in range(5) if (frame := camera.read()) is not None]
    assert sequences == sorted(set(sequences))
    assert sequences[-1] == 5


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nothing", r"nothing: no such file or folder; give a folder"),
        ("folder", r"folder: found no pictures in this folder; expected files ending in \.bmp"),
        ("text.mp4", r"text\.mp4: no frame could be read from this video \(5 bytes, starting with b'hello'\)"),
        ("9", r"webcam 9: no such camera or it delivers no picture; this machine has .*video"),
        ("rtsp://anna:secret@127.0.0.1:9/belt", r"rtsp://anna:\*\*\*@127\.0\.0\.1:9/belt: no stream could be opened"),
        ("ftp://camera/belt", r"streams are read from rtsp://"),
    ],
)
def test_what_cannot_be_opened_says_what_to_do(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.mp4").write_text("hello")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CameraError, match=message):
        open_camera(source)


@pytest.mark.parametrize("source", [".", "0"])
def test_only_a_video_can_be_replayed(source: str) -> None:
    with pytest.raises(CameraError, match="--realtime replays a video file"):
        open_camera(source, realtime=True)


@pytest.mark.parametrize("source", ["9", "text.mp4", "rtsp://127.0.0.1:9/belt"])
def test_opencv_and_ffmpeg_keep_their_own_stories_to_themselves(source: str, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("hello")
    code = f"from deploy.cameras import open_camera\ntry: open_camera({source!r})\nexcept Exception as error: print(error)"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OPENCV")}
    environment["PYTHONPATH"] = str(Path(deploy.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, env=environment)
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("rtsp://anna:p@ss@camera/belt", "rtsp://anna:***@camera/belt"),
        ("rtsp://anna@camera/belt", "rtsp://anna@camera/belt"),
        ("rtsp://camera/belt?at=a@b", "rtsp://camera/belt?at=a@b"),
        ("pictures/a@b", "pictures/a@b"),
        ("http://camera/video.cgi?user=anna&pwd=secret&fps=5", "http://camera/video.cgi?user=anna&pwd=***&fps=5"),
        ("http://anna:secret@camera/video?token=a@b", "http://anna:***@camera/video?token=***"),
    ],
)
def test_a_password_is_never_shown(source: str, expected: str) -> None:
    assert shown(source) == expected

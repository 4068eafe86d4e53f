import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import deploy
from deploy.addresses import shown, without_secrets
from deploy.cameras import Unreadable, open_camera, seen_from
from deploy.cameras.newest import NewestOnly
from deploy.cameras.settings import CameraSettings
from deploy.command import say_error
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
        ("usb:9", r"webcam 9: no such camera or it delivers no picture"),
        ("usb:/dev/nothing", r"usb:/dev/nothing: no such webcam; give a number or a path below /dev"),
        ("watch:nothing", r"watch:nothing: No such file or directory"),
        ("firewire:1", r"firewire:1: no such file or folder; .* or usb:, watch:, gstreamer:, basler:, aravis:, gentl: and what"),
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


@pytest.mark.parametrize("source", [".", "0", "rtsp://camera/belt", "basler:", "watch:."])
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
        ("rtsp:/anna:secret@camera/belt", "rtsp:/anna:***@camera/belt"),
        ("http://camera/video.cgi?pw=secret&loginpas=secret&fps=5", "http://camera/video.cgi?pw=***&loginpas=***&fps=5"),
        ("http://camera/video.cgi?user=anna&pwd=secret&fps=5", "http://camera/video.cgi?user=anna&pwd=***&fps=5"),
        ("http://anna:secret@camera/video?token=a@b", "http://anna:***@camera/video?token=***"),
        ("rtsp://camera/user=admin_password=secret_channel=1.sdp", "rtsp://camera/user=admin_password=***"),
        (
            "gstreamer:rtspsrc location=rtsp://anna:se@cret@cam/a user-pw=secret ! decodebin",
            "gstreamer:rtspsrc location=rtsp://anna:***@cam/a user-pw=*** ! decodebin",
        ),
        (
            'gstreamer:souphttpsrc location="http://a:secret@b/c" user-pw="my secret"',
            'gstreamer:souphttpsrc location="http://a:***@b/c" user-pw=***',
        ),
        (
            "gstreamer:x264enc key-int-max=30 ! v4l2src device=/dev/video0",
            "gstreamer:x264enc key-int-max=30 ! v4l2src device=/dev/video0",
        ),
        (" rtsp://anna:my secret@camera/belt", " rtsp://anna:***@camera/belt"),
        ("rtsp:anna:secret@camera/belt", "rtsp:anna:***@camera/belt"),
        ("-rtsp://anna:secret@camera/belt", "-rtsp://anna:***@camera/belt"),
        ("watch:smb://anna:secret@host/share", "watch:smb:***@host/share"),
        ("http://camera/video.cgi?usr=anna&psw=secret&fps=5", "http://camera/video.cgi?usr=anna&psw=***&fps=5"),
        ("basler:4001", "basler:4001"),
        ("watch:/mnt/a:b", "watch:/mnt/a:b"),
        ("usb:/dev/v4l/by-id/usb-a@b", "usb:/dev/v4l/by-id/usb-a@b"),
    ],
)
def test_a_password_is_never_shown(source: str, expected: str) -> None:
    assert shown(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        " rtsp://anna:secret@h/x",
        "rtsp:anna:secret@h/x",
        "rtsp:/anna:secret@h/x",
        "rtmp://anna:secret@h/x",
        "watch:smb://anna:secret@h/share",
        "watch:rtsp:anna:secret@h/x",
        "usb:rtsp://anna:secret@h/x",
        "gentl:http://anna:secret@h/x.cti",
        "-rtsp://anna:secret@h/x",
        "rtsp://127.0.0.1:9/x?psw=secret",
    ],
)
def test_no_password_stands_in_what_opening_raises(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CameraError) as caught:
        open_camera(source)
    assert "secret" not in str(caught.value)
    say_error(f"station.yaml: the camera {source.strip()} is unknown")
    assert "secret" not in capsys.readouterr().err


def test_a_library_s_message_is_shown_without_a_password() -> None:
    said = "Could not connect to rtsp://anna:secret@cam/belt (401), user-pw = secret"
    assert without_secrets(said) == "Could not connect to rtsp://anna:***@cam/belt (401), user-pw = ***"


@pytest.mark.parametrize("source", ["folder", "part.png", "shades.avi", "rtsp://camera/belt", "http://camera/belt"])
def test_settings_of_what_has_none_are_refused(
    source: str, tmp_path: Path, write_video: WriteVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("part.png", "folder/part.png"):
        cv2.imwrite(str(tmp_path / name), SHADES[0])
    write_video(tmp_path / "shades.avi", SHADES)
    with pytest.raises(CameraError, match="exposure, white_balance cannot be set here, only rotation can"):
        open_camera(source, settings=CameraSettings(exposure=100, white_balance="auto"))
    if "://" not in source:
        with open_camera(source, settings=CameraSettings(rotation=90)) as camera:
            frame = camera.read()
        assert frame is not None
        assert frame.picture.shape == (64, 48, 3)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("0", "0"),
        ("usb:0", "usb:0"),
        ("rtsp://camera/belt", "rtsp://camera/belt"),
        ("basler:4001", "basler:4001"),
        ("gstreamer:videotestsrc", "gstreamer:videotestsrc"),
        ("belt.mp4", "/station/belt.mp4"),
        ("/pictures", "/pictures"),
        ("watch:drop", "watch:/station/drop"),
        ("watch:/drop", "watch:/drop"),
        ("gentl:maker.cti#7", "gentl:/station/maker.cti#7"),
    ],
)
def test_what_a_station_names_lies_beside_it(source: str, expected: str) -> None:
    assert seen_from(Path("/station"), source) == expected


@pytest.mark.parametrize("source", ["gstreamer:videotestsrc", "aravis:", "basler:", "gentl:maker.cti"])
def test_an_absent_sdk_says_what_to_install(source: str) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('gi', 'pypylon', 'harvesters', 'genicam')))\n"
        f"from deploy.cameras import open_camera\ntry: open_camera({source!r})\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(deploy.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    install = "apt install python3-gi" if source[0] in "ga" and "gentl" not in source else "pip install 'line-inspector"
    assert done.stdout.startswith("CameraError ")
    assert f"install it: {install}" in done.stdout

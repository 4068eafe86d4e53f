"""Recordings that are complete, and recordings that are not."""

import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import MagicMock

import cv2
import numpy as np
import pytest

from deploy.cameras import Unreadable, open_camera, video, webcam
from deploy.cameras.newest import NewestOnly
from deploy.cameras.paced import Paced
from deploy.cameras.video import VideoFile
from deploy.errors import CameraError, CameraLost

FRAMES = 100
KINDS = [(".mp4", "mp4v"), (".avi", "MJPG"), (".mkv", "MJPG"), (".mkv", "mp4v"), (".mov", "mp4v"), (".wmv", "WMV2")]
Record = Callable[[str, str], Path]


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """A recording of noise, because a compressed still picture is hardly any bytes to cut off."""
    rng = np.random.default_rng(0)

    def record(suffix: str, codec: str) -> Path:
        path = tmp_path / f"{codec}{suffix}"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25, (160, 120))
        assert writer.isOpened()
        for _ in range(FRAMES):
            writer.write(rng.integers(0, 255, (30, 40, 3), np.uint8).repeat(4, 0).repeat(4, 1))
        writer.release()
        return path

    return record


def cut(path: Path, share: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    return path


def read_all(path: Path) -> int:
    with VideoFile(path) as video:
        return sum(1 for _ in iter(video.read, None))


@pytest.mark.parametrize(("suffix", "codec"), KINDS)
def test_a_complete_recording_ends_without_a_complaint(record: Record, suffix: str, codec: str) -> None:
    assert read_all(record(suffix, codec)) == FRAMES


@pytest.mark.parametrize(("suffix", "codec"), [kind for kind in KINDS if kind[0] in (".avi", ".mkv")])
def test_a_recording_that_was_cut_short_says_so_once_and_then_ends(record: Record, suffix: str, codec: str) -> None:
    with VideoFile(cut(record(suffix, codec), 0.5)) as video:
        with pytest.raises(Unreadable, match=r"states 100 frames, but only \d+ could be read; it was cut short") as caught:
            list(iter(video.read, None))
        assert 30 < caught.value.sequence < 60
        assert video.read() is None


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "mp4v"), (".mov", "mp4v")])
def test_a_cut_mp4_has_lost_its_index_and_does_not_open(record: Record, suffix: str, codec: str) -> None:
    with pytest.raises(CameraError, match="no frame could be read from this video"):
        VideoFile(cut(record(suffix, codec), 0.9))


@pytest.mark.parametrize(("suffix", "codec"), KINDS)
def test_a_recording_with_a_hole_is_not_taken_for_a_complete_one(record: Record, suffix: str, codec: str) -> None:
    path = record(suffix, codec)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) * 6 // 10] = bytes(len(data) * 6 // 10 - len(data) // 2)
    path.write_bytes(data)
    with pytest.raises(Unreadable, match="it was cut short or is damaged"):
        read_all(path)


def test_a_cut_recording_replayed_as_a_live_camera_is_not_begun_again(record: Record) -> None:
    path = cut(record(".avi", "MJPG"), 0.2)
    with NewestOnly(lambda: Paced(VideoFile(path))) as camera:
        complaints = []
        while True:
            try:
                if camera.read() is None:
                    break
            except (Unreadable, CameraLost) as error:
                complaints.append(str(error))
    assert len(complaints) == 1
    assert "but only 20 could be read" in complaints[0] or "but only 21 could be read" in complaints[0]


@pytest.mark.parametrize("error", [cv2.error("Insufficient memory"), MemoryError(), CameraLost("gone")])
def test_a_camera_whose_first_frame_fails_is_let_go_of(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    device = MagicMock()
    device.get.return_value = 25.0
    device.retrieve.side_effect = error
    monkeypatch.setattr(video, "_open", lambda *_: device)
    with pytest.raises(CameraError if isinstance(error, CameraLost) else type(error)):
        video.LiveVideo(0)
    device.release.assert_called_once()


def test_a_webcam_whose_settings_fail_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    device = MagicMock()
    monkeypatch.setattr(video, "LiveVideo", lambda *_: device)
    monkeypatch.setattr(webcam, "configure", MagicMock(side_effect=MemoryError))
    with pytest.raises(CameraError, match="MemoryError"):
        open_camera("0")
    device.close.assert_called_once()


def test_a_stream_whose_clock_is_set_back_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    device = MagicMock()
    stream_ms = iter([*range(1000, 3000, 20), *range(2500, 9000, 20)])

    def grab() -> bool:
        time.sleep(0.02)
        return True

    device.grab.side_effect = grab
    device.get.side_effect = lambda wanted: next(stream_ms) if wanted == cv2.CAP_PROP_POS_MSEC else 50.0
    device.retrieve.return_value = (True, np.zeros((4, 4, 3), np.uint8))
    monkeypatch.setattr(video, "_open", lambda *_: device)
    camera = video.LiveVideo("rtsp://camera/belt")
    with pytest.raises(CameraLost, match=r"clock was set back by 0\.5 s"):
        list(iter(camera.read, None))

"""Recordings that are complete, and recordings that are not."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from deploy.cameras import Unreadable
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

"""Videos, webcams and network streams through OpenCV."""

import math
import os
import time
from pathlib import Path

import cv2
import numpy as np

from deploy.cameras import Camera, Frame, shown
from deploy.errors import CameraError, CameraLost
from deploy.preprocess import Picture

OPEN_TIMEOUT_MS = 4000
READ_TIMEOUT_MS = 1500


class VideoFile(Camera):
    """A recording, read in step: every frame once. Raises CameraError for what is no video."""

    def __init__(self, path: Path) -> None:
        self.live = False
        self._capture = _open(str(path))
        self._sequence = 0
        self._first = _next_picture(self._capture)
        if self._first is None:
            self._capture.release()
            with path.open("rb") as file:
                found = f"{path.stat().st_size} bytes, starting with {file.read(8)!r}"
            raise CameraError(f"{path}: no frame could be read from this video ({found}); expected MP4, AVI or MKV, or a picture")
        self.fps = _stated_fps(self._capture)

    def read(self) -> Frame | None:
        """See `deploy.cameras.Camera.read`."""
        captured_at = time.monotonic()
        picture, self._first = (self._first, None) if self._first is not None else (_next_picture(self._capture), None)
        if picture is None:
            return None
        self._sequence += 1
        return Frame(picture, captured_at, self._sequence, f"frame {self._sequence}")

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


class LiveVideo(Camera):
    """A webcam (its number) or a stream (its address). It counts as open once it has delivered a first frame.

    Raises CameraError when it does not open, CameraLost when it stops delivering. Lost is for good: open it anew.
    """

    def __init__(self, device: int | str) -> None:
        self.live = True
        self._name = f"webcam {device}" if isinstance(device, int) else shown(device)
        self._capture = _open(device)
        self._sequence = 0
        # A camera may take seconds over its first frame, so no limit is put on it; some devices open and never deliver any.
        if _next_picture(self._capture) is None:
            self._capture.release()
            raise CameraError(f"{self._name}: {_why_not(device)}")
        self.fps = _stated_fps(self._capture)

    def read(self) -> Frame:
        """See `deploy.cameras.Camera.read`."""
        started = time.monotonic()
        picture = _next_picture(self._capture)
        took = time.monotonic() - started
        if picture is None:
            raise CameraLost(f"{self._name} stopped delivering frames; check its cable, power and network")
        # FFMPEG answers a read that timed out with True and an old buffered frame.
        if took >= 0.9 * READ_TIMEOUT_MS / 1000:
            raise CameraLost(f"{self._name} delivered nothing for {took:.1f} s; check its cable, power and network")
        self._sequence += 1
        return Frame(picture, time.monotonic(), self._sequence, f"frame {self._sequence}")

    def close(self) -> None:
        """Release the device."""
        self._capture.release()


def _open(device: int | str) -> cv2.VideoCapture:
    # OpenCV and FFMPEG tell the terminal their own stories about every failed attempt; ours is one sentence.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # A silent USB camera would block each read for 10 s.
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "2")
    if isinstance(device, int):
        capture = cv2.VideoCapture(device)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # older frames wait in the driver otherwise
        return capture
    timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS]
    return cv2.VideoCapture(device, cv2.CAP_FFMPEG, timeouts)


def _next_picture(capture: cv2.VideoCapture) -> Picture | None:
    # isOpened() stays True after a camera is gone: only what read() brings tells.
    delivered, picture = capture.read()
    return np.asarray(picture, np.uint8) if delivered and picture is not None and picture.size else None


def _stated_fps(capture: cv2.VideoCapture) -> float | None:
    fps = capture.get(cv2.CAP_PROP_FPS)
    return fps if math.isfinite(fps) and 0 < fps <= 1000 else None


def _why_not(device: int | str) -> str:
    if isinstance(device, str):
        return (
            "no stream could be opened at this address; check that the camera is on and reachable from here, "
            "its user and password, and the path of the stream"
        )
    present = sorted(file.name for file in Path("/dev").glob("video*"))
    return f"no such camera or it delivers no picture; this machine has {', '.join(present) or 'no /dev/video* at all'}" + (
        "; use the number of one of these" if present else "; plug the camera in, or give a video, a folder or an address"
    )

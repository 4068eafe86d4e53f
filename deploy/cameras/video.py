"""Videos, webcams and network streams through OpenCV."""

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from deploy.addresses import shown
from deploy.cameras import PATIENCE_S, Camera, Frame, Unreadable
from deploy.cameras.fresh import Freshness
from deploy.errors import CameraError, CameraLost
from deploy.preprocess import Picture

OPEN_TIMEOUT_MS = 3000
"""Opening takes 1.2 s on a quiet machine. What hangs longer may be a camera that came back in between: start afresh."""
SILENCE = 0.75
"""Share of a live camera's limit after which a read is given up, so that the camera is closed properly instead of abandoned."""
MISSING = 0.01
"""Containers lie by a frame or two, and those that only state a duration by more: this share of the frames may be missing."""


class VideoFile(Camera):
    """A recording, read in step: every frame once. Raises CameraError for what is no video.

    One that breaks off before its stated end raises Unreadable there, once, so that it is not taken for a complete one.
    """

    def __init__(self, path: Path) -> None:
        self.live = False
        self._path = path
        self._capture = _open(str(path))
        self._sequence = 0
        self._first = _next_picture(self._capture)
        if self._first is None:
            self._capture.release()
            with path.open("rb") as file:
                found = f"{path.stat().st_size} bytes, starting with {file.read(8)!r}"
            raise CameraError(f"{path}: no frame could be read from this video ({found}); expected MP4, AVI or MKV, or a picture")
        self.fps = _stated_fps(self._capture)
        self._stated = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)

    def read(self) -> Frame | None:
        """See `deploy.cameras.Camera.read`."""
        captured_at = time.monotonic()
        picture, self._first = (self._first, None) if self._first is not None else (_next_picture(self._capture), None)
        if picture is None:
            stated, self._stated = self._stated, 0.0  # negative where the container states none
            if stated - self._sequence > max(2.0, MISSING * stated):
                raise Unreadable(
                    f"{self._path}: the video states {stated:.0f} frames, but only {self._sequence} could be read; it was cut "
                    "short or is damaged: copy or record it again",
                    self._sequence + 1,
                    f"frame {self._sequence + 1}",
                )
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

    def __init__(self, device: int | str, limit_s: float = PATIENCE_S) -> None:
        """`limit_s`: how long a camera may be silent in all; below twice the time between two frames none works."""
        started = time.monotonic()
        self.live = True
        self._name = f"webcam {device}" if isinstance(device, int) else shown(device)
        self._has_clock = isinstance(device, str) and device.lower().startswith(("rtsp://", "rtsps://"))
        self._silence_s = SILENCE * limit_s
        timeout_ms = round(1000 * self._silence_s)
        # One decoding thread: each further one holds back a frame, unseen, which on twelve cores makes every frame 0.5 s old.
        self._capture = _open(device, [cv2.CAP_PROP_N_THREADS, 1, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms])
        self._sequence = 0
        # A camera may take seconds over its first frame, so no limit is put on it; some devices open and never deliver any.
        try:
            self.fps = _stated_fps(self._capture)
            self._freshness = Freshness(started, self.fps)
            self._first: Frame | None = self._next(math.inf)
        except BaseException as error:
            self._capture.release()
            if isinstance(error, CameraLost):
                raise CameraError(f"{self._name}: {_why_not(device)}") from error
            raise

    def read(self) -> Frame:
        """See `deploy.cameras.Camera.read`."""
        first, self._first = self._first, None
        # FFMPEG answers a read that timed out with True and an old buffered frame.
        return first or self._next(0.9 * self._silence_s)

    def _next(self, limit_s: float) -> Frame:
        while True:
            started = time.monotonic()
            delivered = self._capture.grab()
            arrived = time.monotonic()
            if delivered and arrived - started >= limit_s:
                raise CameraLost(
                    f"{self._name} delivered nothing for {arrived - started:.1f} s; check its cable, power and network"
                )
            stream_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 if self._has_clock else 0.0
            captured_at = self._freshness.captured_at(arrived, stream_s if stream_s > 0 else None)
            self._sequence += delivered
            if delivered and captured_at is None:
                continue  # a network camera begins with a second of old frames: they are not even converted
            picture = _retrieved(self._capture) if delivered else None
            if picture is None or captured_at is None:
                raise CameraLost(f"{self._name} stopped delivering frames; check its cable, power and network")
            return Frame(picture, captured_at, self._sequence, f"frame {self._sequence}")

    def close(self) -> None:
        """Release the device."""
        self._capture.release()


def _open(device: int | str, more: Sequence[int] = ()) -> cv2.VideoCapture:
    # OpenCV and FFMPEG tell the terminal their own stories about every failed attempt; ours is one sentence.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # A silent USB camera would block each read for 10 s.
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "2")
    if isinstance(device, int):
        capture = cv2.VideoCapture(device, cv2.CAP_V4L2)  # or FFMPEG opens another camera where this one is gone
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # older frames wait in the driver otherwise
        return capture
    return cv2.VideoCapture(device, cv2.CAP_FFMPEG, [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS, *more])


def _next_picture(capture: cv2.VideoCapture) -> Picture | None:
    # isOpened() stays True after a camera is gone: only what grab() brings tells.
    return _retrieved(capture) if capture.grab() else None


def _retrieved(capture: cv2.VideoCapture) -> Picture | None:
    decoded, picture = capture.retrieve()
    return np.asarray(picture, np.uint8) if decoded and picture is not None and picture.size else None


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

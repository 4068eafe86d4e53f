"""Picture sources behind one protocol: folders, videos, webcams and network streams."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deploy.errors import CameraError, DatasetError
from deploy.preprocess import Picture

LIVE_SCHEMES = ("rtsp://", "rtsps://", "http://", "https://")
_SECRET = re.compile(r"([?&](?:pass\w*|pwd|auth|secret|token|\w*key)=)[^&#]*", re.IGNORECASE)


@dataclass(frozen=True)
class Frame:
    """One picture and when it was taken."""

    picture: Picture
    captured_at: float
    """time.monotonic() seconds, stamped by us: cameras' own clocks drift and jump."""
    sequence: int
    """Counts every frame the source delivered, from 1: a gap is the number of frames that were dropped."""
    name: str
    """File name within the folder, or "frame 123"."""


class Unreadable(DatasetError):
    """One picture of a recording does not decode; the next read() goes on with the picture after it."""

    def __init__(self, message: str, sequence: int, name: str) -> None:
        super().__init__(message)
        self.sequence = sequence
        self.name = name


class Camera(Protocol):
    """Something that delivers frames."""

    live: bool
    """Frames happen whether we read them or not, so they can be too old to judge."""
    fps: float | None
    """Frames per second as the source states it; None where there is no such thing."""

    def read(self) -> Frame | None:
        """The next frame; None when a recording has ended.

        Raises CameraLost while a live camera delivers nothing (keep reading: it is reopened), Unreadable for one bad picture.
        """

    def has_news(self) -> bool:
        """Would read() answer at once? A recording always does; who serves a screen must not wait for a live camera."""
        return True

    def close(self) -> None:
        """Let go of the device or file."""

    def __enter__(self) -> "Camera":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_camera(source: str, realtime: bool = False) -> Camera:
    """Open a webcam index, a folder of pictures, a picture, a video file or a stream's address.

    Live sources deliver only their newest frame. `realtime` replays a video file at its own rate as though it were live.
    Raises CameraError saying what was found, what was expected, and what to do.
    """
    from deploy.cameras.folder import PictureFolder, is_picture
    from deploy.cameras.newest import NewestOnly, Paced
    from deploy.cameras.video import LiveVideo, VideoFile

    is_live = source.isdecimal() or source.lower().startswith(LIVE_SCHEMES)
    path = Path(source)
    is_video = not is_live and path.is_file() and not is_picture(path)
    if realtime and not is_video:
        raise CameraError(f"--realtime replays a video file, but {shown(source)} is none; leave --realtime out")
    if is_live:
        device = int(source) if source.isdecimal() else source
        return NewestOnly(lambda: LiveVideo(device))
    if is_video:
        return NewestOnly(lambda: Paced(VideoFile(path))) if realtime else VideoFile(path)
    if path.exists():
        return PictureFolder(path)
    if "://" in source:
        raise CameraError(f"{shown(source)}: streams are read from {', '.join(LIVE_SCHEMES)}; use one of these addresses")
    raise CameraError(
        f"{source}: no such file or folder; give a folder of pictures, a video file, a webcam's number (0, 1, …) "
        "or an address such as rtsp://camera/stream"
    )


def shown(source: str) -> str:
    """The source as it may be shown and stored: an address without its password, wherever it stands."""
    scheme, found, rest = source.partition("://")
    if not found:
        return source
    rest = _SECRET.sub(r"\1***", rest)
    credentials, at, host = rest.rpartition("@")
    return f"{scheme}://{credentials.partition(':')[0]}:***@{host}" if at and ":" in credentials else f"{scheme}://{rest}"

"""Picture sources behind one protocol: folders, videos, webcams, network streams and industrial cameras."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from deploy.addresses import shown
from deploy.errors import CameraError, DatasetError
from deploy.preprocess import Picture

if TYPE_CHECKING:
    from deploy.cameras.settings import CameraSettings
    from deploy.cameras.state import Change

PATIENCE_S = 2.0
"""Without a true frame for so long a live camera is lost, unless its user says otherwise; no older frame is handed out."""
_Opened = TypeVar("_Opened", bound="Camera")
LIVE_SCHEMES = ("rtsp://", "rtsps://", "http://", "https://")
DRIVERS = ("usb", "watch", "gstreamer", "basler", "aravis", "gentl")
"""What may stand before a colon, for cameras that have no address."""


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

    def __enter__(self: _Opened) -> _Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_camera(
    source: str,
    realtime: bool = False,
    settings: "CameraSettings | None" = None,
    limit_s: float = PATIENCE_S,
    listener: "Callable[[Change], None] | None" = None,
) -> Camera:
    """Open any source by the words a user gives for it; `inspector cameras` lists those of the cameras that are there.

    A webcam's number or `usb:0`, `usb:/dev/v4l/by-id/...`; an address rtsp:// or http://; a video file; a folder of pictures, or
    a picture; `watch:FOLDER`, the pictures that another program drops there; `gstreamer:PIPELINE`; `basler:SERIAL`;
    `aravis:NAME` (GigE and USB3 Vision); `gentl:PRODUCER.cti#SERIAL`. SERIAL and NAME may be left out where there is only one.

    Live sources deliver only their newest frame; without one for `limit_s` seconds they are lost, and `listener` hears of every
    change of their state (see `deploy.cameras.newest`). `realtime` replays a video file at its own rate as though it were live.
    Raises CameraError saying what was found, what was expected, and what to do; also for settings that the camera does not have.
    """
    from deploy.cameras.newest import NewestOnly
    from deploy.cameras.settings import CameraSettings, refuse_all, turned

    settings = settings or CameraSettings()
    if opener := _live(source, settings, limit_s):
        if realtime:
            raise CameraError(f"--realtime replays a video file, but {shown(source)} is none; leave --realtime out")
        open_again = opener
        return NewestOnly(lambda: turned(open_again(), settings), limit_s=limit_s, listener=listener)

    from deploy.cameras.folder import PictureFolder, is_picture
    from deploy.cameras.paced import Paced
    from deploy.cameras.video import VideoFile

    path = Path(source)
    is_video = path.is_file() and not is_picture(path)
    if realtime and not is_video:
        raise CameraError(f"--realtime replays a video file, but {shown(source)} is none; leave --realtime out")
    if path.exists():
        refuse_all(source, settings, "its pictures are taken already")
    if is_video and realtime:
        return NewestOnly(lambda: turned(Paced(VideoFile(path)), settings), limit_s=limit_s, listener=listener)
    if is_video:
        return turned(VideoFile(path), settings)
    if path.exists():
        return turned(PictureFolder(path), settings)
    if "://" in source:
        raise CameraError(f"{shown(source)}: streams are read from {', '.join(LIVE_SCHEMES)}; use one of these addresses")
    raise CameraError(
        f"{shown(source)}: no such file or folder; give a folder of pictures, a video file, a webcam's number (0, 1, …), "
        f"an address such as rtsp://camera/stream, or {':, '.join(DRIVERS)}: and what `inspector cameras` lists"
    )


def _live(source: str, settings: "CameraSettings", limit_s: float) -> Callable[[], Camera] | None:
    """What opens a live source, each time anew; None for what is no live source."""
    from deploy.cameras.settings import refuse_all

    driver, colon, which = source.partition(":")
    if source.isdecimal():
        driver, which = "usb", source
    elif source.lower().startswith(LIVE_SCHEMES):
        from deploy.cameras.video import LiveVideo

        refuse_all(shown(source), settings, "set it in the camera's own page")
        return lambda: LiveVideo(source, limit_s)
    elif not colon or driver not in DRIVERS:
        return None
    return _driver(driver, which, settings, limit_s)


def _driver(driver: str, which: str, settings: "CameraSettings", limit_s: float) -> Callable[[], Camera]:
    from deploy.cameras.pulled import Pulled

    if driver == "usb":
        from deploy.cameras.webcam import Socket

        socket = Socket(which)
        return lambda: _webcam(socket.number(), settings, limit_s)
    if driver == "watch":
        from deploy.cameras.settings import refuse_all
        from deploy.cameras.watched import Known, WatchedFolder

        refuse_all(shown(f"watch:{which}"), settings, "its pictures are taken by another program")
        known = Known()
        return lambda: WatchedFolder(Path(which), known)
    if driver == "gstreamer":
        from deploy.cameras.gstreamer import Pipeline

        return lambda: Pulled(Pipeline(which, settings), limit_s)
    if driver == "basler":
        from deploy.cameras.basler import Basler

        return lambda: Pulled(Basler(which, settings), limit_s)
    if driver == "aravis":
        from deploy.cameras.aravis import Aravis

        return lambda: Pulled(Aravis(which, settings), limit_s)
    from deploy.cameras.gentl import GenTL

    producer, _, serial = which.partition("#")
    return lambda: Pulled(GenTL(Path(producer), serial, settings), limit_s)


def _webcam(number: int, settings: "CameraSettings", limit_s: float) -> Camera:
    from deploy.cameras.video import LiveVideo
    from deploy.cameras.webcam import configure

    camera = LiveVideo(number, limit_s)
    try:
        configure(number, settings)
    except BaseException:
        camera.close()
        raise
    return camera


def seen_from(folder: Path, source: str) -> str:
    """The source with its file or folder taken relative to `folder`: what station.yaml names lies beside it."""
    driver, colon, which = source.partition(":")
    if source.isdecimal() or "://" in source:
        return source
    if colon and driver in DRIVERS:
        return f"{driver}:{folder / which}" if driver in ("watch", "gentl") else source
    return str(folder / source)

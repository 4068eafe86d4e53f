"""What `inspector cameras` shows: every camera that is there, with the words to open it, and what the missing routes need."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from deploy.cameras import aravis, basler, gentl, gobject, webcam
from deploy.errors import CameraError


@dataclass(frozen=True)
class Found:
    """One camera."""

    uri: str
    description: str


@dataclass(frozen=True)
class Route:
    """One way to cameras, and what was found on it."""

    name: str
    cameras: list[Found]
    trouble: str | None
    """Why nothing could be looked for, with what to install; None where we could look."""


def list_cameras(console: Console) -> None:
    """Print every camera with its URI, and one line for each route that found none or cannot be used."""
    routes = [look(name, search) for name, search in _ROUTES]
    cameras = [camera for route in routes for camera in route.cameras]
    widest = max((len(camera.uri) for camera in cameras), default=0)
    for camera in cameras:
        console.print(f"{camera.uri:{widest}}  {camera.description}", highlight=False, markup=False, soft_wrap=True)
    for route in routes:
        if route.trouble is not None or not route.cameras:
            console.print(f"{route.name}: {route.trouble or 'none found'}", highlight=False, markup=False, soft_wrap=True)


def look(name: str, search: Callable[[], list[Found]]) -> Route:
    """Search one route; its failure is told, and keeps no other route from being searched."""
    try:
        return Route(name, search(), None)
    except CameraError as error:
        return Route(name, [], str(error))


def _webcams() -> list[Found]:
    return [Found(f"usb:{found.number}", f"{found.name} ({found.driver or 'V4L2'})") for found in webcam.devices()]


def _basler() -> list[Found]:
    return [Found(f"basler:{serial}", description) for serial, description in basler.devices()]


def _aravis() -> list[Found]:
    return [Found(f"aravis:{name}", description) for name, _, description in aravis.devices()]


def _gentl() -> list[Found]:
    gentl.load()
    producers = [file for folder in _producer_folders() for file in sorted(folder.glob("*.cti"))]
    if not producers:
        raise CameraError("no producer found; install the one of the camera's maker, which sets GENICAM_GENTL64_PATH")
    return [Found(f"gentl:{file}#{serial}", text) for file in producers for serial, text in gentl.devices(file)]


def _gstreamer() -> list[Found]:
    gst, _ = gobject.gstreamer()
    if gst.ElementFactory.find("nvarguscamerasrc") is None:
        return []
    camera = "nvarguscamerasrc sensor-id=0 ! nvvidconv ! video/x-raw,format=BGRx"
    return [Found(f"gstreamer:{camera}", "CSI camera of this Jetson, where one is plugged in")]


def _producer_folders() -> list[Path]:
    listed = os.environ.get("GENICAM_GENTL64_PATH", "")
    return [Path(folder) for folder in dict.fromkeys(listed.split(os.pathsep)) if folder]


_ROUTES: tuple[tuple[str, Callable[[], list[Found]]], ...] = (
    ("USB webcams (V4L2)", _webcams),
    ("Basler (pypylon)", _basler),
    ("GigE and USB3 Vision (Aravis)", _aravis),
    ("GenTL (harvesters)", _gentl),
    ("GStreamer (Jetson CSI)", _gstreamer),
)

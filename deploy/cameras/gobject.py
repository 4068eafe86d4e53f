"""GObject libraries (GStreamer, Aravis) through PyGObject, which comes with the system and not from pip."""

from functools import cache
from typing import Any

from deploy.cameras.pulled import sdk

_VENV = "and make the virtual environment with `python3 -m venv --system-site-packages`"
GSTREAMER = (
    f"apt install python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-base "
    f"gstreamer1.0-plugins-good, {_VENV}"
)
ARAVIS = f"apt install python3-gi gir1.2-aravis-0.8, {_VENV}"


@cache
def gstreamer() -> tuple[Any, Any]:
    """The modules Gst (initialised) and GLib. Raises CameraError where they are not installed."""
    with sdk("GStreamer", GSTREAMER):
        import gi

        gi.require_version("Gst", "1.0")
        gi.require_version("GstApp", "1.0")
        from gi.repository import GLib, Gst, GstApp  # noqa: F401  GstApp gives appsink its methods
    Gst.init(None)
    return Gst, GLib


@cache
def aravis() -> tuple[Any, Any]:
    """The modules Aravis and GLib. Raises CameraError where they are not installed."""
    with sdk("Aravis (GigE Vision, USB3 Vision)", ARAVIS):
        import gi

        gi.require_version("Aravis", "0.8")
        from gi.repository import Aravis, GLib
    return Aravis, GLib

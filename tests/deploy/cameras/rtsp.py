"""The camera of rtsp_camera.py as a process, to be killed, frozen and thawed."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

SYSTEM_PYTHON = "/usr/bin/python3"
SCRIPT = Path(__file__).with_name("rtsp_camera.py")
NEEDED = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst, GstRtspServer; Gst.init(None)"
NEEDED += "; assert Gst.ElementFactory.find('x264enc')"


def missing_for_rtsp() -> str | None:
    """What to install; None where everything is there."""
    nowhere = subprocess.DEVNULL
    found = Path(SYSTEM_PYTHON).exists() and not subprocess.call(
        [SYSTEM_PYTHON, "-c", NEEDED], stdin=nowhere, stdout=nowhere, stderr=nowhere
    )
    return None if found else "apt-get install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-ugly"


class RtspCamera:
    """The camera's process, on a port of its own."""

    def __init__(self, fps: int) -> None:
        self.port = free_port()
        self._fps = fps
        self.address = f"rtsp://127.0.0.1:{self.port}/belt"
        self._process: subprocess.Popen[bytes] | None = None

    def plug_in(self) -> float:
        """When it can be reached again, in time.monotonic() seconds."""
        self._process = subprocess.Popen(
            [SYSTEM_PYTHON, str(SCRIPT), str(self.port), str(self._fps)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return time.monotonic()
            time.sleep(0.01)
        raise AssertionError("the RTSP camera did not start")

    def unplug(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> float:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)
        return time.monotonic()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port

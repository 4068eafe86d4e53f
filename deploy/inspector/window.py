"""The annotated frames on the screen."""

import os
import subprocess
import sys

import cv2

from deploy.errors import StationError
from deploy.preprocess import Picture

TITLE = "inspector - q or Esc ends"
ESCAPE = 27


class Window:
    """A window on the screen; raises StationError where there is no screen."""

    def __init__(self, pause_ms: int) -> None:
        quiet_windows()
        _check_screen()
        self._pause_ms = pause_ms
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL)

    def show(self, drawn: Picture | None) -> bool:
        """Show one frame, or go on showing the last one; False once the user has closed the window or pressed q or Esc."""
        if drawn is not None:
            cv2.imshow(TITLE, drawn)
        key = cv2.waitKey(self._pause_ms if drawn is not None else 1) & 0xFF
        return key not in (ord("q"), ESCAPE) and is_open(TITLE)

    def close(self) -> None:
        """Take the window from the screen."""
        cv2.destroyAllWindows()


def is_open(title: str) -> bool:
    """Has the user left this window open?"""
    try:
        return cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1
    except cv2.error:  # OpenCV 5 with Qt, once the window was closed by its cross
        return False


def has_screen() -> bool:
    """Is there a screen that lets us in, and an OpenCV that can open windows?"""
    # OpenCV's window aborts the whole process where there is none: so a child tries first.
    probe = [sys.executable, "-c", "import cv2; cv2.namedWindow('probe')"]
    return subprocess.run(probe, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def no_screen() -> str:
    """What stands in the way of a window, in words."""
    display = os.environ.get("DISPLAY")
    found = f"DISPLAY={display} cannot be opened" if display else "DISPLAY is not set"
    return f"{found} (or OpenCV is the headless one)"


def quiet_windows() -> None:
    """Before the first window: Qt complains of fonts that no one has asked for."""
    os.environ.setdefault("QT_LOGGING_RULES", "*.warning=false")


def _check_screen() -> None:
    if not has_screen():
        raise StationError(
            f"--show needs a screen, but {no_screen()}; run it from a desktop session "
            "with opencv-python installed, or leave --show out and use --annotate DIR"
        )

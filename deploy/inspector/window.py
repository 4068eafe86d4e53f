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
        os.environ.setdefault("QT_LOGGING_RULES", "*.warning=false")  # Qt complains of fonts that no one has asked for
        _check_screen()
        self._pause_ms = pause_ms
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL)

    def show(self, drawn: Picture) -> bool:
        """Show one frame; False once the user has closed the window or pressed q or Esc."""
        cv2.imshow(TITLE, drawn)
        key = cv2.waitKey(self._pause_ms) & 0xFF
        return key not in (ord("q"), ESCAPE) and cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1

    def close(self) -> None:
        """Take the window from the screen."""
        cv2.destroyAllWindows()


def _check_screen() -> None:
    # Without a screen that lets us in, OpenCV's window aborts the whole process: so a child tries first.
    probe = [sys.executable, "-c", "import cv2; cv2.namedWindow('probe')"]
    if subprocess.run(probe, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0:
        return
    display = os.environ.get("DISPLAY")
    found = f"DISPLAY={display} cannot be opened" if display else "DISPLAY is not set"
    raise StationError(
        f"--show needs a screen, but {found} (or OpenCV is the headless one); run it from a desktop session "
        "with opencv-python installed, or leave --show out and use --annotate DIR"
    )

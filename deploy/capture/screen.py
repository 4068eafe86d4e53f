"""The window: live picture, status, buttons to click and the same actions on keys."""

from collections import deque

import cv2

from deploy.capture.board import HEIGHT, WIDTH, buttons_for, clicked, draw
from deploy.capture.keys import Key
from deploy.capture.status import Status
from deploy.inspector.window import is_open, quiet_windows
from deploy.preprocess import Picture

TITLE = "inspector capture"
PAUSE_MS = 20
_KEYPAD_0 = 0xFFB0


class Screen:
    """A window on the screen; ask `deploy.inspector.window.has_screen` first. Closing it ends the session."""

    scripted = False

    def __init__(self, keys: tuple[Key, ...]) -> None:
        quiet_windows()
        self._buttons = buttons_for(keys)
        self._clicks: deque[str] = deque()
        self._drawn: tuple[int, Status] | None = None
        # Qt would put a tool bar above the picture, whose buttons are not ours.
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        cv2.resizeWindow(TITLE, WIDTH, HEIGHT)
        cv2.setMouseCallback(TITLE, self._on_mouse)

    def next_key(self, picture: Picture | None, status: Status) -> str | None:
        """See `deploy.capture.status.Interface`."""
        now = (id(picture), status)
        if now != self._drawn:
            cv2.imshow(TITLE, draw(picture, status, self._buttons))
            self._drawn = now
        pressed = key_of(cv2.waitKeyEx(PAUSE_MS))
        if not is_open(TITLE):
            return "q"
        return self._clicks.popleft() if self._clicks else pressed

    def close(self) -> None:
        """Take the window from the screen."""
        cv2.destroyAllWindows()

    def _on_mouse(self, event: int, x: int, y: int, *_: object) -> None:
        key = clicked(self._buttons, x, y) if event == cv2.EVENT_LBUTTONDOWN else None
        if key is not None:
            self._clicks.append(key)


def key_of(code: int) -> str | None:
    """The key behind OpenCV's code, number pad included; None for none and for arrows and the like.

    Plain waitKey() cuts the code to 8 bits, which turns the left arrow into Q.
    """
    code = -1 if code < 0 else code & 0xFFFF  # above are Shift, Num Lock, ...
    if _KEYPAD_0 < code <= _KEYPAD_0 + 9:
        return str(code - _KEYPAD_0)
    return chr(code) if 0 < code < 128 else None

"""A real window on a virtual screen, with a real mouse and keyboard."""

import ctypes
import ctypes.util
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.capture.board import HEIGHT, WIDTH, buttons_for
from deploy.capture.keys import keys_for
from deploy.preprocess import Picture

MISSING = [tool for tool in ("Xvfb", "xdotool") if shutil.which(tool) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {' and '.join(MISSING)}: apt-get install xvfb xdotool")

ReadRows = Callable[[Path], list[dict[str, str]]]
WriteVideo = Callable[[Path, list[Picture]], Path]


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """A virtual screen under a number that nobody else has."""
    ours, theirs = os.pipe()
    command = [
        "Xvfb",
        "-displayfd",
        str(theirs),
        "-screen",
        "0",
        "1280x900x24",
        "-noreset",
    ]  # a reset would shut the next one out
    screen = subprocess.Popen(command, pass_fds=[theirs], stderr=subprocess.DEVNULL)
    os.close(theirs)
    with os.fdopen(ours) as told:
        number = told.readline().strip()
    yield f":{number}"
    screen.terminate()
    screen.wait()


class User:
    """Someone at the screen."""

    def __init__(self, display: str, process: "subprocess.Popen[str]") -> None:
        self._environment = os.environ | {"DISPLAY": display}
        self.process = process
        self.window = ""
        self.wait_until(self._finds_window)

    def do(self, *words: object) -> str:
        done = subprocess.run(["xdotool", *map(str, words)], env=self._environment, capture_output=True, text=True, timeout=20)
        return done.stdout

    def press(self, key: str) -> None:
        self.do("windowfocus", self.window)
        self.do("key", key)

    def click(self, key: str, scale: float = 1) -> None:
        (button,) = (one for one in buttons_for(keys_for(("scratch", "dent"), steps=False)) if one.key.key == key)
        x, y = button.left + button.width / 2, button.top + button.height / 2
        self.do("mousemove", "--window", self.window, round(x * scale), round(y * scale), "click", 1)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            assert self.process.poll() is None, f"the capture ended by itself: {self.process.communicate()}"
            time.sleep(0.05)

    def _finds_window(self) -> bool:
        self.window = (self.do("search", "--onlyvisible", "--name", "^inspector capture$").split() or [""])[0]
        return bool(self.window)


@pytest.fixture
def user(
    display: str,
    command: list[str],
    tmp_path: Path,
    environment: dict[str, str],
    draw_part: Callable[..., Picture],
    write_video: WriteVideo,
) -> Iterator[User]:
    film = write_video(tmp_path / "belt.avi", [draw_part(index % 20 > 10) for index in range(1500)])
    process = subprocess.Popen(
        [*command, str(film), "parts", "--types", "scratch,dent"],
        cwd=tmp_path,
        env=environment | {"DISPLAY": display},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield User(display, process)
    finally:
        process.kill()
        process.communicate()


def test_keys_and_buttons_do_the_same(user: User, tmp_path: Path, read_rows: ReadRows) -> None:
    parts = tmp_path / "parts"

    def has(count: int) -> Callable[[], bool]:
        return lambda: len(list(parts.rglob("*.png"))) == count and (parts / "groups.csv").read_text().count("\n") == count + 1

    user.press("g")
    user.wait_until(has(1))
    user.press("Left")  # is no q
    user.click("1")
    user.wait_until(has(2))
    user.click("n")
    user.press("2")
    user.wait_until(has(3))
    user.do("windowsize", "--sync", user.window, WIDTH * 3 // 4, HEIGHT * 3 // 4)
    user.click("u", scale=0.75)
    user.wait_until(has(2))
    user.click("d", scale=0.75)
    user.wait_until(has(3))
    user.press("q")
    said, complained = user.process.communicate(timeout=30)
    assert (user.process.returncode, complained) == (0, "")
    assert "3 pictures of 2 parts: 1 good, 2 defective (1 defective, 1 scratch)" in said
    rows = read_rows(parts)
    assert [str(Path(row["file"]).parent) for row in rows] == ["good", "defective/scratch", "defective/defective"]


def test_closing_the_window_ends(user: User, display: str, tmp_path: Path) -> None:
    user.press("g")  # a click on a window that shows no picture yet is lost
    user.wait_until(lambda: (tmp_path / "parts" / "groups.csv").exists())
    ask_to_close(display, int(user.window))
    said, complained = user.process.communicate(timeout=30)
    assert (user.process.returncode, complained) == (0, "")
    assert "1 picture of 1 part" in said


class ClientMessage(ctypes.Structure):
    """XClientMessageEvent, padded to the size of XEvent."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int),
        ("data", ctypes.c_long * 5),
        ("padding", ctypes.c_long * 16),
    )


def ask_to_close(display: str, window: int) -> None:
    """What a window manager sends for a click on the cross; xdotool before 2021 cannot."""
    name = ctypes.util.find_library("X11")
    if name is None:
        pytest.skip("needs libX11")
    x11 = ctypes.CDLL(name)
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XInternAtom.restype = ctypes.c_ulong
    connection = ctypes.c_void_p(x11.XOpenDisplay(display.encode()))
    protocols, delete = (x11.XInternAtom(connection, atom, 0) for atom in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW"))
    event = ClientMessage(type=33, window=window, message_type=protocols, format=32)
    event.data[0] = delete
    x11.XSendEvent(connection, ctypes.c_ulong(window), 0, ctypes.c_long(0), ctypes.byref(event))
    x11.XCloseDisplay(connection)

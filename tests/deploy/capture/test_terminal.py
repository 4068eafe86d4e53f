"""A real terminal: keys one by one, and the terminal put back as it was whatever happens."""

import os
import pty
import select
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ReadRows = Callable[[Path], list[dict[str, str]]]


class Tty:
    """The user's side of a pseudo-terminal, with a capture running on the other."""

    def __init__(self, command: list[str], cwd: Path, environment: dict[str, str]) -> None:
        self._ours, self.theirs = pty.openpty()
        self.before = termios.tcgetattr(self.theirs)
        self.said = ""
        self.process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=self.theirs, stdout=self.theirs, stderr=self.theirs, start_new_session=True
        )

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def wait_for(self, text: str, patience_s: float = 30) -> None:
        end = time.monotonic() + patience_s
        while text not in self.said:
            assert time.monotonic() < end, f"{text!r} was not said: {self.said[-2000:]}"
            if select.select([self._ours], [], [], 0.1)[0]:
                self.said += os.read(self._ours, 4096).decode(errors="replace")

    def is_as_before(self) -> bool:
        return termios.tcgetattr(self.theirs) == self.before

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self.theirs)


@pytest.fixture
def tty(command: list[str], pictures: Path, tmp_path: Path, environment: dict[str, str]) -> Iterator[Tty]:
    terminal = Tty([*command, str(pictures), "parts", "--terminal"], tmp_path, environment | {"TERM": "xterm"})
    yield terminal
    terminal.close()


def test_keys_act_at_once_and_arrows_do_nothing(tty: Tty, tmp_path: Path, read_rows: ReadRows) -> None:
    tty.wait_for("part 1: no pictures yet")
    assert not tty.is_as_before()
    tty.press("g")
    tty.wait_for("part 1: 1 good")
    tty.press("\x1b[D")
    tty.press("n")
    tty.wait_for("part 2: no pictures yet")
    tty.press("d")
    tty.wait_for("part 2: 1 defective")
    tty.press("\x1b")
    tty.wait_for("2 pictures of 2 parts: 1 good, 1 defective (1 defective) in parts")
    assert tty.process.wait(timeout=10) == 0
    assert tty.is_as_before()
    assert len(read_rows(tmp_path / "parts")) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_however_it_ends_the_terminal_is_as_before(tty: Tty, number: signal.Signals) -> None:
    tty.wait_for("part 1: no pictures yet")
    assert not tty.is_as_before()
    tty.press("g")
    tty.wait_for("part 1: 1 good")
    tty.process.send_signal(number)
    tty.wait_for("1 picture of 1 part")
    assert tty.process.wait(timeout=10) == 0
    assert tty.is_as_before()


def test_a_crash_too(command: list[str], pictures: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    crash = (
        "from deploy.capture.labelling import Labelling; from deploy.cli import main\n"
        "def crash(*_): raise RuntimeError('a bug')\n"
        "Labelling.take = crash; main()"
    )
    line = [command[0], "-c", crash, "capture", str(pictures), "parts"]
    tty = Tty(line, tmp_path, environment | {"TERM": "xterm"})  # no screen: the terminal without being asked
    try:
        tty.wait_for("part 1: no pictures yet")
        tty.press("g")
        tty.wait_for("a bug")
        assert tty.process.wait(timeout=10) == 1
        assert tty.is_as_before()
    finally:
        tty.close()

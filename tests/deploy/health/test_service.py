"""As a service: what systemd hears of a real station on its socket, and what it says of the unit."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import pytest

import deploy
from deploy.health import pulse as pulse_module
from deploy.health.notify import notify, watchdog_s
from deploy.health.pulse import Pulse
from tests.deploy.commands import ENVIRONMENT, started
from tests.deploy.health.conftest import Stuck, asked

UNIT = Path(deploy.__file__).parent / "systemd" / "inspector@.service"


HANGING = """
import time
from pathlib import Path
from deploy.engines.onnxruntime import OnnxRuntimeEngine
infer = OnnxRuntimeEngine.infer
def hang(self, frames):
    while Path("hang").exists():
        time.sleep(0.1)
    return infer(self, frames)
OnnxRuntimeEngine.infer = hang
from deploy.cli import main
main()
"""


class Manager:
    """A service manager's end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.heard: list[str] = []

    def wait(self, word: str, within_s: float = 60) -> bool:
        """Was it heard from now on?"""
        end = time.monotonic() + within_s
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                said = self.socket.recv(65536).decode().splitlines()
            except TimeoutError:
                return False
            self.heard += said
            if any(one.startswith(word) for one in said):
                return True
        return False

    def forget(self) -> None:
        self.socket.setblocking(False)
        try:
            while self.socket.recv(65536):
                pass
        except BlockingIOError:
            pass


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.socket.close()


def test_the_service_manager_hears_of_a_stations_life(
    station: Callable[..., Path], network_camera: Any, tmp_path: Path, manager: Manager
) -> None:
    station()
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000"}
    with started("run", "station.yaml", cwd=tmp_path, environment=environment) as process:
        assert manager.wait("READY=1")
        assert manager.wait("WATCHDOG=1")
        assert manager.wait("WATCHDOG=1"), "again and again"
        network_camera.unplug()
        assert manager.wait("STATUS=not ready: top: ")
        assert manager.wait("WATCHDOG=1"), "a lost camera is no reason to start the inspector anew"
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.2)
        manager.forget()
        assert not manager.wait("WATCHDOG=1", 2), "who hangs gives no sign of life"
        process.send_signal(signal.SIGCONT)
        assert manager.wait("WATCHDOG=1")
        process.send_signal(signal.SIGTERM)
        assert manager.wait("STOPPING=1")
        assert process.wait(timeout=60) == 0


def test_an_engine_that_hangs_gives_no_sign_of_life_and_is_not_ready(
    station: Callable[..., Path], tmp_path: Path, manager: Manager
) -> None:
    station()
    environment = {**ENVIRONMENT, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
    words = [sys.executable, "-c", HANGING, "run", "station.yaml"]
    process = subprocess.Popen(words, cwd=tmp_path, env=environment, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
    try:
        assert manager.wait("READY=1")
        (tmp_path / "hang").touch()
        assert manager.wait("STATUS=not ready: one frame has been judged for more than")
        manager.forget()
        assert not manager.wait("WATCHDOG=1", 2)
        ready, text = asked(tmp_path)
        assert not ready
        assert "the engine hangs; restart the inspector" in text
    finally:
        process.kill()
        process.wait()


def test_no_sign_of_life_while_one_frame_is_judged_for_too_long(
    tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    session: Any = Stuck()
    pulse = Pulse(session)
    pulse.tick()
    assert manager.wait("WATCHDOG=1", 1)
    session.busy_s = 0.11
    time.sleep(0.15)
    pulse.tick()
    assert not manager.wait("WATCHDOG=1", 0.1)
    session.busy_s = 0.0
    pulse.tick()
    assert manager.wait("WATCHDOG=1", 1)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_whose_watchdog_it_is(environment: dict[str, str], expected: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert watchdog_s() == expected


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "@nobody-listens-here", "\0"])
def test_without_a_service_manager_words_go_nowhere(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address and "\0" not in address:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")


def test_words_reach_an_abstract_socket_and_stay_on_their_line(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = Manager(f"\0inspector-{os.getpid()}")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@inspector-{os.getpid()}")
    notify("STATUS=not ready: a\nREADY=1")
    assert manager.wait("STATUS=", 5)
    manager.socket.close()
    assert manager.heard == ["STATUS=not ready: a READY=1"]


def fill(address: Path) -> None:
    """Not one word more fits."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.setblocking(False)
        while True:
            try:
                one.sendto(b"X", str(address))
            except BlockingIOError:
                return


def test_what_the_service_manager_did_not_take_is_said_again(
    tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setattr(pulse_module, "EVERY_S", 0.0)
    session: Any = Stuck()
    pulse = Pulse(session)
    fill(tmp_path / "notify")
    pulse.tick()
    assert not notify("WATCHDOG=1")
    manager.forget()
    pulse.tick()
    pulse.tick()
    assert manager.wait("READY=1", 1)
    assert manager.heard == ["WATCHDOG=1", "READY=1", "STATUS=ready"]
    manager.forget()
    pulse.tick()
    assert not manager.wait("", 0.1), "said once"


def test_a_sign_of_life_leaves_room_for_one_that_is_lost(
    tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    session: Any = Stuck()
    pulse, now = Pulse(session), time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pulse.tick()
    now += 10.1
    pulse.tick()
    monkeypatch.undo()
    assert manager.wait("WATCHDOG=1", 1)
    assert manager.wait("WATCHDOG=1", 1)


def test_words_that_are_no_text_are_said_all_the_same(tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "at@home").mkdir()
    other = Manager(str(tmp_path / "at@home" / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "at@home" / "notify"))
    assert notify("STATUS=not ready: " + os.fsdecode(b"belt\xff.avi"))
    assert other.wait("STATUS=not ready: belt?.avi", 1)
    other.socket.close()


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    text = UNIT.read_text()
    assert "Type=notify" in text
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace("/opt/line-inspector/bin/inspector", sys.executable))  # it looks whether the command is there
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")

"""Engines that raise, run out of memory or hang, in a whole station: it faults, recovers alone, and the record tells."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL

import pytest

from deploy.health.status import read_status
from tests.deploy.commands import ENVIRONMENT
from tests.deploy.redness import drawn_part
from tests.deploy.store.feed import rows, wait_for

TROUBLED = """
import sys, time
from pathlib import Path
from deploy.engines.onnxruntime import OnnxRuntimeEngine
infer = OnnxRuntimeEngine.infer
def troubled(self, frames):
    if Path("raises").exists():
        raise RuntimeError("the device is gone")
    if Path("memory").exists():
        raise MemoryError
    while Path("hangs").exists():
        time.sleep(0.05)
    return infer(self, frames)
OnnxRuntimeEngine.infer = troubled
import deploy.inspector.work
deploy.inspector.work.END_S = 1.0
from deploy.cli import main
main()
"""


@contextmanager
def station(folder: Path, bundle: Path, write_video: Callable[..., Path]) -> Iterator["subprocess.Popen[bytes]"]:
    """It replays a long film as a live camera would bring it."""
    write_video(folder / "long.avi", [drawn_part(index % 2 == 0) for index in range(1000)])
    words = ["run", str(bundle), "long.avi", "--out", ".", "--realtime", "--max-age-ms", "1000"]
    command = [sys.executable, "-c", TROUBLED, *words]
    with (folder / "told").open("wb") as told:
        process = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdin=DEVNULL, stdout=DEVNULL, stderr=told)
    try:
        wait_for(lambda: parts(folder) >= 5, 90)
        yield process
    finally:
        process.kill()
        process.wait()


def parts(folder: Path, verdicts: str = "('GOOD', 'DEFECTIVE')") -> int:
    if not (folder / "inspector.pid").exists():  # it is just starting
        return 0
    return len(rows(folder / "store.sqlite", f"SELECT 1 FROM parts WHERE verdict IN {verdicts}"))


def faults(folder: Path) -> set[str]:
    return {str(message) for (message,) in rows(folder / "store.sqlite", "SELECT message FROM faults WHERE kind = 'engine'")}


def account(folder: Path) -> dict[str, int]:
    (found,) = json.loads((folder / "summary.json").read_text())["cameras"].values()
    assert found["captured"] == found["judged"] + found["dropped"] + found["faulted"]
    return dict(found)


@pytest.mark.parametrize(("trouble", "message"), [("raises", "the device is gone"), ("memory", "MemoryError")])
def test_an_engine_that_raises_is_a_fault_until_it_answers_again(
    trouble: str, message: str, bundle_path: Path, tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    with station(tmp_path, bundle_path, write_video) as process:
        (tmp_path / trouble).touch()
        wait_for(lambda: parts(tmp_path, "('FAULT')") >= 3)
        wait_for(lambda: message in str(read_status(tmp_path)["complaint"]))
        (tmp_path / trouble).unlink()
        before = parts(tmp_path)
        wait_for(lambda: parts(tmp_path) >= before + 5)
        wait_for(lambda: read_status(tmp_path)["ready"])
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    assert any(message in one for one in faults(tmp_path))
    assert account(tmp_path)["faulted"] >= 3


def test_an_engine_that_hangs_is_told_and_left_behind_at_the_end(
    bundle_path: Path, tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    with station(tmp_path, bundle_path, write_video) as process:
        (tmp_path / "hangs").touch()
        wait_for(lambda: any("the engine hangs" in one for one in faults(tmp_path)))
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=90) == 1
    told = (tmp_path / "told").read_text()
    assert "it was left behind" in told
    assert "Traceback" not in told
    assert account(tmp_path)["faulted"] >= 1
    assert rows(tmp_path / "store.sqlite", "SELECT count(*) FROM sessions WHERE ended IS NULL") == [(0,)]

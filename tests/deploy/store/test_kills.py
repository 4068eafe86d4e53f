"""kill -9 at any moment: see `killed.py`, which runs in a process of its own."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

import deploy

ROOT = Path(deploy.__file__).parents[1]


@pytest.mark.parametrize(("stations", "kills"), [(1, 25), pytest.param(4, 125, marks=pytest.mark.slow)])
def test_recording_stations_are_killed_at_random(stations: int, kills: int, tmp_path: Path) -> None:
    """Each station has a folder of its own; most of their time is waiting, so they go side by side."""
    with contextlib.ExitStack() as stack:
        running = []
        for seed in range(stations):
            folder = tmp_path / str(seed)
            folder.mkdir()
            said = folder / "said.txt"
            command = [sys.executable, "-m", "tests.deploy.store.killed", str(folder), str(kills), str(seed)]
            file = stack.enter_context(said.open("w"))
            process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
            stack.callback(process.wait)
            stack.callback(process.kill)
            running.append((process, said))
        codes = [process.wait(timeout=60 + 8 * kills) for process, _ in running]
    for code, (_, said) in zip(codes, running, strict=True):
        assert code == 0, said.read_text()
        assert said.read_text().startswith(f"{kills} kills, ")

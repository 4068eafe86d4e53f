"""kill -9 at any moment: no corrupt database, no picture without a record, no reported record lost."""

import subprocess
import sys
from pathlib import Path

import pytest

import deploy

ROOT = Path(deploy.__file__).parents[1]


@pytest.mark.parametrize(("kills", "seed"), [(25, 1), pytest.param(500, 2, marks=pytest.mark.slow)])
def test_a_recording_station_is_killed_at_random(kills: int, seed: int, tmp_path: Path) -> None:
    said = tmp_path / "said.txt"
    command = [sys.executable, "-m", "tests.deploy.store.killed", str(tmp_path), str(kills), str(seed)]
    with said.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
        try:
            code = process.wait(timeout=60 + 5 * kills)
        finally:
            process.kill()
            process.wait()
    assert code == 0, said.read_text()
    assert said.read_text().startswith(f"{kills} kills, ")

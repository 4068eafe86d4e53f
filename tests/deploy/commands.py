"""`inspector` as a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import deploy

COMMAND = [sys.executable, "-m", "deploy.cli"]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "DISPLAY"},
    "PYTHONPATH": str(Path(deploy.__file__).parents[1]),
    "COLUMNS": "200",
}


@contextmanager
def started(
    *words: object, cwd: Path, stderr: int = subprocess.DEVNULL, environment: dict[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """It runs, and is killed at the end."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, words)],
        cwd=cwd,
        env={**ENVIRONMENT, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def give(*words: object, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run it to its end."""
    return subprocess.run([*COMMAND, *map(str, words)], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)

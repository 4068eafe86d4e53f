"""The real command in a process of its own, and pictures to label."""

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

import deploy
from deploy.preprocess import Picture

COMMAND = [sys.executable, "-m", "deploy.cli", "capture"]


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Without a screen."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return inherited | {"PYTHONPATH": str(Path(deploy.__file__).parents[1]), "COLUMNS": "200"}


@pytest.fixture
def capture(tmp_path: Path, environment: dict[str, str]) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Pipes keys into the command, in an empty folder."""

    def run(keys: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
        command = [*COMMAND, *map(str, arguments)]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, input=keys, capture_output=True, text=True, timeout=60, check=False
        )

    return run


@pytest.fixture
def command() -> list[str]:
    return COMMAND


@pytest.fixture
def pictures(tmp_path: Path, draw_part: Callable[..., Picture]) -> Path:
    """a.png to f.png; c.png cannot be read."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, name in enumerate("abcdef"):
        cv2.imwrite(str(folder / f"{name}.png"), draw_part(index % 2 == 1, side=100 + 10 * index))
    (folder / "c.png").write_bytes(b"")
    return folder


@pytest.fixture
def read_rows() -> Callable[[Path], list[dict[str, str]]]:
    """The lines of `groups.csv`, once each picture is known to have exactly one."""

    def read(folder: Path) -> list[dict[str, str]]:
        with (folder / "groups.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
        assert sorted(row["file"] for row in rows) == files
        return rows

    return read

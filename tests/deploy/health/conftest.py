"""A station with one camera on loopback whose address has a password, told by its file."""

import socket
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deploy.health.status import show_status

PASSWORD = "s3cret"


def asked(folder: Path, as_json: bool = False) -> tuple[bool, str]:
    """What `inspector status` says of a record: is it ready, and what is printed. Raises StationError as it does."""
    page = TextIOWrapper(BytesIO(), encoding="utf-8")
    ready = show_status(folder, as_json, Console(file=page, width=200))
    page.seek(0)
    return ready, page.read()


class Stuck:
    """A session whose loop is busy with one frame."""

    def __init__(self) -> None:
        self.busy_s = 0.0
        self.tally = self.store = self
        self.trouble = self.picture_trouble = self.last_fault = None
        self.faults = 0

    def stuck_s(self) -> float:
        return self.busy_s

    def complaint(self) -> str | None:
        return None


@pytest.fixture
def port() -> int:
    """One that nobody uses just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def station(bundle_path: Path, network_camera: Any, tmp_path: Path) -> Callable[..., Path]:
    """Writes `station.yaml` with the record beside it; `more` is put at its end."""

    def write(more: str = "", folder: Path = Path()) -> Path:
        source = network_camera.address.replace("http://", f"http://admin:{PASSWORD}@")
        path = tmp_path / "station.yaml"
        path.write_text(
            f"name: press-1\nbundle: {bundle_path}\nrecord: {{folder: '{folder}', pictures: {{leave_free_mb: 0}}}}\n"
            f"cameras:\n  - {{name: top, source: '{source}', limit_s: 2.5, max_age_ms: 60000}}\n{more}\n"
        )
        return path

    return write

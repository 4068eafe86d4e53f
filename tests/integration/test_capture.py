"""What `inspector capture` leaves is what training reads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.data.demo.line import write_demo_dataset
from pipeline.data.layouts import read_dataset


def capture(home: Path, keys: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", "from deploy.cli import main; main()", "capture", *arguments],
        cwd=home,
        env=os.environ | {"COLUMNS": "200"},
        input=keys,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    write_demo_dataset(home / "line", parts=24, exposures=1)
    (home / "station.yaml").write_text(f"name: press-1\ncamera: {home / 'line'}\n")
    done = capture(home, "g g n d 1 n g 2 u 2", "station.yaml", "parts", "--types", "scratch,dent")
    assert done.returncode == 0, done.stderr
    return home / "parts"


def test_types_outside_ascii_are_read_as_they_were_named(tmp_path: Path) -> None:
    write_demo_dataset(tmp_path / "line", parts=24, exposures=1)
    done = capture(tmp_path, "g n 1 n 2", str(tmp_path / "line"), "parts", "--types", "Öl,裂纹")
    assert done.returncode == 0, done.stderr
    assert sorted(sample.defect_type for sample in read_dataset(tmp_path / "parts").samples) == ["", "Öl", "裂纹"]


def test_labels_types_and_groups_are_as_they_were_given(captured: Path) -> None:
    dataset = read_dataset(captured)
    assert dataset.groups_from == "groups.csv"
    groups = {group: number for number, group in enumerate(sorted({sample.group for sample in dataset.samples}), start=1)}
    assert all(group.startswith("press-1-") for group in groups)
    assert sorted((groups[sample.group], sample.label, sample.defect_type) for sample in dataset.samples) == [
        (1, "good", ""),
        (1, "good", ""),
        (2, "defective", "defective"),
        (2, "defective", "scratch"),
        (3, "defective", "dent"),
        (3, "good", ""),
    ]

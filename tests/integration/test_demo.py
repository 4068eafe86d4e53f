"""`make demo`, as a stranger would run it, with no network to get source weights from."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest


@pytest.mark.slow
def test_the_demo_shows_the_whole_way(tmp_path: Path) -> None:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    environment.pop("INSPECTOR_WEIGHTS", None)
    line = [sys.executable, "-c", "from pipeline.cli import main; main()", "demo", "--out", str(tmp_path / "demo")]
    done = subprocess.run(line, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "source weights: the project's starter weights" in done.stdout
    summary = json.loads((tmp_path / "demo" / "summary.json").read_text())
    assert summary["auroc"] >= 0.95
    assert summary["parts_counted"] == summary["parts_true"] == 24
    assert summary["parts_missed"] == 0
    assert summary["escapes"] <= 2
    assert summary["overkill"] <= 2
    film = cv2.VideoCapture(str(tmp_path / "demo" / "inspection" / "annotated.mp4"))
    assert film.isOpened()
    assert int(film.get(cv2.CAP_PROP_FRAME_COUNT)) > 500
    film.release()

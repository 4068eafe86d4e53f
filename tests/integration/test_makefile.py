"""Every make target runs the command it promises."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is absent")
@pytest.mark.parametrize(
    ("target", "runs"),
    [
        ("demo", "pipeline demo --out demo"),
        ("audit DATASET=parts", "pipeline audit parts"),
        ("train DATASET=parts", "pipeline train parts"),
        ("export RUN=runs/parts-0001", "pipeline export runs/parts-0001"),
        ("inspect BUNDLE=bundles/parts-1 SOURCE=0", "inspector run bundles/parts-1 0"),
        ("retrain RUN=runs/parts-0001 NEW=new", "pipeline retrain runs/parts-0001 new"),
        ("test ARGS=tests/deploy", "--durations=15 tests/deploy"),
        ("bench", "python -m tests.bench"),
    ],
)
def test_targets(target: str, runs: str) -> None:
    done = subprocess.run(["make", "--dry-run", *target.split()], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert runs in done.stdout

"""Runs gige_vision.py in a network of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.cameras.gobject import aravis
from deploy.errors import CameraError

TESTS = Path(__file__).with_name("gige_vision.py")
ALONE = ["unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


@pytest.mark.parametrize("which", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_gige_vision(which: str, system_gi: None, tmp_path: Path) -> None:
    try:
        aravis()
    except CameraError as error:
        pytest.skip(str(error))
    if shutil.which("arv-fake-gv-camera-0.8") is None:
        pytest.skip("needs arv-fake-gv-camera-0.8: apt install aravis-tools")
    if shutil.which("ip") is None or subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs a network of its own: unshare --map-root-user --net, and ip (apt install iproute2)")
    command = [*ALONE, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += ["--basetemp", str(tmp_path / "inner"), "-m", which, str(TESTS)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd=TESTS.parents[3], env=environment
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout

"""`inspector cameras` as a user runs it, where SDKs are installed and where they are not."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import deploy
from deploy.cameras import webcam
from deploy.cameras.listing import look
from deploy.errors import CameraError

ROOT = Path(deploy.__file__).parents[1]
WHEEL = importlib.util.find_spec("genicam")


def inspector(*arguments: str, before: str = "", **environment: str) -> str:
    """What the command prints; `before` runs first in its process."""
    code = f"{before}\nimport sys\nfrom deploy.cli import main\nsys.argv[1:] = {list(arguments)!r}\nmain()"
    settings = {**os.environ, "COLUMNS": "300", "PYTHONPATH": str(ROOT), "GENICAM_GENTL64_PATH": "", **environment}
    done = subprocess.run(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=settings
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.skipif(WHEEL is None or importlib.util.find_spec("pypylon") is None, reason="pip install 'line-inspector[genicam]'")
def test_every_camera_is_listed_with_the_words_that_open_it() -> None:
    assert WHEEL is not None
    assert WHEEL.origin is not None
    folder = Path(WHEEL.origin).parent
    said = inspector("cameras", PYLON_CAMEMU="2", GENICAM_GENTL64_PATH=f"/nowhere{os.pathsep}{folder}")
    for number in range(2):
        assert f"basler:0815-000{number}" in said
    for serial in range(3):
        assert f"gentl:{folder / 'viky.cti'}#{serial}" in said
    assert "Basler (pypylon):" not in said  # nothing is missing there


def test_each_missing_route_is_one_line_with_what_to_install() -> None:
    absent = "import sys; sys.modules.update(dict.fromkeys(('gi', 'pypylon', 'harvesters', 'genicam')))"
    lines = inspector("cameras", before=absent).splitlines()
    assert len(lines) == 5
    for route, install in {
        "Basler (pypylon)": "pip install 'line-inspector[genicam]'",
        "GenTL (harvesters)": "pip install 'line-inspector[genicam]'",
        "GigE and USB3 Vision (Aravis)": "apt install python3-gi gir1.2-aravis-0.8",
        "GStreamer (Jetson CSI)": "apt install python3-gi gir1.2-gstreamer-1.0",
    }.items():
        assert any(line.startswith(f"{route}: ") and f"install it: {install}" in line for line in lines), lines


def test_a_broken_producer_is_one_line_too(tmp_path: Path) -> None:
    if importlib.util.find_spec("harvesters") is None:
        pytest.skip("pip install 'line-inspector[genicam]'")
    (tmp_path / "broken.cti").write_text("no library")
    said = inspector("cameras", GENICAM_GENTL64_PATH=str(tmp_path))
    assert f"GenTL (harvesters): {tmp_path / 'broken.cti'}: " in said
    assert "expected a GenTL producer" in said


def test_help_has_an_example() -> None:
    assert "inspector run bundles/demo-1 basler:40012345" in inspector("cameras", "--help")


def test_a_failing_route_keeps_no_other_from_being_searched() -> None:
    def fail() -> None:
        raise CameraError("no driver; install it")

    route = look("route", fail)  # type: ignore[arg-type]
    assert (route.cameras, route.trouble) == ([], "no driver; install it")


def test_webcams_of_a_machine_without_any(tmp_path: Path) -> None:
    assert webcam.devices(tmp_path / "absent") == []
    (tmp_path / "video977").mkdir()
    (tmp_path / "video977" / "name").write_text("A webcam that has just been unplugged\n")
    assert webcam.devices(tmp_path) == []

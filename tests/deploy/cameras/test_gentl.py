"""A real GenTL producer with three cameras: the one that the genicam wheel brings along."""

import importlib.util
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from deploy.cameras import open_camera
from deploy.cameras.gentl import GenTL, devices, load
from deploy.cameras.newest import NewestOnly
from deploy.cameras.pulled import Pulled
from deploy.cameras.settings import CameraSettings
from deploy.errors import CameraError, CameraLost
from tests.deploy.cameras.ages import youngest_s

WHEEL = importlib.util.find_spec("genicam")
PRODUCER = Path((WHEEL and WHEEL.origin) or "genicam is not installed").parent / "viky.cti"
pytestmark = pytest.mark.skipif(not PRODUCER.is_file(), reason="pip install 'line-inspector[genicam]'")
DEFAULTS = CameraSettings()


def test_its_cameras_are_listed() -> None:
    assert [serial for serial, _ in devices(PRODUCER)] == ["0", "1", "2"]


@pytest.mark.parametrize("pixel_format", [None, "Mono8", "RGBa8"])
def test_it_delivers_through_its_uri(pixel_format: str | None) -> None:
    with open_camera(f"gentl:{PRODUCER}#1", settings=CameraSettings(pixel_format=pixel_format)) as camera:
        frames = [camera.read() for _ in range(3)]
        assert camera.fps == 20
    for frame in frames:
        assert frame is not None
        assert frame.picture.shape == (400, 400, 3)
        assert frame.picture.std() > 1


def test_several_cameras_of_one_producer_at_once_and_one_after_the_other() -> None:
    """The ball of each is in its own colour."""
    with Pulled(GenTL(PRODUCER, "0", DEFAULTS)) as red:
        with Pulled(GenTL(PRODUCER, "2", DEFAULTS)) as blue:
            for _ in range(3):
                colours = [
                    picture[picture.std(axis=2) > 50].mean(axis=0).argmax()
                    for picture in (red.read().picture, blue.read().picture)
                ]
                assert colours == [2, 0]
        assert red.read().picture.shape == (400, 400, 3)
        with Pulled(GenTL(PRODUCER, "2", DEFAULTS)) as blue:
            blue.read()
    assert devices(PRODUCER)


def test_a_camera_that_hangs_while_it_opens_keeps_no_other_from_being_opened_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, asked = threading.Event(), threading.Event()
    harvester = load().Harvester
    create = harvester.create

    def hang(self: Any, index: int) -> Any:
        if index == 0:
            asked.set()
            answers.wait(60)
        return create(self, index)

    monkeypatch.setattr(harvester, "create", hang)
    opened: list[GenTL] = []
    hanging = threading.Thread(target=lambda: opened.append(GenTL(PRODUCER, "0", DEFAULTS)), daemon=True)
    hanging.start()
    assert asked.wait(30)
    try:
        with Pulled(GenTL(PRODUCER, "1", DEFAULTS)) as other:
            assert other.read().picture.shape == (400, 400, 3)
        assert not opened
    finally:
        answers.set()
        hanging.join(30)
    with Pulled(opened[0]) as camera:
        assert camera.read().picture.shape == (400, 400, 3)


@pytest.mark.parametrize("first", ["gentl", "gstreamer"])
def test_it_shares_a_process_with_gstreamer(first: str, system_gi: None) -> None:
    """Whichever is loaded first: GStreamer's libraries must not take the place of GenApi's own, or the process crashes."""
    uris = sorted(["gstreamer:videotestsrc is-live=true", f"gentl:{PRODUCER}#0"], key=lambda uri: not uri.startswith(first))
    code = (
        f"import sys; sys.path = {sys.path!r}\nfrom contextlib import ExitStack\nfrom deploy.cameras import open_camera\n"
        f"from deploy.errors import CameraError\n"
        f"try:\n    with ExitStack() as stack:\n"
        f"        cameras = [stack.enter_context(open_camera(uri)) for uri in {uris!r}]\n"
        f"        print(*[camera.read().picture.shape for camera in cameras])\n"
        f"except CameraError as error: print('absent:', error)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    if done.stdout.startswith("absent: GStreamer needs"):
        pytest.skip(done.stdout)
    assert "(400, 400, 3)" in done.stdout


def test_after_a_pause_old_pictures_are_counted_and_dropped() -> None:
    with Pulled(GenTL(PRODUCER, "0", DEFAULTS)) as camera:
        before = camera.read()
        looked = time.monotonic()
        time.sleep(1)
        waited = camera.read()
        assert waited.sequence > before.sequence + 1
        assert waited.captured_at <= looked + 0.01  # its buffers were full: how old it is, nobody knows
        assert youngest_s(camera) < 0.3


def test_a_camera_that_stops_is_lost_and_is_opened_anew() -> None:
    drivers: list[GenTL] = []

    def open_again() -> Pulled:
        drivers.append(GenTL(PRODUCER, "0", DEFAULTS))
        return Pulled(drivers[-1])

    with NewestOnly(open_again) as camera:
        assert camera.read() is not None
        drivers[0]._acquirer.remote_device.node_map.AcquisitionStop.execute()
        drivers[0]._acquirer.stop()
        end = time.monotonic() + 20
        losses = 0
        while len(drivers) < 2 and time.monotonic() < end:
            try:
                camera.read()
            except CameraLost:
                losses += 1
        assert losses
        while time.monotonic() < end:
            try:
                assert camera.read() is not None
                break
            except CameraLost:
                continue


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (f"gentl:{PRODUCER}", "which one.*#0, #1, #2"),
        (f"gentl:{PRODUCER}#9", "no such camera; cameras that are there: #0, #1, #2"),
        (f"gentl:{__file__}", "test_gentl.py: .*; expected a GenTL producer"),
        ("gentl:nowhere.cti", r"nowhere\.cti: no such file; expected a GenTL producer"),
    ],
)
def test_what_cannot_be_opened_says_what_is_there(uri: str, message: str) -> None:
    with pytest.raises(CameraError, match=message):
        open_camera(uri)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"exposure": 100}, "this camera has no exposure in microseconds"),
        ({"exposure": "auto"}, "exposure auto: this camera cannot"),
        ({"gain": 1.5}, "this camera has no gain in decibels"),
        ({"white_balance": "off"}, "it has no BalanceWhiteAuto"),
        ({"pixel_format": "Mono12"}, "pixel_format Mono12 is not there; this camera has RGBa8, Mono8"),
    ],
)
def test_what_the_camera_does_not_have_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CameraError, match=message):
        open_camera(f"gentl:{PRODUCER}#0", settings=CameraSettings(**settings))
    with open_camera(f"gentl:{PRODUCER}#0") as camera:  # the refused one was let go of
        assert camera.read() is not None


def test_closing_twice_and_reading_after() -> None:
    camera = Pulled(GenTL(PRODUCER, "0", DEFAULTS))
    camera.close()
    camera.close()
    with pytest.raises(CameraLost, match="is closed"):
        camera.read()

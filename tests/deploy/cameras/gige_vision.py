"""GigE Vision over real UDP, from the fake camera that Aravis ships: delivered, plugged out, frozen, and on a bad network.

`test_aravis.py` runs these tests in a network of their own: beside a real network card the fake camera may stream into nothing.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import deploy
from deploy.cameras import Camera, Frame, open_camera
from deploy.cameras.aravis import Aravis, devices
from deploy.cameras.gobject import aravis
from deploy.cameras.pulled import Pulled
from deploy.cameras.settings import CameraSettings
from deploy.errors import CameraError
from tests.deploy.cameras.ages import youngest_s

PROGRAM = "arv-fake-gv-camera-0.8"
URI = "aravis:Aravis-Fake-GV01"
DEFAULTS = CameraSettings()


class FakeCamera:
    def __init__(self) -> None:
        self.spoiled = True
        self._process: subprocess.Popen[bytes] | None = None

    def plug_in(self, lost_per_mille: int = 0) -> None:
        command = [PROGRAM, "-i", "127.0.0.1", "-s", "GV01", "-r", str(lost_per_mille)]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
        end = time.monotonic() + 10
        while "Aravis-Fake-GV01" not in [name for name, _, _ in devices()]:
            assert time.monotonic() < end
        self.spoiled = lost_per_mille > 0

    def plug_out(self) -> None:
        self.spoiled = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        self.spoiled = True
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)


@pytest.fixture(scope="module")
def process(system_gi: None) -> Iterator[FakeCamera]:
    aravis()
    fake = FakeCamera()
    try:
        yield fake
    finally:
        fake.plug_out()


@pytest.fixture
def camera(process: FakeCamera) -> FakeCamera:
    """A camera that is there, and sound."""
    if process.spoiled:
        process.plug_out()
        process.plug_in()
    return process


def next_frame(live: Camera, patience_s: float = 15) -> Frame:
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        try:
            frame = live.read()
        except CameraError:
            continue
        assert frame is not None
        return frame
    raise AssertionError("the camera did not come back")


def read_until_lost(live: Camera) -> str:
    with pytest.raises(CameraError) as caught:
        list(iter(live.read, None))
    return str(caught.value)


@pytest.mark.parametrize("uri", [URI, "aravis:GV01", "aravis:127.0.0.1", "aravis:"])
def test_it_delivers_by_name_serial_address_and_alone(uri: str, camera: FakeCamera) -> None:
    with open_camera(uri) as live:
        frames = [next_frame(live) for _ in range(3)]
        assert live.fps == 25
    for frame in frames:
        assert frame.picture.shape == (512, 512, 3)
        assert frame.picture.std() > 10


@pytest.mark.parametrize("pixel_format", ["Mono8", "Mono16", "RGB8", "BayerRG8", "BayerGR8", "BayerGB8", "BayerBG8"])
def test_pixel_formats(pixel_format: str, camera: FakeCamera) -> None:
    with Pulled(Aravis("Aravis-Fake-GV01", CameraSettings(pixel_format=pixel_format))) as live:
        picture = live.read().picture
    assert picture.shape == (512, 512, 3)
    assert (picture.max() - picture.min()) > 100
    is_grey = bool((picture == picture[:, :, :1]).all())
    assert is_grey == pixel_format.startswith("Mono")


def test_settings_reach_the_camera(camera: FakeCamera) -> None:
    driver = Aravis("Aravis-Fake-GV01", CameraSettings(exposure=1234, pixel_format="Mono16"))
    device = driver._camera.get_device()
    taken = device.get_float_feature_value("ExposureTimeAbs"), device.get_string_feature_value("PixelFormat")
    del device
    driver.release()
    assert taken == (1234, "Mono16")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        # Aravis itself leaves the old value for the one, and wraps the other round to 3567 s, without a word.
        ({"exposure": 5}, "exposure 5 is out of bounds; this camera takes 10 to 10000000 microseconds"),
        ({"exposure": 50e6}, "exposure 50000000 is out of bounds"),
        ({"exposure": "auto"}, "exposure auto: this camera cannot"),
        ({"gain": 3.0}, "no gain in decibels, only raw steps of 0 to 10, which have no unit; leave gain out"),
        ({"white_balance": "auto"}, "it has no BalanceWhiteAuto"),
        ({"pixel_format": "Mono12"}, "Mono12 is not there; this camera has BayerBG8"),
    ],
)
def test_what_the_camera_cannot_is_refused(settings: dict[str, Any], message: str, camera: FakeCamera) -> None:
    with pytest.raises(CameraError, match=message):
        open_camera(URI, settings=CameraSettings(**settings))
    with open_camera(URI) as live:  # the refused one was let go of
        next_frame(live)


def test_a_camera_that_is_not_there_names_those_that_are(camera: FakeCamera) -> None:
    with pytest.raises(CameraError, match=r"camera nosuch cannot be opened .*; cameras that are there: aravis:Aravis-Fake-GV01"):
        open_camera("aravis:nosuch")


@pytest.mark.slow
def test_a_camera_that_another_program_uses_is_refused(camera: FakeCamera) -> None:
    code = (
        f"import sys, time; sys.path += {sys.path!r}\nfrom deploy.cameras import open_camera\n"
        f"with open_camera({URI!r}) as camera:\n    camera.read(); print('open', flush=True); time.sleep(60)"
    )
    root = str(Path(deploy.__file__).parents[1])
    quiet = subprocess.DEVNULL
    other = subprocess.Popen([sys.executable, "-c", code], stdin=quiet, stdout=subprocess.PIPE, stderr=quiet, cwd=root)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(CameraError, match="camera Aravis-Fake-GV01 is in use by another program; close that first"):
            open_camera(URI)
    finally:
        camera.spoiled = True  # killed, it lets go of the camera only after a time
        other.kill()
        other.communicate()


def test_a_camera_that_is_plugged_out_is_lost_within_two_seconds_and_comes_back(camera: FakeCamera) -> None:
    with open_camera(URI) as live:
        before = next_frame(live)
        for _ in range(2):
            camera.plug_out()
            gone_at = time.monotonic()
            read_until_lost(live)
            assert time.monotonic() - gone_at < 3
            camera.plug_in()
            back = next_frame(live)
            assert back.captured_at > gone_at + 0.1
            assert back.sequence > before.sequence
            before = back


def test_a_frozen_camera_is_lost_too(camera: FakeCamera) -> None:
    with open_camera(URI) as live:
        next_frame(live)
        camera.freeze()
        frozen_at = time.monotonic()
        read_until_lost(live)
        assert time.monotonic() - frozen_at < 3


@pytest.mark.slow
def test_a_driver_without_its_camera_closes(camera: FakeCamera) -> None:
    live = Pulled(Aravis("Aravis-Fake-GV01", DEFAULTS))
    live.read()
    camera.plug_out()
    read_until_lost(live)
    live.close()
    live.close()
    assert read_until_lost(live).endswith("is closed")


@pytest.mark.slow
def test_incomplete_pictures_are_counted_and_never_delivered(camera: FakeCamera) -> None:
    with Pulled(Aravis("Aravis-Fake-GV01", DEFAULTS)) as live:
        whole = live.read().picture
    camera.plug_out()
    camera.plug_in(lost_per_mille=4)  # of some 190 packets a picture: every other one is torn
    with Pulled(Aravis("Aravis-Fake-GV01", DEFAULTS)) as live:
        frames = [live.read() for _ in range(15)]
    assert frames[-1].sequence - frames[0].sequence > 14
    for frame in frames:
        # The ramp only moves: a lost packet would leave a stripe of other values behind.
        assert abs(frame.picture.mean() - whole.mean()) < 1
        assert np.array_equal(np.unique(frame.picture), np.unique(whole))


def test_after_a_pause_old_pictures_are_counted_and_dropped(camera: FakeCamera) -> None:
    with Pulled(Aravis("Aravis-Fake-GV01", DEFAULTS)) as live:
        before = live.read()
        looked = time.monotonic()
        time.sleep(1)
        waited = live.read()
        assert waited.sequence > before.sequence + 1
        assert waited.captured_at <= looked + 0.01
        assert youngest_s(live) < 0.3


def test_nothing_is_left_open(camera: FakeCamera) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    Pulled(Aravis("Aravis-Fake-GV01", DEFAULTS)).close()
    before = count()
    for _ in range(5):
        Pulled(Aravis("Aravis-Fake-GV01", DEFAULTS)).close()
    assert count() <= before

"""Basler's real SDK with its own emulated cameras."""

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

os.environ.setdefault("PYLON_CAMEMU", "2")  # the SDK looks at it once, when it is loaded

from deploy.cameras import Unreadable, open_camera
from deploy.cameras.basler import Basler, devices
from deploy.cameras.life import NothingYet
from deploy.cameras.newest import NewestOnly
from deploy.cameras.pixels import is_readable
from deploy.cameras.pulled import Pulled
from deploy.cameras.settings import CameraSettings
from deploy.errors import CameraError, CameraLost
from tests.deploy.cameras.ages import youngest_s

SERIAL = "0815-0000"
DEFAULTS = CameraSettings()


@pytest.fixture(autouse=True)
def emulated() -> None:
    try:
        found = devices()
    except CameraError as error:
        pytest.skip(str(error))
    assert (SERIAL, "Basler Emulation") in found


@pytest.fixture
def opened() -> Iterator[tuple[Pulled, Any]]:
    """A camera and the node map behind it."""
    driver = Basler(SERIAL, DEFAULTS)
    with Pulled(driver) as camera:
        yield camera, driver._camera.GetNodeMap()


def test_it_delivers_through_its_uri() -> None:
    with open_camera(f"basler:{SERIAL}") as camera:
        frames = [camera.read() for _ in range(3)]
        assert camera.fps == 100
    for frame in frames:
        assert frame is not None
        assert frame.picture.shape == (1040, 1024, 3)
        assert frame.picture.std() > 10


def test_every_pixel_format_shows_the_same_picture() -> None:
    """The emulation draws a ramp that moves; every format shows the same range of it."""
    driver = Basler(SERIAL, DEFAULTS)
    options = [option for option in driver._camera.PixelFormat.GetSymbolics() if is_readable(option)]
    driver.release()
    assert len(options) >= 20
    for option in options:
        with Pulled(Basler(SERIAL, CameraSettings(pixel_format=option))) as camera:
            picture = camera.read().picture
        assert picture.shape == (1040, 1024, 3)
        assert (picture.min(), picture.max(), round(picture.mean() / 4)) == (0, 255, 32), option


@pytest.mark.parametrize(
    ("settings", "feature", "expected"),
    [
        ({"exposure": 5000}, "ExposureTime", 5000),
        ({"exposure": 1234.56}, "ExposureTime", 1235),
        ({"exposure": "auto"}, "ExposureAuto", "Continuous"),
        ({"gain": 3.0}, "Gain", 3.0),
        ({"gain": "auto"}, "GainAuto", "Continuous"),
        ({"pixel_format": "BayerRG12"}, "PixelFormat", "BayerRG12"),
    ],
)
def test_settings_reach_the_camera(settings: dict[str, Any], feature: str, expected: Any) -> None:
    driver = Basler(SERIAL, CameraSettings(**settings))
    try:
        taken = driver._camera.GetNodeMap().GetNode(feature).GetValue()
        assert taken == (expected if isinstance(expected, str) else pytest.approx(expected, rel=1e-5))
    finally:
        driver.release()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"exposure": 20_000_000}, r"exposure 20000000 is out of bounds; this camera takes 1 to 10000000 microseconds"),
        ({"gain": 100}, r"gain 100 is out of bounds; this camera takes 0 to 48"),
        ({"white_balance": "auto"}, r"white_balance auto: this camera cannot \(it has no BalanceWhiteAuto\)"),
        ({"white_balance": 5000}, r"takes no kelvin"),
        ({"pixel_format": "Mono9"}, r"pixel_format Mono9 is not there; this camera has Mono8, Mono10"),
    ],
)
def test_what_the_camera_cannot_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CameraError, match=f"Basler camera {SERIAL}: .*{message}"):
        open_camera(f"basler:{SERIAL}", settings=CameraSettings(**settings))
    with open_camera(f"basler:{SERIAL}") as camera:  # the refused one was let go of
        assert camera.read() is not None


@pytest.mark.parametrize(("uri", "message"), [("basler:", "which one"), ("basler:99", "no such camera")])
def test_the_cameras_that_are_there_are_named(uri: str, message: str) -> None:
    with pytest.raises(CameraError, match=rf"{message}\?*; these are there: basler:0815-0000, basler:0815-0001"):
        open_camera(uri)


def test_only_the_latest_picture_is_delivered(opened: tuple[Pulled, Any]) -> None:
    camera, _ = opened
    before = camera.read()
    time.sleep(0.5)
    after = camera.read()
    assert after.sequence > before.sequence + 20  # the SDK took and dropped those in between
    assert youngest_s(camera) < 0.2


def test_a_picture_that_waited_is_never_called_fresh(opened: tuple[Pulled, Any]) -> None:
    camera, nodes = opened
    nodes.GetNode("AcquisitionFrameRateEnable").SetValue(True)
    camera.read()
    read_at = time.monotonic()
    driver: Any = camera._driver
    assert driver._camera.GetGrabResultWaitObject().Wait(30_000)
    nodes.GetNode("AcquisitionFrameRateAbs").SetValue(1)  # nothing new comes behind the one that waits
    time.sleep(0.4)
    waited = camera.read()
    assert waited.captured_at <= read_at + 0.05


def test_failed_grabs_are_counted_and_never_delivered(opened: tuple[Pulled, Any]) -> None:
    camera, nodes = opened
    before = camera.read()
    nodes.GetNode("ForceFailedBufferCount").SetValue(5)
    nodes.GetNode("ForceFailedBuffer").Execute()
    frames = [camera.read() for _ in range(5)]
    assert all(frame.picture.std() > 10 for frame in frames)
    assert frames[-1].sequence >= before.sequence + 10


def test_a_camera_of_which_no_grab_succeeds_is_lost_and_comes_back() -> None:
    drivers: list[Basler] = []

    def open_again() -> Pulled:
        drivers.append(Basler(SERIAL, DEFAULTS))
        return Pulled(drivers[-1])

    with NewestOnly(open_again) as camera:
        assert camera.read() is not None
        nodes = drivers[0]._camera.GetNodeMap()
        nodes.GetNode("ForceFailedBufferCount").SetValue(1024)
        nodes.GetNode("ForceFailedBuffer").Execute()
        failed_at = time.monotonic()
        complaint = ""
        while not complaint:
            try:
                camera.read()
            except CameraLost as error:
                complaint = str(error)
        assert time.monotonic() - failed_at < 4
        assert "The buffer was incompletely grabbed" in complaint
        while True:
            try:
                frame = camera.read()
                break
            except CameraLost:
                assert time.monotonic() - failed_at < 20
        assert frame is not None
        assert len(drivers) > 1


@pytest.mark.parametrize("way", ["StopGrabbing", "Close", "DestroyDevice", "DetachDevice"])
def test_a_device_that_is_gone_is_lost_at_once_and_closes(way: str) -> None:
    driver = Basler(SERIAL, DEFAULTS)
    camera = Pulled(driver)
    camera.read()
    getattr(driver._camera, way)()
    started = time.monotonic()
    with pytest.raises(CameraLost, match="is gone"):
        camera.read()
    assert time.monotonic() - started < 1
    camera.close()
    camera.close()
    with pytest.raises(CameraLost, match="is closed"):
        camera.read()


def test_waiting_for_a_trigger_is_no_fault(opened: tuple[Pulled, Any]) -> None:
    camera, nodes = opened
    nodes.GetNode("TriggerMode").SetValue("On")
    camera._driver.on_event = True  # as it is found when the camera is opened this way
    with pytest.raises(NothingYet, match="waits for its trigger"):
        list(iter(camera.read, None))
    nodes.GetNode("TriggerSource").SetValue("Software")
    nodes.GetNode("TriggerSoftware").Execute()
    assert camera.read().picture.std() > 10


def test_a_failed_grab_of_a_triggered_camera_is_one_unreadable_picture(opened: tuple[Pulled, Any]) -> None:
    camera, nodes = opened
    nodes.GetNode("TriggerMode").SetValue("On")
    nodes.GetNode("TriggerSource").SetValue("Software")
    camera._driver.on_event = True
    with pytest.raises(NothingYet):
        list(iter(camera.read, None))
    nodes.GetNode("ForceFailedBufferCount").SetValue(1)
    nodes.GetNode("ForceFailedBuffer").Execute()
    nodes.GetNode("TriggerSoftware").Execute()
    with pytest.raises(Unreadable, match="incompletely grabbed") as caught:
        camera.read()
    nodes.GetNode("TriggerSoftware").Execute()
    assert camera.read().sequence == caught.value.sequence + 1

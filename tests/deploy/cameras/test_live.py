"""A real network camera on loopback: it delivers, is unplugged, freezes and comes back."""

import time
from typing import Protocol

import pytest

from deploy.cameras import Camera, Frame, open_camera
from deploy.errors import CameraLost


class NetworkCamera(Protocol):
    """See the fixture in conftest.py."""

    address: str

    def plug_in(self) -> None: ...

    def unplug(self) -> None: ...

    def freeze(self) -> None: ...


def next_frame(camera: Camera, patience_s: float = 20) -> Frame:
    """The next frame, however often the camera is lost until then."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        try:
            frame = camera.read()
        except CameraLost:
            continue
        assert frame is not None
        return frame
    raise AssertionError("the camera did not come back")


def read_until_lost(camera: Camera) -> str:
    with pytest.raises(CameraLost) as caught:
        list(iter(camera.read, None))
    return str(caught.value)


def test_an_unplugged_camera_is_lost_and_comes_back(network_camera: NetworkCamera) -> None:
    with open_camera(network_camera.address) as camera:
        before = next_frame(camera)
        assert before.picture.shape == (128, 128, 3)
        network_camera.unplug()
        assert network_camera.address in read_until_lost(camera)
        network_camera.plug_in()
        assert next_frame(camera).sequence > before.sequence


def test_a_frozen_camera_is_lost_too(network_camera: NetworkCamera) -> None:
    with open_camera(network_camera.address) as camera:
        next_frame(camera)
        network_camera.freeze()
        read_until_lost(camera)

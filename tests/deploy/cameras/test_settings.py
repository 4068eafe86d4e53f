"""What a station may ask of a camera, and what a camera that does not keep its word is told."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from deploy.cameras import Camera, Frame
from deploy.cameras.genicam import Choice, Number, configure
from deploy.cameras.settings import CameraSettings, turned
from deploy.errors import CameraError


class Stubborn:
    """The features of a camera that keeps its own values."""

    def __init__(self, choices: dict[str, Choice], numbers: dict[str, Number]) -> None:
        self._choices = choices
        self._numbers = numbers

    def number(self, name: str) -> Number | None:
        return self._numbers.get(name)

    def set_number(self, name: str, value: float) -> None:
        if name == "GainAbs":
            raise OSError("node is locked")

    def choice(self, name: str) -> Choice | None:
        return self._choices.get(name)

    def choose(self, name: str, value: str) -> None:
        pass


CAMERA = Stubborn(
    {
        "PixelFormat": Choice("Mono8", ("Mono8", "Mono12", "YUV422_8")),
        "BalanceWhiteAuto": Choice("Off", ("Off", "Once", "Continuous")),
    },
    {"ExposureTime": Number(9998, 10, 1e6), "GainAbs": Number(0, 0, 20)},
)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"exposure": 5000}, "exposure 5000 was set, but the camera took 9998; this camera takes 10 to 1000000 microseconds"),
        ({"exposure": 5}, "exposure 5 is out of bounds; this camera takes 10 to 1000000 microseconds"),
        ({"gain": 3}, r"refused a setting \(gain\): node is locked"),
        ({"white_balance": "auto"}, "BalanceWhiteAuto Continuous was set, but the camera stays with Off"),
        ({"white_balance": 5000}, r"takes no kelvin; use auto or off \(BalanceWhiteAuto is one of Off, Once, Continuous\)"),
        (
            {"pixel_format": "Mono12"},
            "pixel_format Mono12 was set, but the camera stays with Mono8; this camera has Mono8, Mono12",
        ),
        ({"pixel_format": "YUV422_8"}, "pixel_format YUV422_8 cannot be read here; take one of Mono8, Mono12"),
    ],
)
def test_what_a_camera_really_took_is_compared(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CameraError, match=f"^the camera:? .*{message}|^the camera: {message}"):
        configure(CAMERA, CameraSettings(**settings), "the camera", (OSError,))


def test_what_is_within_the_cameras_own_steps_is_taken() -> None:
    assert configure(CAMERA, CameraSettings(exposure=10_000, white_balance="off"), "the camera", ()) == "Mono8"


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({}, "it has no pixel format"),
        (
            {"PixelFormat": Choice("YUV422_8", ("YUV422_8", "RGB8"))},
            "it sends YUV422_8, which cannot be read here; set pixel_format to one of RGB8",
        ),
    ],
)
def test_a_camera_whose_pixels_cannot_be_read_is_refused(choices: dict[str, Choice], message: str) -> None:
    with pytest.raises(CameraError, match=message):
        configure(Stubborn(choices, {}), CameraSettings(), "the camera", ())


@pytest.mark.parametrize(
    "settings",
    [
        {"exposure": 0},
        {"exposure": "on"},
        {"gain": "off"},
        {"white_balance": 10},
        {"rotation": 45},
        {"shutter": 1},
        {"pixel_format": ""},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CameraSettings(**settings)


class OneFrame(Camera):
    live = False
    fps = 5.0
    closed = False

    def read(self) -> Frame | None:
        picture = np.zeros((2, 3, 3), np.uint8)
        picture[0, 0] = 255
        return Frame(picture, 1.5, 7, "part.png")

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(("degrees", "corner"), [(0, (0, 0)), (90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))])
def test_pictures_are_turned_clockwise(degrees: Any, corner: tuple[int, int]) -> None:
    camera = OneFrame()
    with turned(camera, CameraSettings(rotation=degrees)) as mounted:
        frame = mounted.read()
        assert frame is not None
        assert frame.picture.shape == ((2, 3, 3) if degrees % 180 == 0 else (3, 2, 3))
        assert (frame.picture[corner] == 255).all()
        assert int(frame.picture.sum()) == 3 * 255
        assert (frame.captured_at, frame.sequence, frame.name) == (1.5, 7, "part.png")
        assert (mounted.live, mounted.fps, mounted.has_news()) == (False, 5.0, True)
    assert camera.closed

"""Webcams (USB, V4L2): which of them there are, and their exposure, gain and white balance by Linux' own controls."""

import errno
import fcntl
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.cameras.settings import CameraSettings
from deploy.errors import CameraError

_CAPABILITIES, _GET, _SET, _QUERY = 0x80685600, 0xC008561B, 0xC008561C, 0xC0445624  # VIDIOC_QUERYCAP, G_CTRL, S_CTRL, QUERYCTRL
_CAPTURES, _HAS_OWN = 0x1, 0x80000000  # V4L2_CAP_VIDEO_CAPTURE, V4L2_CAP_DEVICE_CAPS
_DISABLED = 0x1
_AUTO_WHITE_BALANCE, _AUTO_GAIN, _GAIN, _TEMPERATURE = 0x98090C, 0x980912, 0x980913, 0x98091A
_EXPOSURE_AUTO, _EXPOSURE = 0x9A0901, 0x9A0902
_MANUAL, _AUTOMATIC = 1, (3, 0)  # V4L2_EXPOSURE_MANUAL; aperture priority, which is what webcams have, or fully automatic
_EXPOSURE_STEP_US = 100
"""Linux counts exposure in steps of 100 microseconds."""
SYSTEM = Path("/sys/class/video4linux")


@dataclass(frozen=True)
class Webcam:
    """A device that delivers pictures."""

    number: int
    name: str
    driver: str


@dataclass(frozen=True)
class _Control:
    number: int
    low: int
    high: int


def devices(system: Path = SYSTEM) -> list[Webcam]:
    """Every video device that captures, by its number; a webcam's second device, for its metadata, is none."""
    found = []
    for entry in system.glob("video*") if system.is_dir() else ():
        number = int(entry.name.removeprefix("video"))
        name = (entry / "name").read_text(encoding="utf-8", errors="replace").strip() if (entry / "name").is_file() else ""
        driver = os.path.basename(os.path.realpath(entry / "device" / "driver")) if (entry / "device" / "driver").exists() else ""
        if _captures(Path(f"/dev/{entry.name}")):
            found.append(Webcam(number, name, driver))
    return sorted(found, key=lambda webcam: webcam.number)


def number_of(webcam: str) -> int:
    """The number of a webcam given as `0`, or as a path such as /dev/v4l/by-id/..., which another plug does not change.

    Raises CameraError for what is neither.
    """
    if webcam.isdecimal():
        return int(webcam)
    device = re.fullmatch(r"/dev/video(\d+)", os.path.realpath(webcam))
    if device is None:
        present = ", ".join(f"usb:{found.number}" for found in devices()) or "none"
        raise CameraError(f"usb:{webcam}: no such webcam; give a number or a path below /dev; webcams that are there: {present}")
    return int(device[1])


class Socket:
    """Finds a webcam again: numbers are given anew at each plugging, and another webcam may have got this one's."""

    def __init__(self, webcam: str, system: Path = SYSTEM) -> None:
        """`webcam`: as for `number_of`; one that is given as a lasting path is found by that, in whatever socket it is."""
        node = re.fullmatch(r"/dev/video(\d+)", webcam)
        self._webcam = node[1] if node else webcam
        self._system = system
        self._place: tuple[str, ...] | None = None

    def number(self) -> int:
        """The number that it has now. Raises CameraError where its socket is empty."""
        if not self._webcam.isdecimal():
            return number_of(self._webcam)
        places = _places(self._system)
        if self._place is None:
            wanted = int(self._webcam)
            self._place = next((place for place, number in places.items() if number == wanted), None)
            return wanted
        if self._place not in places:
            raise CameraError(
                f"usb:{self._webcam}: no webcam in the socket where it was; plug it in there, or restart the inspector; one "
                "given as usb:/dev/v4l/by-id/... may go to any socket"
            )
        return places[self._place]


def configure(number: int, settings: CameraSettings) -> None:
    """Set what is asked. Raises CameraError where the webcam has no such control, refuses a value or takes another one."""
    name = f"webcam {number}"
    if settings.pixel_format is not None:
        raise CameraError(
            f"{name}: pixel_format cannot be set here; choose it in a pipeline, "
            f"such as `gstreamer:v4l2src device=/dev/video{number} ! image/jpeg ! jpegdec`"
        )
    if not settings.asked():
        return
    with _opened(number, name) as device:
        if settings.white_balance is not None:
            _balance(device, settings.white_balance)
        if settings.exposure == "auto":
            _automatic_exposure(device)
        elif settings.exposure is not None:
            _set_exposure(device, settings.exposure)
        if settings.gain == "auto":
            device.set("gain auto", _AUTO_GAIN, 1)
        elif settings.gain is not None:
            if device.find(_AUTO_GAIN):
                device.set("gain", _AUTO_GAIN, 0)
            device.set(f"gain {settings.gain:g}", _GAIN, round(settings.gain))


class _Device:
    def __init__(self, file: int, name: str) -> None:
        self._file = file
        self._name = name

    def find(self, number: int) -> _Control | None:
        try:
            answer = fcntl.ioctl(self._file, _QUERY, struct.pack("=I64x", number))
        except OSError:
            return None
        _, _, _, low, high, _, _, flags = struct.unpack("=II32siiiiI8x", answer)
        return None if flags & _DISABLED else _Control(number, low, high)

    def set(self, setting: str, number: int, value: int, unit: float = 1) -> None:
        """Set a control and read it back; `unit` is what one step of it is in the setting's own unit."""
        control = self.find(number)
        if control is None:
            raise CameraError(f"{self._name}: {setting}: this webcam has no such control; see `v4l2-ctl --list-ctrls`")
        bounds = f"this webcam takes {control.low * unit:g} to {control.high * unit:g}"
        if not control.low <= value <= control.high:
            raise CameraError(f"{self._name}: {setting} is out of bounds; {bounds}")
        try:
            fcntl.ioctl(self._file, _SET, struct.pack("=Ii", number, value))
            taken = struct.unpack("=Ii", fcntl.ioctl(self._file, _GET, struct.pack("=Ii", number, 0)))[1]
        except OSError as error:
            raise CameraError(f"{self._name}: {setting} was refused ({error.strerror}); {bounds}") from error
        if abs(taken - value) > max(0.02 * abs(value), 0):
            raise CameraError(f"{self._name}: {setting} was set, but the webcam took {taken * unit:g}; {bounds}")


@contextmanager
def _opened(number: int, name: str) -> Iterator[_Device]:
    try:
        file = os.open(f"/dev/video{number}", os.O_RDWR | os.O_NONBLOCK)
    except OSError as error:
        raise CameraError(
            f"{name}: its settings cannot be reached ({error.strerror}); check its cable and permissions"
        ) from error
    try:
        yield _Device(file, name)
    finally:
        os.close(file)


def _places(system: Path) -> dict[tuple[str, ...], int]:
    """Where there are video devices, each with its number: in which socket, and as which one of the webcam in there."""
    found = {}
    for entry in system.glob("video*"):
        which = [(entry / name).read_text().strip() for name in ("index", "name") if (entry / name).is_file()]
        place = (os.path.realpath(entry / "device"), *which)
        found[place] = int(entry.name.removeprefix("video"))
    return found


def _captures(device: Path) -> bool:
    try:
        file = os.open(device, os.O_RDWR | os.O_NONBLOCK)
    except OSError as error:
        return error.errno in (errno.EACCES, errno.EBUSY, errno.EPERM)  # there, if not for us
    try:
        capabilities, own = struct.unpack("=84xII12x", fcntl.ioctl(file, _CAPABILITIES, bytes(104)))
    except OSError:
        return False
    finally:
        os.close(file)
    return bool((own if capabilities & _HAS_OWN else capabilities) & _CAPTURES)


def _balance(device: _Device, wanted: str | int) -> None:
    device.set(f"white_balance {wanted}", _AUTO_WHITE_BALANCE, int(wanted == "auto"))
    if isinstance(wanted, int):
        device.set(f"white_balance {wanted}", _TEMPERATURE, wanted)


def _automatic_exposure(device: _Device) -> None:
    trouble: CameraError | None = None
    for way in _AUTOMATIC:
        try:
            device.set("exposure auto", _EXPOSURE_AUTO, way)
        except CameraError as error:
            trouble = trouble or error
        else:
            return
    assert trouble is not None
    raise trouble


def _set_exposure(device: _Device, microseconds: float) -> None:
    if device.find(_EXPOSURE_AUTO):
        device.set(f"exposure {microseconds:g}", _EXPOSURE_AUTO, _MANUAL)
    steps = max(1, round(microseconds / _EXPOSURE_STEP_US))
    device.set(f"exposure {microseconds:g}", _EXPOSURE, steps, _EXPOSURE_STEP_US)

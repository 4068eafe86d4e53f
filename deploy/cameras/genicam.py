"""Settings of GenICam cameras by the standard's names, the same through every SDK; what was set is read back and compared."""

from dataclasses import dataclass
from typing import Protocol

from deploy.cameras.pixels import is_readable
from deploy.cameras.settings import CameraSettings
from deploy.errors import CameraError


@dataclass(frozen=True)
class Number:
    """A feature with a value and its bounds at this moment."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Choice:
    """A feature with one of several names."""

    value: str
    options: tuple[str, ...]


class Features(Protocol):
    """The features of one opened camera; an SDK's own errors are raised as they are."""

    def number(self, name: str) -> Number | None:
        """A number; None where the camera has none of this name, or not now."""

    def set_number(self, name: str, value: float) -> None:
        """Set a number that is there."""

    def choice(self, name: str) -> Choice | None:
        """A choice; None where the camera has none of this name, or not now."""

    def choose(self, name: str, value: str) -> None:
        """Set a choice that is there."""


def configure(features: Features, settings: CameraSettings, name: str, errors: tuple[type[Exception], ...]) -> str:
    """Set what is asked, and say which pixel format the camera sends. `errors` are those that the SDK raises.

    Raises CameraError where the camera lacks a feature, refuses a value or takes another one, and for pixels we cannot read.
    """
    try:
        pixel_format = _pixel_format(features, settings.pixel_format)
        if settings.white_balance is not None:
            _white_balance(features, settings.white_balance)
        if settings.exposure is not None:
            _amount(features, "exposure", "microseconds", settings.exposure, ("ExposureTime", "ExposureTimeAbs"), "ExposureAuto")
        if settings.gain is not None:
            _amount(features, "gain", "decibels", settings.gain, ("Gain", "GainAbs"), "GainAuto")
    except CameraError as error:
        raise CameraError(f"{name}: {error}") from error
    except errors as error:
        raise CameraError(f"{name} refused a setting ({', '.join(settings.asked()) or 'none asked'}): {error}") from error
    return pixel_format


def stated_fps(features: Features) -> float | None:
    """Pictures per second as the camera states it, in its newer and older names."""
    for name in ("ResultingFrameRate", "ResultingFrameRateAbs", "AcquisitionFrameRate", "AcquisitionFrameRateAbs"):
        rate = features.number(name)
        if rate is not None and 0 < rate.value <= 10000:
            return rate.value
    return None


def waits_for_trigger(features: Features) -> bool:
    """Does the camera take pictures only on a trigger?"""
    mode = features.choice("TriggerMode")
    return mode is not None and mode.value == "On"


def _pixel_format(features: Features, wanted: str | None) -> str:
    choice = features.choice("PixelFormat")
    if choice is None:
        raise CameraError("it has no pixel format; is it a camera that takes pictures?")
    readable = [option for option in choice.options if is_readable(option)]
    has = f"this camera has {', '.join(choice.options)}"
    if wanted is not None:
        if wanted not in choice.options:
            raise CameraError(f"pixel_format {wanted} is not there; {has}")
        if not is_readable(wanted):
            raise CameraError(f"pixel_format {wanted} cannot be read here; take one of {', '.join(readable)}")
        features.choose("PixelFormat", wanted)
        choice = features.choice("PixelFormat") or choice
        if choice.value != wanted:
            raise CameraError(f"pixel_format {wanted} was set, but the camera stays with {choice.value}; {has}")
    if not is_readable(choice.value):
        raise CameraError(f"it sends {choice.value}, which cannot be read here; set pixel_format to one of {', '.join(readable)}")
    return choice.value


def _white_balance(features: Features, wanted: str | int) -> None:
    if isinstance(wanted, int):
        raise CameraError(
            f"white_balance {wanted}: this camera takes no kelvin; use auto or off{_options(features, 'BalanceWhiteAuto')}"
        )
    _automatic(features, "white_balance", "BalanceWhiteAuto", wanted == "auto")


def _amount(features: Features, setting: str, unit: str, wanted: str | float, names: tuple[str, ...], automatic: str) -> None:
    if isinstance(wanted, str):
        _automatic(features, setting, automatic, True)
        return
    if features.choice(automatic) is not None:
        _automatic(features, setting, automatic, False)
    for name in names:
        number = features.number(name)
        if number is not None:
            break
    else:
        raw = features.number(f"{names[0]}Raw")
        steps = f", only raw steps of {raw.low:.9g} to {raw.high:.9g}, which have no unit" if raw else ""
        raise CameraError(f"{setting} {wanted:.9g}: this camera has no {setting} in {unit}{steps}; leave {setting} out")
    bounds = f"this camera takes {number.low:.9g} to {number.high:.9g} {unit}"
    # Some cameras clip or wrap silently what is out of their bounds.
    if not number.low <= wanted <= number.high:
        raise CameraError(f"{setting} {wanted:.9g} is out of bounds; {bounds}")
    features.set_number(name, wanted)
    taken = features.number(name)
    # Cameras round to their own steps.
    if taken is None or abs(taken.value - wanted) > max(0.02 * abs(wanted), 0.2 if unit == "decibels" else 0.0):
        found = "nothing" if taken is None else f"{taken.value:.9g}"
        raise CameraError(f"{setting} {wanted:.9g} was set, but the camera took {found}; {bounds}")


def _automatic(features: Features, setting: str, feature: str, on: bool) -> None:
    value = "Continuous" if on else "Off"
    choice = features.choice(feature)
    if choice is None or value not in choice.options:
        raise CameraError(f"{setting} {'auto' if on else 'off'}: this camera cannot{_options(features, feature)}")
    features.choose(feature, value)
    choice = features.choice(feature)
    if choice is None or choice.value != value:
        raise CameraError(
            f"{setting}: {feature} {value} was set, but the camera stays with {choice.value if choice else 'nothing'}"
        )


def _options(features: Features, feature: str) -> str:
    choice = features.choice(feature)
    return f" (it has no {feature})" if choice is None else f" ({feature} is one of {', '.join(choice.options)})"

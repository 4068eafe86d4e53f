"""Basler cameras (USB3 Vision and GigE) through pypylon; the SDK keeps only the latest picture."""

import time
from contextlib import suppress
from functools import cache
from typing import Any

from deploy.cameras.genicam import Choice, Number, configure, stated_fps, waits_for_trigger
from deploy.cameras.pixels import to_bgr
from deploy.cameras.pulled import Pull, sdk
from deploy.cameras.settings import CameraSettings
from deploy.errors import CameraError, CameraLost

INSTALL = "pip install 'line-inspector[genicam]'"


@cache
def load() -> tuple[Any, Any]:
    """The modules pylon and genicam of pypylon. Raises CameraError where it is not installed."""
    with sdk("A Basler camera", INSTALL):
        from pypylon import genicam, pylon
    return pylon, genicam


def devices() -> list[tuple[str, str]]:
    """Serial number and description of each Basler camera that is reachable. Raises CameraError without pypylon."""
    pylon, genicam = load()
    try:
        found = pylon.TlFactory.GetInstance().EnumerateDevices()
    except genicam.GenericException as error:
        raise CameraError(f"the search for Basler cameras failed: {error}") from error
    return [(device.GetSerialNumber(), f"{device.GetVendorName()} {device.GetModelName()}") for device in found]


class Basler:
    """One camera by its serial number, or the only one. Raises CameraError when it does not open or refuses a setting."""

    def __init__(self, serial: str, settings: CameraSettings) -> None:
        self._pylon, genicam = load()
        self._error = genicam.GenericException
        self.name = f"Basler camera {serial}".strip()
        self.advice = "check its cable and power"
        serial = _one_of(serial, devices(), self.name)
        wanted = self._pylon.DeviceInfo()
        wanted.SetSerialNumber(serial)
        try:
            self._camera = self._pylon.InstantCamera(self._pylon.TlFactory.GetInstance().CreateDevice(wanted))
            self._camera.Open()
        except self._error as error:
            raise CameraError(f"{self.name} cannot be opened; close other programs that use it: {error}") from error
        try:
            features = _Features(self._camera.GetNodeMap(), genicam)
            self._format = configure(features, settings, self.name, (self._error,))
            self.fps = stated_fps(features)
            self.on_event = waits_for_trigger(features)
            self._camera.StartGrabbing(self._pylon.GrabStrategy_LatestImageOnly)
        except self._error as error:
            self.release()
            raise CameraError(f"{self.name} does not start: {error}") from error
        except CameraError:
            self.release()
            raise

    def pull(self, timeout_s: float) -> Pull:
        """See `deploy.cameras.pulled.Driver.pull`."""
        try:
            # After the device is gone nothing raises: it only no longer grabs.
            if self._camera.IsCameraDeviceRemoved() or not self._camera.IsGrabbing():
                raise CameraLost(f"{self.name} is gone; {self.advice}")
            with self._camera.RetrieveResult(round(timeout_s * 1000), self._pylon.TimeoutHandling_Return) as result:
                arrived = time.monotonic()
                if not result.IsValid():
                    return Pull()
                delivered = 1 + result.GetNumberOfSkippedImages()
                if not result.GrabSucceeded():
                    return Pull(
                        delivered, arrived=arrived, trouble=result.GetErrorDescription() or f"error {result.GetErrorCode()}"
                    )
                size = result.GetHeight(), result.GetWidth()
                return Pull(delivered, to_bgr(result.GetBuffer(), *size, self._format, result.GetPaddingX()), arrived)
        except self._error as error:
            raise CameraLost(f"{self.name} is gone ({error}); {self.advice}") from error

    def release(self) -> None:
        """See `deploy.cameras.pulled.Driver.release`."""
        for step in (self._camera.StopGrabbing, self._camera.Close, self._camera.DestroyDevice):
            with suppress(self._error):
                step()


class _Features:
    """See `deploy.cameras.genicam.Features`."""

    def __init__(self, nodes: Any, genicam: Any) -> None:
        self._nodes = nodes
        self._readable = genicam.IsReadable

    def number(self, name: str) -> Number | None:
        node = self._nodes.GetNode(name)
        return Number(node.GetValue(), node.GetMin(), node.GetMax()) if node is not None and self._readable(node) else None

    def set_number(self, name: str, value: float) -> None:
        self._nodes.GetNode(name).SetValue(value)

    def choice(self, name: str) -> Choice | None:
        node = self._nodes.GetNode(name)
        return Choice(node.GetValue(), tuple(node.GetSymbolics())) if node is not None and self._readable(node) else None

    def choose(self, name: str, value: str) -> None:
        self._nodes.GetNode(name).SetValue(value)


def _one_of(serial: str, found: list[tuple[str, str]], name: str) -> str:
    serials = [each for each, _ in found]
    if serial in serials or (not serial and len(serials) == 1):
        return serial or serials[0]
    there = f"these are there: {', '.join(f'basler:{each}' for each in serials)}" if serials else "no Basler camera is there"
    raise CameraError(f"{name}: {'no such camera' if serial else 'which one?'}; {there}; check its cable, power and network")

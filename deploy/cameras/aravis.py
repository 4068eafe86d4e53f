"""GigE Vision and USB3 Vision cameras of any maker through Aravis."""

import time
from contextlib import suppress
from typing import Any

from deploy.cameras.genicam import Choice, Number, configure, stated_fps, waits_for_trigger
from deploy.cameras.gobject import aravis
from deploy.cameras.pixels import to_bgr
from deploy.cameras.pulled import Pull
from deploy.cameras.settings import CameraSettings
from deploy.errors import CameraError, CameraLost

_BUFFERS = 8


def devices() -> list[tuple[str, str, str]]:
    """Name, serial number and description of each camera; searching takes a second. Raises CameraError without Aravis."""
    library, _ = aravis()
    library.update_device_list()
    return [
        (
            library.get_device_id(index),
            library.get_device_serial_nbr(index) or "",
            f"{library.get_device_vendor(index)} {library.get_device_model(index)}, "
            f"{library.get_device_protocol(index)} at {library.get_device_address(index)}",
        )
        for index in range(library.get_n_devices())
    ]


class Aravis:
    """One camera by its Aravis name, serial number or network address, or the only one there is.

    Raises CameraError when it does not open or refuses a setting.
    """

    def __init__(self, wanted: str, settings: CameraSettings) -> None:
        self._library, glib = aravis()
        self._error = glib.Error
        self.name = f"camera {wanted}" if wanted else "the camera"
        self.advice = "check its cable, power and network"
        self._control_lost = False
        self._handler = 0
        self._stream: Any = None
        self._camera = self._open(wanted)
        try:
            self._start(settings)
        except (CameraError, self._error) as error:
            self.release()
            if isinstance(error, CameraError):
                raise
            raise CameraError(f"{self.name} does not start: {error.message}") from error

    @property
    def device(self) -> Any:
        """The camera's device, always asked for: a kept reference, be it by an error's traceback, keeps it from being closed."""
        return self._camera.get_device()

    def pull(self, timeout_s: float) -> Pull:
        """See `deploy.cameras.pulled.Driver.pull`."""
        if self._control_lost:
            raise CameraLost(f"{self.name} is gone; {self.advice}")
        buffer = self._stream.timeout_pop_buffer(round(timeout_s * 1e6)) if timeout_s else self._stream.try_pop_buffer()
        arrived = time.monotonic()
        if buffer is None:
            return Pull()
        delivered = 1
        while (newer := self._stream.try_pop_buffer()) is not None:
            self._stream.push_buffer(buffer)
            buffer = newer
            delivered += 1
        try:
            status = buffer.get_status()
            if status != self._library.BufferStatus.SUCCESS:
                what = f"incomplete pictures: {status.value_nick}; raise the packet size (jumbo frames) or slow the camera down"
                return Pull(delivered, arrived=arrived, trouble=what)
            size = buffer.get_image_height(), buffer.get_image_width()
            # Debian's and Ubuntu's older Aravis cannot say it.
            padding = buffer.get_image_padding()[0] if hasattr(buffer, "get_image_padding") else 0
            return Pull(delivered, to_bgr(buffer.get_data(), *size, self._format, padding), arrived)
        finally:
            self._stream.push_buffer(buffer)

    def release(self) -> None:
        """See `deploy.cameras.pulled.Driver.release`."""
        with suppress(self._error):
            self._camera.stop_acquisition()
        if self._handler:
            self.device.disconnect(self._handler)
        # The last reference closes the device: control of it is free again for whoever opens it next.
        self._stream = self._camera = None

    def _open(self, wanted: str) -> Any:
        try:
            return self._library.Camera.new(wanted or None)
        except self._error as error:
            found = devices()
            for device, serial, _ in found:
                if wanted and wanted == serial:
                    return self._open(device)
            there = ", ".join(f"aravis:{device}" for device, _, _ in found) or "none"
            raise CameraError(f"{self.name} cannot be opened ({error.message}); cameras that are there: {there}") from error

    def _start(self, settings: CameraSettings) -> None:
        self._handler = self.device.connect("control-lost", self._on_control_lost)
        if isinstance(self.device, self._library.GvDevice) and not self.device.is_controller():
            raise CameraError(f"{self.name} is in use by another program; close that first")
        features = _Features(self)
        self._format = configure(features, settings, self.name, (self._error,))
        self.fps = stated_fps(features)
        self.on_event = waits_for_trigger(features)
        self._stream = self._camera.create_stream(None, None)
        for _ in range(_BUFFERS):
            self._stream.push_buffer(self._library.Buffer.new_allocate(self._camera.get_payload()))
        self._camera.start_acquisition()

    def _on_control_lost(self, _: Any) -> None:
        self._control_lost = True


class _Features:
    """See `deploy.cameras.genicam.Features`."""

    def __init__(self, camera: Aravis) -> None:
        self._camera = camera

    def number(self, name: str) -> Number | None:
        if not self._camera.device.is_feature_available(name):
            return None
        if name.endswith("Raw"):
            return Number(
                self._camera.device.get_integer_feature_value(name), *self._camera.device.get_integer_feature_bounds(name)
            )
        return Number(self._camera.device.get_float_feature_value(name), *self._camera.device.get_float_feature_bounds(name))

    def set_number(self, name: str, value: float) -> None:
        self._camera.device.set_float_feature_value(name, value)

    def choice(self, name: str) -> Choice | None:
        if not self._camera.device.is_feature_available(name):
            return None
        options = self._camera.device.dup_available_enumeration_feature_values_as_strings(name)
        return Choice(self._camera.device.get_string_feature_value(name), tuple(options))

    def choose(self, name: str, value: str) -> None:
        self._camera.device.set_string_feature_value(name, value)

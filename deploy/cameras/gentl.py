"""Cameras behind a GenTL producer, a maker's .cti file, through harvesters."""

import logging
import os
import sys
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from deploy.cameras.genicam import Choice, Number, configure, stated_fps, waits_for_trigger
from deploy.cameras.pixels import to_bgr
from deploy.cameras.pulled import Pull, sdk
from deploy.cameras.settings import CameraSettings
from deploy.errors import CameraError, CameraLost

INSTALL = "pip install 'line-inspector[genicam]'"
_READABLE = (3, 4)  # RO, RW of GenApi's EAccessMode
_WAIT_S = 0.001  # harvesters waits for ever on 0
_taking = threading.Lock()
_producers: dict[Path, tuple[Any, int]] = {}
"""Each producer's Harvester and how many cameras are open on it: a second Harvester of one producer finds no cameras."""


@cache
def load() -> Any:
    """The module harvesters.core. Raises CameraError where it is not installed."""
    before = sys.getdlopenflags()
    # GenApi must use its own libraries: with those that GStreamer has brought into the process, it crashes.
    sys.setdlopenflags(os.RTLD_NOW | os.RTLD_DEEPBIND)
    try:
        with sdk("A GenTL camera", INSTALL):
            from harvesters import core
    finally:
        sys.setdlopenflags(before)
    logging.getLogger(core.__name__).setLevel(logging.CRITICAL)  # what failed is told by us, in one sentence
    return core


def devices(producer: Path) -> list[tuple[str, str]]:
    """Serial number and description of each camera of a producer. Raises CameraError for what is no producer."""
    harvester = _take(producer)
    try:
        return _found(harvester)
    finally:
        _give_back(producer)


class GenTL:
    """One camera of a producer by its serial number, or the only one. Raises CameraError when it does not open."""

    def __init__(self, producer: Path, serial: str, settings: CameraSettings) -> None:
        load()
        self._producer = producer.resolve()
        self.name = f"camera {serial} of {producer.name}" if serial else f"the camera of {producer.name}"
        self.advice = "check its cable and power"
        self._acquirer: Any = None
        harvester = _take(self._producer)
        try:  # without the lock: a camera that hangs while it opens must not keep others from being opened and closed
            self._start(harvester, serial, settings)
        except CameraError:
            self.release()
            raise
        except Exception as error:  # each producer has its own ways to fail
            self.release()
            raise CameraError(f"{self.name} cannot be opened; close other programs that use it: {error!r}") from error

    def pull(self, timeout_s: float) -> Pull:
        """See `deploy.cameras.pulled.Driver.pull`."""
        delivered = 0
        newest, arrived = None, 0.0
        try:
            # Buffers come oldest first.
            while (buffer := self._acquirer.try_fetch(timeout=_WAIT_S if newest else timeout_s or _WAIT_S)) is not None:
                arrived = time.monotonic()
                delivered += 1
                if newest is not None:
                    newest.queue()
                newest = buffer
                if delivered > self._acquirer.num_buffers:
                    break
            if newest is None:
                return Pull()
            image = newest.payload.components[0]
            picture = to_bgr(image.data, image.height, image.width, image.data_format, image.x_padding)
            return Pull(delivered, picture, arrived)
        except CameraError:
            raise
        except Exception as error:
            raise CameraLost(f"{self.name} is gone ({error!r}); {self.advice}") from error
        finally:
            if newest is not None:
                with suppress(Exception):
                    newest.queue()

    def release(self) -> None:
        """See `deploy.cameras.pulled.Driver.release`."""
        acquirer, self._acquirer = self._acquirer, None
        if acquirer is not None:
            with suppress(Exception):  # a producer whose camera is gone fails in its own way
                acquirer.destroy()
        _give_back(self._producer)

    def _start(self, harvester: Any, serial: str, settings: CameraSettings) -> None:
        found = [each for each, _ in _found(harvester)]
        if serial not in found and (serial or len(found) != 1):
            there = ", ".join(f"#{each}" for each in found) or "none"
            raise CameraError(f"{self.name}: {'no such camera' if serial else 'which one?'}; cameras that are there: {there}")
        self._acquirer = harvester.create(found.index(serial) if serial else 0)
        nodes = self._acquirer.remote_device.node_map
        features = _Features(nodes)
        errors = (load().GenTL_GenericException, load().GenApi_GenericException)
        configure(features, settings, self.name, errors)
        self.fps = stated_fps(features)
        self.on_event = waits_for_trigger(features)
        self._acquirer.start()


def _take(producer: Path) -> Any:
    core = load()
    producer = producer.resolve()
    with _taking:
        harvester, cameras = _producers.get(producer, (None, 0))
        if harvester is None:
            harvester = core.Harvester()
            try:
                harvester.add_file(str(producer), check_existence=True, check_validity=True)
                harvester.update()
            except Exception as error:
                harvester.reset()
                reason = "no such file" if isinstance(error, FileNotFoundError) else str(error).removeprefix(f"{producer}: ")
                raise CameraError(
                    f"{producer}: {reason}; expected a GenTL producer, the .cti file that a camera's maker installs"
                ) from error
        _producers[producer] = harvester, cameras + 1
    return harvester


def _give_back(producer: Path) -> None:
    producer = producer.resolve()
    with _taking:
        harvester, cameras = _producers.pop(producer)
        if cameras > 1:
            _producers[producer] = harvester, cameras - 1
        else:
            with suppress(Exception):
                harvester.reset()


def _found(harvester: Any) -> list[tuple[str, str]]:
    return [(device.serial_number, f"{device.vendor} {device.model}, {device.id_}") for device in harvester.device_info_list]


class _Features:
    """See `deploy.cameras.genicam.Features`."""

    def __init__(self, nodes: Any) -> None:
        self._nodes = nodes

    def _node(self, name: str) -> Any:
        if not self._nodes.has_node(name):
            return None
        node = self._nodes.get_node(name)
        return node if node.get_access_mode() in _READABLE else None

    def number(self, name: str) -> Number | None:
        node = self._node(name)
        return None if node is None else Number(node.value, node.min, node.max)

    def set_number(self, name: str, value: float) -> None:
        self._node(name).value = value

    def choice(self, name: str) -> Choice | None:
        node = self._node(name)
        return None if node is None else Choice(node.value, tuple(node.symbolics))

    def choose(self, name: str, value: str) -> None:
        self._node(name).value = value

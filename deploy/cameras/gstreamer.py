"""Cameras behind a GStreamer pipeline, such as the CSI cameras of a Jetson (nvarguscamerasrc)."""

import time
from typing import Any

import numpy as np

from deploy.addresses import without_secrets
from deploy.cameras.gobject import gstreamer
from deploy.cameras.pulled import Pull
from deploy.cameras.settings import CameraSettings, refuse_all
from deploy.errors import CameraError, CameraLost
from deploy.preprocess import Picture

# The sink keeps only the newest frame and hands it out at once, whatever the frame's own time stamp says.
_SINK = "videoconvert ! video/x-raw,format=BGR ! appsink name=newest max-buffers=1 drop=true sync=false"
_ERROR_S = 2


class Pipeline:
    """A pipeline in the words of gst-launch-1.0, without a sink. Raises CameraError when it cannot be built or started."""

    def __init__(self, description: str, settings: CameraSettings) -> None:
        self._gst, glib = gstreamer()
        self.name = without_secrets(f"gstreamer:{description}")
        self.advice = "check the camera, and the pipeline with gst-launch-1.0"
        self.on_event = False
        refuse_all(self.name, settings, "say it in the pipeline, such as `nvarguscamerasrc exposuretimerange='100000 100000'`")
        if "appsink" in description or not description.strip():
            raise CameraError(
                f"{self.name}: give the pipeline up to the picture, such as `v4l2src device=/dev/video0`; no appsink"
            )
        try:
            self._pipeline = self._gst.parse_launch(f"{description} ! {_SINK}")
        except glib.Error as error:
            raise CameraError(
                f"{self.name}: {without_secrets(error.message)}; check its elements with gst-inspect-1.0"
            ) from error
        self._sink = self._pipeline.get_by_name("newest")
        self._bus = self._pipeline.get_bus()
        if self._pipeline.set_state(self._gst.State.PLAYING) == self._gst.StateChangeReturn.FAILURE:
            complaint = self._complaint(_ERROR_S) or "it does not start"
            self.release()
            raise CameraError(f"{self.name}: {complaint}; {self.advice}")
        # What the source states is known with its first frame.
        sample = self._sink.try_pull_preroll(5 * self._gst.SECOND)
        self.fps = _stated_fps(sample) if sample is not None else None

    def pull(self, timeout_s: float) -> Pull:
        """See `deploy.cameras.pulled.Driver.pull`."""
        sample = self._sink.try_pull_sample(round(timeout_s * self._gst.SECOND))
        arrived = time.monotonic()
        if sample is not None:
            return Pull(1, self._picture(sample), arrived)
        if complaint := self._complaint(0):
            raise CameraLost(f"{self.name}: {complaint}; {self.advice}")
        return Pull()

    def release(self) -> None:
        """See `deploy.cameras.pulled.Driver.release`."""
        self._pipeline.set_state(self._gst.State.NULL)

    def _complaint(self, patience_s: float) -> str | None:
        kinds = self._gst.MessageType.ERROR | self._gst.MessageType.EOS
        message = self._bus.timed_pop_filtered(patience_s * self._gst.SECOND, kinds)
        if message is None:
            return "the stream has ended" if self._sink.is_eos() else None
        if message.type == self._gst.MessageType.EOS:
            return "the stream has ended"
        return without_secrets(f"{message.src.get_name()}: {message.parse_error()[0].message}")

    def _picture(self, sample: Any) -> Picture:
        caps = sample.get_caps().get_structure(0)
        height, width = caps.get_value("height"), caps.get_value("width")
        buffer = sample.get_buffer()
        rows = np.frombuffer(buffer.extract_dup(0, buffer.get_size()), np.uint8).reshape(height, -1)  # rows end on 4 bytes
        return np.ascontiguousarray(rows[:, : 3 * width]).reshape(height, width, 3)


def _stated_fps(sample: Any) -> float | None:
    found, count, seconds = sample.get_caps().get_structure(0).get_fraction("framerate")
    return count / seconds if found and count and seconds else None

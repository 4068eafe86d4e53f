"""A recording replayed as though it were a live camera."""

import time
from dataclasses import replace

from deploy.cameras import Camera, Frame
from deploy.errors import CameraError


class Paced(Camera):
    """A recording whose frames become available at its own rate, as from a live camera."""

    def __init__(self, recording: Camera) -> None:
        if recording.fps is None:
            raise CameraError("this video does not state its frame rate, so it cannot be replayed in real time; drop --realtime")
        self.live = True
        self.fps = recording.fps
        self._recording = recording
        self._period = 1 / recording.fps
        self._due = time.monotonic()

    def read(self) -> Frame | None:
        """The next frame, once its time has come."""
        frame = self._recording.read()
        time.sleep(max(0.0, self._due - time.monotonic()))
        self._due += self._period
        return None if frame is None else replace(frame, captured_at=time.monotonic())

    def close(self) -> None:
        """Close the recording."""
        self._recording.close()

"""Sources as a measurement needs them: raw pictures in memory, recordings without an end, and any with its reads timed."""

import time
from collections.abc import Callable
from itertools import count

from deploy.cameras import Camera, Frame, Unreadable
from deploy.errors import CameraError
from deploy.preprocess import Picture

RAW_BYTES, RAW_PICTURES = 128_000_000, 100
"""What is held of a source, decoded: far more than a processor's cache, and no more."""
RAW_WITHIN_S = 2.0
"""A live camera is not waited for longer than this, once it has brought a picture."""


def decoded(camera: Camera) -> list[Picture]:
    """The first pictures of a source. Raises CameraError where there is none; its own errors for a camera that is lost."""
    pictures: list[Picture] = []
    size, end = 0, time.monotonic() + RAW_WITHIN_S
    trouble = "it is empty"
    for _ in range(RAW_PICTURES):
        try:
            frame = camera.read()
        except Unreadable as error:
            trouble = str(error)
            continue
        if frame is None or (pictures and size + frame.picture.nbytes > RAW_BYTES):
            break
        pictures.append(frame.picture)
        size += frame.picture.nbytes
        if camera.live and time.monotonic() > end:
            break
    if not pictures:
        raise CameraError(f"none of the first {RAW_PICTURES} pictures can be read ({trouble}); give another source")
    return pictures


class Raw(Camera):
    """Pictures that need no decoding, again and again without an end."""

    def __init__(self, pictures: list[Picture]) -> None:
        self.live, self.fps = False, None
        self._pictures = pictures
        self._numbers = count(1)

    def read(self) -> Frame:
        """See `deploy.cameras.Camera.read`."""
        number = next(self._numbers)
        return Frame(self._pictures[number % len(self._pictures)], time.monotonic(), number, f"frame {number}")

    def close(self) -> None:
        """Nothing is held open."""


class Repeated(Camera):
    """A recording, again from its beginning whenever it has ended."""

    def __init__(self, open_again: Callable[[], Camera]) -> None:
        self._open_again = open_again
        self._camera = open_again()
        self.live, self.fps = False, self._camera.fps
        self._before = self._last = 0

    def read(self) -> Frame:
        """See `deploy.cameras.Camera.read`."""
        captured_at = time.monotonic()
        try:
            frame = self._camera.read()
            if frame is None:
                self._camera.close()
                self._camera = self._open_again()
                self._before = self._last
                frame = self._camera.read()
        except Unreadable as error:
            self._last = self._before + error.sequence
            raise Unreadable(str(error), self._last, error.name) from error
        if frame is None:
            raise CameraError("the recording has no pictures any more; give another source")
        self._last = self._before + frame.sequence
        return Frame(frame.picture, captured_at, self._last, frame.name)

    def close(self) -> None:
        """Close the recording."""
        self._camera.close()


class Clocked(Camera):
    """A camera that notes the milliseconds of each read that brought a frame."""

    def __init__(self, camera: Camera, took_ms: list[float]) -> None:
        self.live, self.fps = camera.live, camera.fps
        self._camera, self._took_ms = camera, took_ms

    def read(self) -> Frame | None:
        """See `deploy.cameras.Camera.read`."""
        before = time.perf_counter()
        frame = self._camera.read()
        self._took_ms.append((time.perf_counter() - before) * 1000)
        return frame

    def has_news(self) -> bool:
        """See `deploy.cameras.Camera.has_news`."""
        return self._camera.has_news()

    def close(self) -> None:
        """Close the camera."""
        self._camera.close()

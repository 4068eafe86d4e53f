"""Only the newest frame of a live camera: a thread captures, older frames are dropped, a lost camera is reopened."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from deploy.cameras import Camera, Frame
from deploy.errors import CameraError, CameraLost

BACK_OFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 10.0)
"""Pauses before the attempts to reopen a lost camera; the last one repeats."""
PATIENCE_S = 2.0
"""How long a reader waits for a frame before the camera counts as lost."""


class NewestOnly(Camera):
    """Reads a camera on its own thread and hands out only the newest frame; a slow reader loses frames, never time.

    `open_again` opens the camera, now and after each loss; its first CameraError is raised here, later ones while reading.
    """

    def __init__(
        self, open_again: Callable[[], Camera], back_off_s: tuple[float, ...] = BACK_OFF_S, patience_s: float = PATIENCE_S
    ) -> None:
        camera = open_again()
        self.live = True
        self.fps = camera.fps
        self._open_again = open_again
        self._back_off_s = back_off_s
        self._patience_s = patience_s
        self._news = threading.Condition()
        self._closing = threading.Event()
        self._newest: Frame | None = None
        self._complaint: Exception | None = None
        self._ended = False
        self._sequence = 0
        # A daemon: a read that hangs inside a driver must not keep the process from ending.
        self._thread = threading.Thread(target=self._capture, args=(camera,), name="capture", daemon=True)
        self._thread.start()

    def read(self) -> Frame | None:
        """See `deploy.cameras.Camera.read`. While the camera is lost this raises at most once per attempt to reopen it."""
        with self._news:
            self._news.wait_for(lambda: self._newest or self._complaint or self._ended, self._patience_s)
            frame, self._newest = self._newest, None
            if frame is not None:
                return frame
            complaint, self._complaint = self._complaint, None
            if complaint is not None:
                raise complaint
            if self._ended:
                return None
        raise CameraLost(f"no frame for {self._patience_s:.1f} s; check the camera's cable, power and network")

    def has_news(self) -> bool:
        """See `deploy.cameras.Camera.has_news`."""
        with self._news:
            return bool(self._newest or self._complaint or self._ended)

    def close(self) -> None:
        """Stop the thread, which releases the camera."""
        self._closing.set()
        self._thread.join(timeout=5)

    def _capture(self, camera: Camera | None) -> None:
        attempt = 0
        try:
            while not self._closing.is_set():
                try:
                    if camera is None:
                        camera = self._open_again()
                    frame = camera.read()
                except Exception as error:  # a driver may raise anything; the line must come back all the same
                    self._tell(complaint=CameraLost(str(error)))
                    # The same capture never comes back after a network camera returned: a fresh one does.
                    if camera is not None:
                        camera.close()
                        camera = None
                    self._closing.wait(self._back_off_s[min(attempt, len(self._back_off_s) - 1)])
                    attempt += 1
                    continue
                attempt = 0
                if frame is None:
                    break
                self._tell(newest=frame)
        except Exception as error:  # whatever happened, the reader must hear of it instead of waiting for ever
            self._tell(complaint=error)
        finally:
            if camera is not None:
                with suppress(CameraError):
                    camera.close()
            with self._news:
                self._ended = True
                self._news.notify_all()

    def _tell(self, newest: Frame | None = None, complaint: Exception | None = None) -> None:
        with self._news:
            if newest is not None:
                self._sequence += 1  # counted here, because a reopened camera starts again at 1
                self._newest = replace(newest, sequence=self._sequence, name=f"frame {self._sequence}")
                self._complaint = None
            else:
                self._complaint = complaint
            self._news.notify_all()


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

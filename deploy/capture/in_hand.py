"""The picture that a key would label now: the newest of a live camera, the next of a folder, never one twice."""

import time

from deploy.cameras import PATIENCE_S, Camera, Frame, Unreadable
from deploy.cameras.folder import PictureFolder
from deploy.cameras.life import NothingYet
from deploy.errors import CameraLost, StaleFrame
from deploy.sharpness import sharpness


class InHand:
    """Looks at a camera without waiting for it."""

    def __init__(self, camera: Camera) -> None:
        self.shown: Frame | None = None
        """What is on the screen; None while a camera is lost, never the last picture in its place."""
        self.fresh = False
        """May it be labelled? No picture is taken twice."""
        self.trouble: str | None = None
        self.skipped: str | None = None
        """Why the picture before this one was left out, if it could not be read."""
        self.ended = False
        self.sharpness = 0.0
        self.steps = not camera.live
        self._camera = camera

    def look(self) -> None:
        """Take the newest frame if there is one; from a recording the next, once this one is done with."""
        if self.ended or (self.steps and self.fresh):
            return
        if not self._camera.has_news():
            if self.shown is not None and time.monotonic() - self.shown.captured_at > PATIENCE_S:
                self._lose(f"no frame for {PATIENCE_S:.0f} s; check the camera's cable, power and network")
            return
        try:
            frame = self._camera.read()
        except NothingYet:  # it waits for its trigger
            return
        except (CameraLost, StaleFrame) as error:
            self._lose(str(error))
        except Unreadable as error:
            self.skipped = str(error)
        else:
            if frame is None:
                self.ended = True
                return
            self.shown, self.fresh, self.trouble = frame, True, None
            self.sharpness = sharpness(frame.picture)

    def done(self) -> None:
        """The picture was labelled or passed over."""
        self.fresh = False

    def back_to(self, sequence: int) -> None:
        """A folder's picture whose label was taken back comes again; a camera's moment is gone."""
        if isinstance(self._camera, PictureFolder):
            self._camera.back_to(sequence)
            self.fresh = self.ended = False

    def _lose(self, why: str) -> None:
        self.shown, self.fresh, self.trouble = None, False, why

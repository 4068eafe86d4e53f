"""Annotated frames on the disk: a JPEG for each picture of a folder, a film of a video."""

from contextlib import suppress
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from deploy.cameras import Frame
from deploy.cameras.video import VideoFile
from deploy.errors import CameraError, StationError
from deploy.preprocess import Picture


class Film(Protocol):
    """Takes annotated frames."""

    def add(self, frame: Frame, drawn: Picture) -> None:
        """Take one more."""

    def close(self) -> None:
        """Finish the file."""


class Pictures:
    """`<name>.jpg` for every picture; a full disk costs pictures (counted in `unsaved`), not the inspection."""

    def __init__(self, folder: Path) -> None:
        self.unsaved = 0
        self._folder = folder
        self._taken: set[Path] = set()

    def add(self, frame: Frame, drawn: Picture) -> None:
        """See `Film.add`."""
        target = (self._folder / frame.name).with_suffix(".jpg")
        if target in self._taken:  # a.png and a.bmp of one folder
            target = self._folder / f"{frame.name}.jpg"
        self._taken.add(target)
        encoded, data = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, 92])
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data.tobytes() if encoded else b"")
        except OSError:
            self.unsaved += 1
            with suppress(OSError):
                target.unlink()  # a truncated picture

    def close(self) -> None:
        """See `Film.close`."""


class Video:
    """`annotated.mp4`; it gets this name when it is complete. Raises StationError where it cannot be written."""

    def __init__(self, folder: Path, fps: float | None) -> None:
        self._final = folder / "annotated.mp4"
        self._growing = folder / ".annotated.part.mp4"
        self._fps = fps or 25.0
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def add(self, frame: Frame, drawn: Picture) -> None:
        """See `Film.add`."""
        if self._writer is None:
            self._size = (drawn.shape[1], drawn.shape[0])
            self._growing.parent.mkdir(parents=True, exist_ok=True)
            writer = cv2.VideoWriter(str(self._growing), cv2.VideoWriter.fourcc(*"mp4v"), self._fps, self._size)
            if not writer.isOpened():
                raise StationError(f"{self._final}: the film cannot be written here; check the folder and the space on its disk")
            self._writer = writer
        if (drawn.shape[1], drawn.shape[0]) != self._size:  # a reopened camera may come back at another size
            drawn = np.asarray(cv2.resize(drawn, self._size), np.uint8)
        self._writer.write(drawn)

    def close(self) -> None:
        """See `Film.close`."""
        if self._writer is not None:
            self._writer.release()
            try:  # OpenCV tells nothing of a disk that was full
                VideoFile(self._growing).close()
            except CameraError as error:
                found = f"no frame of {self._growing.name} could be read back"
                raise StationError(f"{self._final}: the film is not whole, {found}; check the space on its disk") from error
            self._growing.replace(self._final)

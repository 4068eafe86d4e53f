"""A folder of pictures, read in step and in the order of their names."""

import os
import time
from pathlib import Path

from deploy.cameras import Camera, Frame, Unreadable
from deploy.errors import CameraError, DatasetError
from deploy.preprocess import PICTURE_SUFFIXES, read_picture


def is_picture(path: Path | str) -> bool:
    """Is this file named as a picture?"""
    return os.path.splitext(path)[1].lower() in PICTURE_SUFFIXES


class PictureFolder(Camera):
    """Every picture below a folder, or one picture file. Raises CameraError where there is none."""

    def __init__(self, path: Path) -> None:
        self.live = False
        self.fps = None
        self._root = path if path.is_dir() else path.parent
        self._files = sorted(file for file in path.rglob("*") if is_picture(file) and file.is_file()) if path.is_dir() else [path]
        self._sequence = 0
        if not self._files:
            raise CameraError(
                f"{path}: found no pictures in this folder; expected files ending in {', '.join(sorted(PICTURE_SUFFIXES))}"
            )

    def read(self) -> Frame | None:
        """See `deploy.cameras.Camera.read`."""
        if self._sequence == len(self._files):
            return None
        file = self._files[self._sequence]
        self._sequence += 1
        name = file.relative_to(self._root).as_posix()
        captured_at = time.monotonic()
        try:
            return Frame(read_picture(file), captured_at, self._sequence, name)
        except DatasetError as error:
            raise Unreadable(str(error), self._sequence, name) from error

    def back_to(self, sequence: int) -> None:
        """The next read() delivers picture number `sequence` again, and then those after it."""
        self._sequence = sequence - 1

    def close(self) -> None:
        """Nothing is held open."""

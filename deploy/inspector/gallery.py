"""Where annotated frames go: a film or pictures of each camera, and the window. The hot path only hands them over."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from deploy.cameras import Camera
from deploy.errors import StationError
from deploy.inspector.annotate import not_ready
from deploy.inspector.drawing import Drawing, Filming
from deploy.inspector.film import Film, Pictures, Video
from deploy.inspector.lane import Lane
from deploy.inspector.settings import Settings
from deploy.inspector.tally import Tally
from deploy.inspector.window import Window
from deploy.preprocess import Picture

SIDE_BY_SIDE = 480
"""Rows of each camera's picture where several share the window."""


class Gallery:
    """Raises StationError where a film could overwrite its source, or there is no screen for the window."""

    def __init__(self, settings: Settings, cameras: Sequence[Camera]) -> None:
        names = [wanted.name for wanted in settings.cameras]
        films: dict[str, tuple[Film, bool]] = {}
        for wanted, camera in zip(settings.cameras, cameras, strict=True):
            if settings.annotate is not None:
                folder = settings.annotate / wanted.name if len(cameras) > 1 else settings.annotate
                films[wanted.name] = _film(folder, wanted.source, camera), not camera.live
        self.window = Window(pause_ms=1 if any(camera.fps for camera in cameras) else 300) if settings.show else None
        self._kinds = [film for film, _ in films.values()]
        self._films = {name: Filming(film, must_pass) for name, (film, must_pass) in films.items()}
        self._names = names
        self._window_trouble: str | None = None
        self._shown: dict[str, Picture] = {}
        self._preview: Lane[tuple[str, Drawing]] = Lane(len(cameras), must_pass=not any(camera.live for camera in cameras))

    @property
    def is_wanted(self) -> bool:
        """Is there anyone to draw for?"""
        return bool(self._films) or self.window is not None

    @property
    def dropped(self) -> int:
        """Frames that are missing in the films because drawing did not keep up, or broke off."""
        return sum(film.dropped for film in self._films.values())

    def add(self, camera: str, drawing: Drawing) -> None:
        """Hand over a frame; from the hot path."""
        if camera in self._films:
            self._films[camera].add(drawing)
        if self.window is not None:
            self._preview.put((camera, drawing))

    def lose(self, camera: str) -> None:
        """Count a frame that there was no memory for; from the hot path."""
        if camera in self._films:
            self._films[camera].lose()

    def show(self, tally: Tally, timeout_s: float) -> bool:
        """Show what came newest, from the main thread; False once the user has closed the window."""
        if self.window is None:
            return True
        try:
            return self._show(self.window, tally, timeout_s)
        except (MemoryError, cv2.error) as error:  # the line does not depend on a window
            self._window_trouble = str(error).strip() or type(error).__name__
            self.give_way()
            self._close_window()
            return True

    def _show(self, window: Window, tally: Tally, timeout_s: float) -> bool:
        newest = self._preview.get(timeout_s)
        if newest is not None:
            camera, drawing = newest
            self._shown[camera] = drawing.picture()
            for name in tally.lost():  # its last verdict must not stand beside the others
                self._shown[name] = not_ready(tally)
            return window.show(_beside([self._shown[name] for name in self._names if name in self._shown]))
        return window.show(not_ready(tally)) if tally.complaint else window.show(None)

    @property
    def is_behind(self) -> bool:
        """Are there frames of a recording that wait to be shown?"""
        return self.window is not None and not self._preview.is_empty()

    def give_way(self) -> None:
        """Nobody looks any more: let the hot path go on."""
        self._preview.close()

    def finish(self) -> None:
        """Complete the films."""
        for film in self._films.values():
            film.close()

    def let_go(self) -> None:
        """Complete the films and take the window from the screen."""
        self.finish()
        self._close_window()

    def _close_window(self) -> None:
        window, self.window = self.window, None
        if window is not None:
            with suppress(cv2.error):
                window.close()

    def complaints(self) -> list[str]:
        """What to tell of the films."""
        unsaved = sum(film.unsaved for film in self._kinds if isinstance(film, Pictures))
        found = [f"{unsaved} annotated pictures could not be saved; check the disk"] if unsaved else []
        found += [f"the window was closed, it failed: {self._window_trouble}"] if self._window_trouble else []
        found += [f"the film broke off: {film.trouble}" for film in self._films.values() if film.trouble]
        return found + ([f"{self.dropped} frames are not in the film: drawing did not keep up"] if self.dropped else [])


def _film(folder: Path, source: str, camera: Camera) -> Film:
    origin, target = Path(source).resolve(), folder.resolve()
    if (origin.is_dir() and (target == origin or origin in target.parents)) or target / "annotated.mp4" == origin:
        raise StationError(f"--annotate {folder} could overwrite the source {source}; give another folder")
    is_video = camera.live or camera.fps is not None
    return Video(folder, camera.fps) if is_video else Pictures(folder)


def _beside(pictures: list[Picture]) -> Picture:
    if len(pictures) == 1:
        return pictures[0]
    sized = [cv2.resize(one, (max(1, round(one.shape[1] * SIDE_BY_SIDE / len(one))), SIDE_BY_SIDE)) for one in pictures]
    return np.hstack(sized).astype(np.uint8)

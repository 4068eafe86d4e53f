"""Annotated frames, drawn off the hot path: on a thread for each film, and in the main thread for the window."""

import threading
from dataclasses import dataclass

from deploy.cameras import Frame
from deploy.inspector.annotate import annotate
from deploy.inspector.film import Film
from deploy.inspector.lane import Lane
from deploy.inspector.step import Seen
from deploy.inspector.tally import Tally
from deploy.inspector.watch import Turn
from deploy.preprocess import Picture, Preprocessing

WAITING = 8
"""Frames that may wait to be drawn: a third of a second of a camera."""


@dataclass(frozen=True, eq=False)
class Drawing:
    """What is needed to draw a frame later. The frame is held by reference: nobody may paint over it."""

    frame: Frame
    seen: list[Seen]
    tally: Tally
    preprocessing: Preprocessing

    def picture(self) -> Picture:
        """Draw it."""
        return annotate(self.frame.picture, self.seen, self.tally, self.preprocessing)


def drawing_of(turn: Turn, tally: Tally) -> Drawing | None:
    """What to draw of a turn; None when the camera brought nothing."""
    if turn.frame is None:
        return None
    seen = [one for step in turn.steps.values() for one in step.seen]
    return Drawing(turn.frame, seen, tally.frozen(), turn.judge.preprocessing)


class Filming:
    """Draws for one film. A live camera that is faster than the drawing loses drawings, which are counted."""

    def __init__(self, film: Film, must_pass: bool) -> None:
        self.trouble: str | None = None
        """Why the film broke off; the inspection goes on without it."""
        self._film = film
        self._lane: Lane[Drawing] = Lane(WAITING, must_pass)
        self._thread = threading.Thread(target=self._draw, name="film", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Frames that are not in the film."""
        return self._lane.dropped

    def add(self, drawing: Drawing) -> None:
        """Have it drawn."""
        self._lane.put(drawing)

    def lose(self) -> None:
        """Count a frame that cannot be drawn."""
        self._lane.dropped += 1

    def close(self) -> None:
        """Draw what is waiting and finish the film."""
        self._lane.close()
        self._thread.join()

    def _draw(self) -> None:
        drawing = None
        try:
            while (drawing := self._lane.get()) is not None:
                self._film.add(drawing.frame, drawing.picture())
            self._film.close()
        except Exception as error:  # a full disk, say
            self.trouble = str(error) or type(error).__name__
            self._lane.dropped += drawing is not None
            while self._lane.get() is not None:
                self._lane.dropped += 1

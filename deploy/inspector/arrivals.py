"""What the cameras bring, at one place: the newest of each, fairly in turn. No camera waits for another.

Every camera is read on a thread of its own. A live one lays down its newest frame over the one before; a recording is read, and
made ready, one frame ahead, so that this and judging go on at the same time.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from deploy.cameras import Camera, Frame, Unreadable
from deploy.cameras.life import NothingYet
from deploy.errors import CameraError, CameraLost
from deploy.inspector.watch import News

IDLE_S = 0.1
"""After so long without any news, readers are told that there is none."""
END_S = 3.0
"""How long a camera may take to end; one that hangs longer is left behind."""


@dataclass
class _Place:
    camera: Camera
    frame: Frame | Unreadable | None = None
    trouble: CameraError | None = None
    is_lost: bool = False
    ended: bool = False

    def put(self, news: News) -> None:
        self.is_lost = isinstance(news, CameraError) and not isinstance(news, NothingYet)
        if isinstance(news, (Frame, Unreadable)):
            self.frame = news
        else:  # what came before it is old, and what comes after it is of another time
            self.frame, self.trouble = None, news

    def take(self) -> News | None:
        if self.trouble is not None:
            trouble, self.trouble = self.trouble, None
            return trouble
        frame, self.frame = self.frame, None
        return frame


class Arrivals:
    """Iterate once over (index of the camera, news), or None when there was none for a while; ends when every recording has.

    The cameras are its own from now on: `close` closes them. `prepare` is given the index of a recording and each of its frames,
    on its reader's thread. Live frames are left as they are: most of a fast camera's are never looked at.
    """

    def __init__(self, cameras: Sequence[Camera], prepare: Callable[[int, Frame], Frame] = lambda _, frame: frame) -> None:
        self._prepare = prepare
        self._places = [_Place(camera) for camera in cameras]
        self._changed = threading.Condition()
        self._closing = False
        self._next = 0
        reads = enumerate(self._places)
        self._threads = [threading.Thread(target=self._read, args=one, name="reader", daemon=True) for one in reads]

    def __iter__(self) -> Iterator[tuple[int, News] | None]:
        with self._changed:
            if self._closing:
                return
            for thread in self._threads:
                thread.start()
        while True:
            with self._changed:
                found = self._take()
                if found is None:
                    if self._closing or all(place.ended for place in self._places):
                        return
                    self._changed.wait(IDLE_S)
                    found = self._take()
            yield found

    def close(self) -> None:
        """End the readers and close the cameras; again is fine."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify_all()
        with ThreadPoolExecutor(len(self._places)) as together:  # cameras that hang are waited for once, not one after the other
            list(together.map(_end, self._places, self._threads))

    def _take(self) -> tuple[int, News] | None:
        for step in range(len(self._places)):
            index = (self._next + step) % len(self._places)
            news = self._places[index].take()
            if news is not None:
                self._next = index + 1
                self._changed.notify_all()
                return index, news
        return None

    def _read(self, index: int, place: _Place) -> None:
        while not place.ended:
            if not place.camera.live:
                with self._changed:
                    self._changed.wait_for(lambda: self._closing or (place.frame is None and place.trouble is None))
            if self._closing:
                return
            news: News | None
            is_last = False
            try:
                news = place.camera.read()
                if isinstance(news, Frame) and not place.camera.live:
                    news = self._prepare(index, news)
            except NothingYet as error:
                if not place.is_lost or place.trouble is not None:
                    continue
                news = error  # the camera is back
            except (CameraError, Unreadable) as error:
                news = error
            except Exception as error:
                news = CameraLost(str(error) or type(error).__name__)
                is_last = not place.camera.live
            with self._changed:
                if news is not None:
                    place.put(news)
                place.ended = is_last or news is None
                self._changed.notify_all()


def _end(place: _Place, reader: threading.Thread) -> None:
    if place.camera.live:  # which ends a read that waits for a frame
        place.camera.close()
    if reader.ident is not None:
        reader.join(END_S)
    if not place.camera.live and not reader.is_alive():  # a file must not be closed under a read
        place.camera.close()

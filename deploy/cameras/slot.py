"""The place of the newest frame: each new one takes it from the one before, and none is handed out that is too old."""

import time
from dataclasses import replace

from deploy.cameras import Frame, Unreadable
from deploy.cameras.life import Life
from deploy.cameras.state import History
from deploy.errors import CameraError, StaleFrame


class Slot:
    """Each frame that is put in is taken, counted as dropped, or lies here. Not for several threads: its owner holds a lock."""

    def __init__(self, limit_s: float, history: History) -> None:
        self.complaint: CameraError | None = None
        """Why there is no frame; a reader hears of it once, and not at all if a frame comes before it asks."""
        self._newest: Frame | Unreadable | None = None
        self._limit_s = limit_s
        self._history = history

    def is_empty(self) -> bool:
        """Is there nothing to take and nothing to say?"""
        return self._newest is None and self.complaint is None

    def put(self, life: Life, news: Frame | Unreadable) -> bool:
        """What a driver delivered; False when it came too late to be used."""
        step = max(1, news.sequence - (life.sequence or 0))  # frames that a driver passed over before its first count, too
        life.sequence = news.sequence
        history = self._history
        history.captured += step
        history.dropped += step - 1
        count = history.captured  # our own, because a reopened camera starts again at 1
        name = f"frame {count}" if news.name == f"frame {news.sequence}" else news.name
        if isinstance(news, Unreadable):
            newest: Frame | Unreadable = Unreadable(str(news), count, name)
        else:
            age_s = time.monotonic() - news.captured_at
            life.late_s = age_s if age_s > self._limit_s else None
            if life.late_s is not None:
                history.dropped += 1
                return False
            history.frame(news.captured_at)
            newest = replace(news, sequence=count, name=name)
        self.clear()
        self._newest, self.complaint = newest, None
        return True

    def take(self) -> Frame | None:
        """The newest frame, once. Raises what stands in its place, and StaleFrame for one that lay here too long."""
        newest, self._newest = self._newest, None
        if isinstance(newest, Unreadable):
            raise newest
        if newest is None:
            complaint, self.complaint = self.complaint, None
            if complaint is not None:
                raise complaint
            return None
        age_s = time.monotonic() - newest.captured_at
        if age_s > self._limit_s:
            self._history.dropped += 1
            raise too_old(age_s, self._limit_s)
        return newest

    def clear(self) -> None:
        """Drop the frame that lies here."""
        self._history.dropped += self._newest is not None
        self._newest = None


def too_old(age_s: float, limit_s: float) -> StaleFrame:
    """The frame's age and what to do about it."""
    return StaleFrame(
        f"the newest frame is {age_s:.1f} s old, at most {limit_s:.1f} s are allowed; the network or this machine is too slow "
        "for the stream: lower the camera's resolution or frame rate"
    )

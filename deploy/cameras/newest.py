"""Only the newest frame of a live camera, under supervision: whatever its driver does, silence is a fault within the limit.

A driver lives on a capture thread: opened, read and closed there. A second thread watches the time. A driver that fails is
closed and opened anew; one that hangs cannot be interrupted, so its thread is abandoned: what it still brings is thrown away,
and it closes the driver if it ever returns. Readers wait for neither.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from deploy.addresses import without_secrets
from deploy.cameras import PATIENCE_S, Camera, Frame, Unreadable
from deploy.cameras.life import Attempts, Life, NothingYet
from deploy.cameras.slot import Slot, too_old
from deploy.cameras.state import Change, Figures, History, State
from deploy.errors import CameraError, CameraLost

BACK_OFF_S = (0.2, 0.5, 1.0)
"""Seconds from one attempt to reopen a lost camera to the next; the last one repeats. A longer one would keep the line waiting
for a camera that is back, a shorter one gives slow cameras no time to let go of the last connection."""
OPEN_LIMIT_S = 10.0
"""An attempt to open a camera that takes longer is given up: network cameras take 1-4 s, industrial ones up to 8 s."""
PAUSE_S = 0.05
"""After an error of the watch itself, in seconds."""
FAULT_AT = 0.9
"""Share of the limit at which the fault is declared, so that it is out when the limit is over."""


class NewestOnly(Camera):
    """Hands out only the newest frame of a camera; a slow reader loses frames, never time.

    `open_again` opens the camera, now and after each loss; its first CameraError is raised here, later ones while reading.
    `limit_s`: without a frame captured within so many seconds the camera is lost. `listener` hears of every change of state
    on the supervising thread and must return at once: put what takes time into a queue.
    """

    def __init__(
        self,
        open_again: Callable[[], Camera],
        back_off_s: tuple[float, ...] = BACK_OFF_S,
        limit_s: float = PATIENCE_S,
        open_limit_s: float = OPEN_LIMIT_S,
        listener: Callable[[Change], None] | None = None,
    ) -> None:
        self.live = True
        self._open_again = open_again
        self._limit_s = limit_s
        self._open_limit_s = open_limit_s
        self._listener = listener
        lock = threading.RLock()
        self._news = threading.Condition(lock)
        self._watch = threading.Condition(lock)
        self._closing = False
        self._history = History()
        self._slot = Slot(limit_s, self._history)
        self._unpublished: list[Change] = []
        self._life: Life | None = None
        self._attempts = Attempts(back_off_s, limit_s)
        # Daemons: what hangs inside a driver must not keep the process from ending.
        self._supervisor = threading.Thread(target=self._supervise, name="camera watchdog", daemon=True)
        with self._news:
            first = self._begin()
            self._supervisor.start()
            self._news.wait_for(lambda: first.camera is not None or first.error is not None)
        if first.camera is None and first.error is not None:
            self.close()
            raise first.error
        self.fps = None if first.camera is None else first.camera.fps

    def __enter__(self) -> "NewestOnly":
        return self

    def read(self) -> Frame | None:
        """See `deploy.cameras.Camera.read`; waits for at most the limit, and never hands out a frame that is older than it.

        Raises CameraLost, at most once per attempt to reopen the camera; StaleFrame where frames come, but too late; NothingYet
        while a camera that waits for an event has seen none.
        """
        with self._news:
            self._news.wait_for(self.has_news, self._limit_s)
            frame = self._slot.take()
            if frame is not None:
                return frame
            if self._history.state is State.ENDED:
                return None
            life = self._life
            if life is not None and life.on_event and self._history.state is State.STREAMING:
                raise NothingYet(f"no frame for {self._limit_s:.1f} s, and none was due")
            raise CameraLost(f"no frame for {self._limit_s:.1f} s: {self._history.why}")

    def has_news(self) -> bool:
        """See `deploy.cameras.Camera.has_news`."""
        with self._news:
            return not self._slot.is_empty() or self._history.state is State.ENDED

    def figures(self) -> Figures:
        """How the camera fares now. Any thread may ask."""
        with self._news:
            return self._history.figures()

    def close(self) -> None:
        """Stop; the capture thread releases the camera. A driver that hangs is left behind after 2 s."""
        with self._news:
            life, self._life = self._life, None
            self._closing = True
            self._change(State.ENDED, "closed")
            self._news.notify_all()
            self._news.wait_for(lambda: life is None or life.gone, timeout=2)
        self._supervisor.join(timeout=1)

    # The capture thread of one life. It has a say only as long as it is the current one.

    def _begin(self) -> Life:
        life = self._life = Life()
        try:
            threading.Thread(target=self._capture, args=(life,), name="capture", daemon=True).start()
        except (RuntimeError, MemoryError) as error:  # no thread to be had now: tried again after the back-off
            life.gone = True
            self._fail(life, error)
        return life

    def _capture(self, life: Life) -> None:
        camera = None
        try:
            camera = self._open_again()
            self._opened(life, camera)
            while self._life is life:
                try:
                    frame = camera.read()
                except NothingYet:
                    life.on_event, life.alive_at = True, time.monotonic()
                    self._flows(life)
                except Unreadable as error:
                    life.alive_at = time.monotonic()
                    self._deliver(life, error)
                else:
                    if frame is None:
                        self._end(life)
                        break
                    self._deliver(life, frame)
        except Exception as error:  # a driver may raise anything; the line must come back all the same
            self._fail(life, error)
        finally:
            if camera is not None:
                with suppress(Exception):
                    camera.close()
            with self._news:
                life.gone = True
                self._news.notify_all()
                self._watch.notify_all()

    def _opened(self, life: Life, camera: Camera) -> None:
        with self._news:
            life.camera, life.alive_at = camera, time.monotonic()
            self._news.notify_all()
            self._watch.notify_all()

    def _flows(self, life: Life) -> None:
        with self._news:
            if self._life is life and self._history.state is not State.STREAMING:
                self._attempts.succeeded()
                self._change(State.STREAMING, "frames come")

    def _deliver(self, life: Life, news: Frame | Unreadable) -> None:
        with self._news:
            if self._life is life and self._slot.put(life, news):
                self._flows(life)
                self._news.notify_all()

    def _end(self, life: Life) -> None:
        with self._news:
            if self._life is life:
                self._life = None
                self._change(State.ENDED, "the recording is over")
                self._news.notify_all()

    def _fail(self, life: Life, error: Exception) -> None:
        with self._news:
            said = without_secrets(str(error)) or type(error).__name__
            # Not the error itself: its traceback would keep what a driver holds.
            life.error, life.failed_at = CameraError(said), time.monotonic()
            if self._life is life:
                self._lose(life, CameraLost(said))

    # The supervising thread.

    def _supervise(self) -> None:
        is_over = False
        while not is_over:
            try:
                is_over = self._turn()
            except Exception:  # no memory, even for saying so: without this thread nothing would ever be given up again
                time.sleep(PAUSE_S)

    def _turn(self) -> bool:
        """Wait until there is something to decide, and decide it; is it over?"""
        with self._watch:
            if not self._unpublished and not self._closing:
                self._watch.wait(max(0.0, self._due() - time.monotonic()))
            self._act()
            changes, self._unpublished = self._unpublished, []
            is_over = self._closing or self._history.state is State.ENDED
        for change in changes:
            if self._listener is not None:
                with suppress(Exception):  # a listener's trouble is not the camera's
                    self._listener(change)
        return is_over

    def _due(self) -> float:
        """When there is something to decide next, in time.monotonic() seconds."""
        life = self._life
        if life is None:
            return self._attempts.due()
        if life.camera is None:
            return life.started + self._open_limit_s
        share = FAULT_AT / 2 if self._history.state is State.STREAMING else FAULT_AT
        return self._last_sign(life) + share * self._limit_s

    def _last_sign(self, life: Life) -> float:
        return max(life.alive_at, self._history.newest_at or 0.0)

    def _act(self) -> None:
        if self._closing or self._history.state is State.ENDED or time.monotonic() < self._due():
            return
        life = self._life
        if life is None:
            self._reopen()
        elif life.camera is None:
            self._abandon(life, CameraLost(f"it did not open within {self._open_limit_s:.0f} s; check its power and network"))
        elif self._history.state is State.STREAMING:
            self._change(State.STALLED, f"no frame for {time.monotonic() - self._last_sign(life):.1f} s")
        elif life.late_s is not None:
            self._abandon(life, too_old(life.late_s, self._limit_s))
        else:
            silent_s = time.monotonic() - self._last_sign(life)
            self._abandon(life, CameraLost(f"no frame for {silent_s:.1f} s; check the camera's cable, power and network"))

    def _abandon(self, life: Life, complaint: CameraError) -> None:
        life.error = complaint
        self._slot.clear()
        self._lose(life, complaint)

    def _reopen(self) -> None:
        hindrance = self._attempts.hindered()
        self._change(State.REOPENING, hindrance or self._history.why)
        if hindrance is None:
            self._begin()

    def _lose(self, life: Life, complaint: CameraError) -> None:
        self._life = None
        self._attempts.lost(life)
        # Nobody has this camera yet: the constructor raises what the first opening brought.
        self._closing |= self._history.state is State.OPENING and life.camera is None
        self._slot.complaint = complaint
        # While reopening goes on, failed attempts are no changes: an outage of a week makes as many records as one of a minute.
        self._change(State.REOPENING if self._history.state is State.REOPENING else State.LOST, str(complaint))
        self._news.notify_all()

    def _change(self, after: State, why: str) -> None:
        change = self._history.change(after, why)
        if change is not None:
            self._unpublished.append(change)
        self._watch.notify_all()

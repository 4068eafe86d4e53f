"""The hot thread: it judges and hands over, and whatever happens to what it hands over to, it goes on judging.

An engine that hangs cannot be interrupted, nor can a thread that draws. The main thread sees it by the time that one frame takes.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from deploy.cameras import Frame
from deploy.errors import EngineError
from deploy.inspector.ahead import plain
from deploy.inspector.arrivals import Arrivals
from deploy.inspector.drawing import drawing_of
from deploy.inspector.drift import Drift
from deploy.inspector.gallery import Gallery
from deploy.inspector.judge import Judge
from deploy.inspector.loop import inspect
from deploy.inspector.reload import Reloading
from deploy.inspector.tally import Tally
from deploy.inspector.watch import HANGS, News, Turn, Watch
from deploy.store import Place, Store

END_S = 5.0
"""How long the frame in hand may take when all is to end; an engine that hangs for longer is left behind."""


@dataclass(eq=False)
class _InHand:
    """What the hot thread has taken up."""

    watch: Watch
    news: News
    after: int
    """The number of the frame before it."""
    since: float
    """time.monotonic() seconds."""
    is_counted: bool = False
    """It is judged, and in the tally."""


class Work:
    """`hangs_after_s`: a frame in hand for so long hangs; infinite for recordings. `on_reload` hears of another judge."""

    def __init__(
        self,
        arrivals: Arrivals,
        watches: Sequence[Watch],
        reloading: Reloading,
        store: Store,
        tally: Tally,
        gallery: Gallery,
        hangs_after_s: float,
        on_reload: Callable[[Judge], None],
        drift: Drift | None = None,
    ) -> None:
        self.done, self._stopping = threading.Event(), threading.Event()
        self.error: BaseException | None = None
        self._arrivals, self._watches, self._reloading = arrivals, watches, reloading
        self._store, self._tally, self._gallery = store, tally, gallery
        self._hangs_after_s, self._on_reload, self._drift = hangs_after_s, on_reload, drift
        self._in_hand: _InHand | None = None
        self._told: _InHand | None = None
        self._claim = threading.Lock()
        """Of a frame's place in the tally: it is judged, or it hangs."""
        self._thread = threading.Thread(target=self._run, name="inspect", daemon=True)

    def start(self) -> None:
        """Begin to judge."""
        self._thread.start()

    def stuck_s(self) -> float:
        """For how long a frame has been in hand, in seconds; 0 while the next one is awaited. For any thread."""
        in_hand = self._in_hand
        return 0.0 if in_hand is None else time.monotonic() - in_hand.since

    def look(self) -> None:
        """Note a frame that hangs, once. Call it now and then from another thread."""
        in_hand, stuck_s = self._in_hand, self.stuck_s()
        if in_hand is None or in_hand is self._told or stuck_s < self._hangs_after_s:
            return
        self._told = in_hand
        with self._claim:
            if self._in_hand is not in_hand:  # done by now: nobody would take the complaint back
                return
            turn = in_hand.watch.hangs(in_hand.news, stuck_s, self._reloading.judge)
            self._tally.add(turn)
        self._record(turn)

    def stop(self) -> bool:
        """Judge no more after the frame in hand; True where that is in vain, because it hangs."""
        self._stopping.set()
        self._gallery.give_way()
        return self.stuck_s() > END_S

    def end(self) -> None:
        """Judge no more, and close the cameras; again is fine. A frame that hangs is a fault, and `error` says so."""
        self.stop()
        if self._thread.ident is not None:
            self._thread.join(END_S)
        self._arrivals.close()
        with self._claim:
            in_hand, stuck_s = self._in_hand, self.stuck_s()
            if self.error is not None or in_hand is None or not self._thread.is_alive():
                return
            self.error = EngineError(
                f"{in_hand.watch.name_of(in_hand.news)} has been in hand for {stuck_s:.0f} s: {HANGS}; it was "
                "left behind; start the inspector again, and look into the device's own log"
            )
        if isinstance(in_hand.news, Frame) and not in_hand.is_counted:
            dropped = in_hand.news.sequence - in_hand.after - 1
            self._tally.add(Turn(in_hand.watch.camera, self._reloading.judge, {}, dropped=dropped, faulted=1))

    def _run(self) -> None:
        judge = self._reloading.judge
        try:
            for turn in inspect(self._taken_up(), self._watches, self._reloading.current, self._stopping.is_set):
                if turn is not None:
                    if not self._count(turn):
                        return
                    if turn.judge is not judge:
                        judge = turn.judge
                        self._on_reload(judge)
                    self._record(turn)
                    self._draw(turn)
                    self._watch_drift(turn)
                self._in_hand = None
        except BaseException as error:
            self.error = error
        finally:
            self.done.set()

    def _taken_up(self) -> Iterator[tuple[int, News] | None]:
        for arrival in self._arrivals:
            if arrival is not None:
                watch = self._watches[arrival[0]]
                self._in_hand = _InHand(watch, arrival[1], watch.last, time.monotonic())
            yield arrival

    def _count(self, turn: Turn) -> bool:
        """False where the frame was left behind, and counted as such."""
        with self._claim:
            if self.error is not None:
                return False
            self._tally.add(turn)
            if math.isinf(self._hangs_after_s):  # a recording's frames are shown one by one, for as long as somebody looks
                self._in_hand = None
            if self._in_hand is not None:
                self._in_hand.is_counted = True
            return True

    def _record(self, turn: Turn) -> None:
        for region, step in turn.steps.items():
            try:
                self._store.add(replace(step, frame=plain(step.frame)), Place(turn.camera, region))
            except MemoryError:
                self._store.lose(step)

    def _draw(self, turn: Turn) -> None:
        with suppress(MemoryError):  # only a picture
            if self._gallery.is_wanted and (drawing := drawing_of(turn, self._tally)) is not None:
                self._gallery.add(turn.camera, drawing)
                return
        if self._gallery.is_wanted and turn.frame is not None:
            self._gallery.lose(turn.camera)

    def _watch_drift(self, turn: Turn) -> None:
        if self._drift is None:
            return
        try:
            self._drift.add(turn)
        except Exception as error:  # the line does not depend on it
            self._drift = None
            with suppress(MemoryError):
                self._store.note("drift", f"drift is no longer watched ({error or type(error).__name__})")

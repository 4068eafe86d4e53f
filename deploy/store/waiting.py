"""What waits for the disk: three bounded lanes between the loop, which only ever puts in, and the writer's thread."""

import threading
from collections import deque
from collections.abc import Iterable, Sequence

from deploy.inspector.part import now_utc
from deploy.store.policy import Shot
from deploy.store.rows import Kept, Row, Session, bundle_row

FRAMES_WAITING = 2_000
"""View rows that may wait for the disk: a minute of a busy belt. Beyond that the oldest are dropped and counted."""
PARTS_WAITING = 20_000
"""Part, fault and event rows that may wait, in some 20 MB of memory: while the disk is full that lasts hours for a part a second,
and a quarter of an hour where every frame is a part. Only beyond that are the oldest lost, and counted."""


class Waiting:
    """Hold `changed` for what must happen together; every method takes it too."""

    def __init__(self, session: Session, picture_bytes: int) -> None:
        self.changed = threading.Condition()
        self.views_dropped = 0
        self.rows_lost = 0
        self.pictures_dropped = 0
        self.is_closing = False
        self.records = 0
        """The number of the record given last."""
        self.loads = [bundle_row(session, 1, now_utc())]
        """What decided, since the session began: few, and never lost."""
        self._views: deque[Row] = deque()
        self._keep: deque[Kept] = deque()
        self._shots: deque[Shot] = deque()
        self._picture_bytes = picture_bytes
        self._lost: tuple[int, int] | None = None

    def number(self) -> int:
        """The next record's."""
        with self.changed:
            self.records += 1
            return self.records

    def add(self, views: Sequence[Row], rows: Iterable[Kept], shots: Iterable[Shot] = ()) -> None:
        """Put in; what is too much is dropped."""
        with self.changed:
            self._views.extend(views)
            self._keep.extend(rows)
            self._shots.extend(shots)
            self._shorten()
            self.changed.notify()

    def note(self, kind: str, message: str, lasted_s: float | None = None) -> None:
        """Add a row of `events`."""
        with self.changed:
            number = self.number()
            self.add([], [Kept(number, "events", (number, kind, message, now_utc(), lasted_s))])

    def reload(self, session: Session) -> None:
        """Add a row of `bundles`."""
        with self.changed:
            self.loads.append(bundle_row(session, len(self.loads) + 1, now_utc()))
            self.changed.notify()

    def has_some(self) -> bool:
        """Is there anything for the writer?"""
        return bool(self._views or self._keep or self._shots)

    def sizes(self) -> tuple[int, int]:
        """How many rows and pictures wait."""
        with self.changed:
            return len(self._views) + len(self._keep), len(self._shots)

    def take(self) -> tuple[list[Row], list[Kept], list[Row]]:
        """All views, all rows that must be kept, and every load so far."""
        with self.changed:
            views, keep = list(self._views), list(self._keep)
            self._views.clear()
            self._keep.clear()
            return views, keep, list(self.loads)

    def put_back(self, views: Iterable[Row], keep: Iterable[Kept]) -> None:
        """The disk did not take them."""
        with self.changed:
            self._views.extendleft(reversed(list(views)))
            self._keep.extendleft(reversed(list(keep)))
            self._shorten()

    def take_shot(self) -> Shot | None:
        """The oldest picture whose record is no longer waiting."""
        with self.changed:
            if not self._shots or (self._keep and self._keep[0].record <= self._shots[0].record):
                return None
            return self._shots.popleft()

    def put_back_shot(self, shot: Shot) -> None:
        """The database did not answer."""
        with self.changed:
            self._shots.appendleft(shot)
            self._shorten()

    def lose(self, kept: Kept) -> None:
        """Count a row that will never be written."""
        with self.changed:
            self.rows_lost += 1
            self._lost = (min(self._lost[0], kept.record), max(self._lost[1], kept.record)) if self._lost else (kept.record,) * 2

    def take_lost(self) -> str:
        """What was lost since the question before, in words; empty if nothing was."""
        with self.changed:
            lost, self._lost = self._lost, None
            return f"; records among {lost[0]} to {lost[1]} were lost, {self.rows_lost} so far" if lost else ""

    def count(self, views_dropped: int = 0, pictures_dropped: int = 0, rows_lost: int = 0) -> None:
        """Count what cannot be brought to the disk."""
        with self.changed:
            self.rows_lost += rows_lost
            self.views_dropped += views_dropped
            self.pictures_dropped += pictures_dropped

    def give_up(self) -> None:
        """Count everything that still waits as lost."""
        with self.changed:
            self.views_dropped += len(self._views)
            self.rows_lost += len(self._keep)
            self.pictures_dropped += len(self._shots)
            for lane in (self._views, self._keep, self._shots):
                lane.clear()

    def _shorten(self) -> None:
        while len(self._views) > FRAMES_WAITING:
            self._views.popleft()
            self.views_dropped += 1
        while len(self._keep) > PARTS_WAITING:
            self.lose(self._keep.popleft())
        while sum(shot.frame.picture.nbytes for shot in self._shots) > self._picture_bytes:
            # A good part's picture is the one to spare; else the newest, because those before a fault are the oldest.
            self._shots.remove(next((shot for shot in self._shots if shot.kind == "good"), self._shots[-1]))
            self.pictures_dropped += 1

"""The store: takes what the loop reports at once; a thread of its own brings it to the disk."""

import fcntl
import os
import threading
from pathlib import Path

from deploy.errors import StationError
from deploy.inspector.part import now_utc
from deploy.inspector.step import Step
from deploy.store.album import Album
from deploy.store.clock import ClockWatch
from deploy.store.policy import MB, Choice, Policy
from deploy.store.rows import Place, Session, fault_row, part_row, view_row
from deploy.store.waiting import Waiting
from deploy.store.writer import Writer

NOWHERE_ELSE = Place()
QUOTA_BYTES = 4_000 * MB
LEAVE_AFTER_S = 15.0
"""How long the writer may take to end: three times as long as it tries a disk that refuses."""


class Store:
    """Takes rows and pictures from the loop; views and pictures may be dropped, parts and faults wait until the disk takes them.

    None of it blocks the loop. With a `policy`, pictures go to the folder `pictures` beside the file. Beyond `quota_bytes` in
    the file its oldest rows make room. Raises StationError when the file cannot be opened, is of a newer inspector, or another
    process records into its folder. A disk that is only full or a database that is only locked is waited for; that and later
    trouble is in `trouble`, `picture_trouble` and the counts, and does not raise. What befell the record is in its table
    `events`.
    """

    def __init__(self, path: Path, session: Session, policy: Policy | None = None, quota_bytes: int = QUOTA_BYTES) -> None:
        self.path = path
        self._waiting = Waiting(session, policy.waiting_bytes if policy else 0)
        self._choice = Choice(policy) if policy else None
        self._clock = ClockWatch()
        album = Album(path.parent / "pictures", policy) if policy else None
        self._writer = Writer(path, self._waiting, album, session.source, quota_bytes)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._folder: int | None = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise self._writer.refusal(error) from error
        try:
            _take_alone(self._folder, path.parent)
            self._writer.open_first()
        except BaseException:
            os.close(self._folder)
            raise
        self._thread = threading.Thread(target=self._writer.run, name="store", daemon=True)
        self._thread.start()

    def add(self, step: Step, place: Place = NOWHERE_ELSE) -> int:
        """Take in what one step of the loop brought; returns at once, with the number of the last record that was given.

        Records are the parts of a step, then its faults, counted from 1 within the session; compare with `committed`. Pictures
        are held by reference until they are encoded: nobody may paint over them.
        """
        at = now_utc()
        waiting = self._waiting
        with waiting.changed:
            if (jump := self._clock.jumped()) is not None:
                waiting.note("clock", jump)
            load = len(waiting.loads)
            views = [view_row(seen, place, load, at, step.latency_ms) for seen in step.seen if seen.sighting.whole]
            rows = [part_row(part, waiting.number(), place, load, step.latency_ms) for part in step.parts]
            rows += [fault_row(fault, waiting.number(), place) for fault in step.faults]
            shots, missed = self._choice.choose(step, place, rows, at) if self._choice else ([], 0)
            if step.recovered is not None:
                number = waiting.number()
                rows.append(fault_row(step.recovered, number, place, ended=number))
            if views or rows or shots:
                waiting.add(views, rows, shots)
            waiting.count(pictures_dropped=missed)
            return waiting.records

    def lose(self, step: Step) -> None:
        """Count what there was no memory for to `add`."""
        self._waiting.count(rows_lost=len(step.parts) + len(step.faults), views_dropped=len(step.seen))

    def reload(self, session: Session) -> None:
        """Another bundle, or other thresholds, decide from the next `add` on. The source stays what the session began with."""
        self._waiting.reload(session)

    def note(self, kind: str, message: str) -> None:
        """Record an event, such as a camera that was reopened or a bundle that was refused."""
        self._waiting.note(kind, message)

    def committed(self) -> int:
        """The number up to which all records are on the disk, 0 before the first: neither kill -9 nor a power cut takes them.

        The exceptions are records that memory could not hold while the disk refused them: `rows_lost` counts them, and an event
        of the session names them.
        """
        return self._writer.committed

    def close(self) -> None:
        """Write what is waiting and end the session; what the disk refuses for some seconds more is counted as lost.

        A disk that does not even answer is left behind, with all that was waiting for it.
        """
        with self._waiting.changed:
            self._waiting.is_closing = True
            self._waiting.changed.notify()
        self._thread.join(LEAVE_AFTER_S)
        if self._thread.is_alive():
            self._waiting.give_up()
        elif self._folder is not None:
            os.close(self._folder)
            self._folder = None

    @property
    def session(self) -> int | None:
        """The session's number; None while a full disk or a locked database has not let it begin."""
        return self._writer.session

    @property
    def trouble(self) -> str | None:
        """Why rows cannot be written now; None while writing works."""
        return self._writer.trouble

    @property
    def picture_trouble(self) -> str | None:
        """Why pictures cannot be saved now; None while saving works."""
        return self._writer.picture_trouble

    @property
    def rows_waiting(self) -> int:
        """Parts, views, faults and events that are not on the disk yet."""
        return self._waiting.sizes()[0]

    @property
    def pictures_waiting(self) -> int:
        """Pictures that are not on the disk yet."""
        return self._waiting.sizes()[1]

    @property
    def views_dropped(self) -> int:
        """Views that the disk did not take in time."""
        return self._waiting.views_dropped

    @property
    def rows_lost(self) -> int:
        """Parts, faults and events that are not in the record and never will be."""
        return self._waiting.rows_lost

    @property
    def pictures_saved(self) -> int:
        """Pictures of this session that are or were in the folder."""
        return self._writer.pictures_saved

    @property
    def pictures_dropped(self) -> int:
        """Pictures that should have been kept, but there was no room or no time."""
        return self._waiting.pictures_dropped


def _take_alone(descriptor: int, folder: Path) -> None:
    """One station, one record: a second process would take back the pictures that the first is writing."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StationError(f"{folder}: another inspector is recording here; end it, or give another --out") from error
    except OSError:  # a network disk without locks: nobody can tell
        return

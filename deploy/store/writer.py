"""The writer's thread: rows and pictures onto the disk, again and again until the disk takes them."""

import errno
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from deploy.errors import StationError
from deploy.inspector.part import now_utc
from deploy.store.album import Album
from deploy.store.retention import Retention
from deploy.store.rows import END_OF_FAULT, INSERT, Kept, Row
from deploy.store.schema import connect, migrate, set_aside_log, transaction
from deploy.store.waiting import Waiting

GATHER_S = 0.1
"""Rows of this long are written together: ten commits a second are what a flash disk bears for years."""
RETRY_S = 1.0
ROOM_FOR_ROWS = 256_000
"""Bytes of pictures that give way, at every retry, while the disk is too full for rows."""
CLOSE_WITHIN_S = 5.0
"""How long closing tries to bring what is waiting to a disk that refuses."""

# What is wrong with a row rather than with the disk: such a row is left out, or it would hold up all others for ever.
ROW_ERRORS = (
    *(sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError),
    *(ValueError, OverflowError, TypeError),
)
Item = TypeVar("Item")


class Writer:
    """Used by its own thread, after `open_first`."""

    def __init__(self, path: Path, waiting: Waiting, album: Album | None, source: str, quota_bytes: int) -> None:
        self.session: int | None = None
        self.committed = 0
        self.trouble: str | None = None
        self.picture_trouble: str | None = None
        self.pictures_saved = 0
        self._path = path
        self._waiting = waiting
        self._album = album
        self._is_album_right = False
        self._source = source
        self._quota_bytes = quota_bytes
        self._retention = Retention(quota_bytes)
        self._started = now_utc()
        self._loads_written = 0
        self._database: sqlite3.Connection | None = None
        self._inode = 0
        self._trouble_since = self._picture_trouble_since = 0.0
        self._dropped_before = 0

    def open_first(self) -> None:
        """Open the file, or see that it only cannot be written now. Raises StationError for one that will never do."""
        try:
            self._open()
        except (OSError, sqlite3.Error) as error:
            if not _may_pass(error, self._path):
                raise self.refusal(error) from error
            self._failed(error)

    def refusal(self, error: Exception) -> StationError:
        """What to tell the user."""
        return StationError(f"{self._path}: the record cannot be written ({error}); check the disk, or give another --out")

    def run(self) -> None:
        """Write until the store is closed and everything is written, or the disk has refused it for long enough."""
        give_up = None
        is_done = False
        changed = self._waiting.changed
        while not is_done:
            with changed:
                if self._database is not None and self.trouble is None:
                    changed.wait_for(lambda: self._waiting.is_closing or self._has_work())
                changed.wait_for(lambda: self._waiting.is_closing, RETRY_S if self.trouble else GATHER_S)
                is_last = self._waiting.is_closing
            if is_last and give_up is None:
                give_up = time.monotonic() + CLOSE_WITHIN_S
            is_written = self._write(is_last, give_up or time.monotonic() + GATHER_S)
            is_done = give_up is not None and ((is_written and not self._has_work()) or time.monotonic() > give_up)
            if is_last and not is_written:
                time.sleep(0.1)
        self._waiting.give_up()
        self._disconnect()

    def _has_work(self) -> bool:
        return self._waiting.has_some() or len(self._waiting.loads) > self._loads_written

    def _write(self, is_last: bool, until: float) -> bool:
        try:
            if self._database is None:
                self._open()
            elif not self._is_in_place():
                self._complete_moved(self._database)
                raise OSError("the file was taken away; a new one is begun")
            assert self._database is not None
            self._write_rows(self._database, is_last)
            self._retention.make_room(self._database)
            if self._album is not None:
                self._save_pictures(self._database, self._album, until)
        except Exception as error:  # whatever it is, such as no memory: this thread outlives it, and tries again
            self._failed(error)
            self._give_way(error)
            return False
        return True

    def _open(self) -> None:
        log = set_aside_log(self._path)
        if log is not None:
            what = f"the file was moved without its log, which is {log.name} now: rename it to that file's name and -wal"
            self._waiting.note("database", f"{self._path}: {what}")
        database = connect(self._path)
        try:
            migrate(database, self._path)
            notes = self._begin(database)
        except BaseException:
            database.close()
            raise
        self._database = database
        self._inode = self._path.stat().st_ino
        self._retention = Retention(self._quota_bytes)
        self._is_album_right = False
        for note in notes:
            self._waiting.note("start", note)

    def _begin(self, database: sqlite3.Connection) -> list[str]:
        """Begin the session, or make sure that it is in the file. What a killed process left open is ended."""
        notes: list[str] = []
        with transaction(database):
            if self.session is not None:
                row = (self.session, self._started, self._source)
                database.execute("INSERT INTO sessions (session, started, source) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", row)
                self._loads_written = 0
                return notes
            for session, started, last in database.execute(_OPEN_SESSIONS).fetchall():
                database.execute("UPDATE sessions SET ended = ?, killed = 1 WHERE session = ?", (last or started, session))
                notes.append(f"session {session} was killed; its last record is of {last or started}")
            (latest,) = database.execute("SELECT coalesce(ended, started) FROM sessions ORDER BY session DESC").fetchone() or (
                "",
            )
            if latest > self._started:
                notes.append(f"the clock is behind: it says {self._started}, but the session before ended at {latest}")
            cursor = database.execute("INSERT INTO sessions (started, source) VALUES (?, ?)", (self._started, self._source))
        self.session = cursor.lastrowid
        return notes

    def _write_rows(self, database: sqlite3.Connection, is_last: bool) -> None:
        views, keep, loads = self._waiting.take()
        try:
            with transaction(database):
                for load in loads[self._loads_written :]:
                    database.execute(INSERT["bundles"], (self.session, *load))
                bad = _each(keep, lambda kept: self._write_one(database, kept))
                if is_last:
                    database.execute("UPDATE sessions SET ended = ? WHERE session = ?", (now_utc(), self.session))
            self._loads_written = len(loads)
            if keep:
                self.committed = keep[-1].record
            keep = []
            for kept, why in bad:
                self._waiting.lose(kept)
                self._waiting.note("database", f"record {kept.record} of {kept.table} could not be written ({why})")
            if views:  # apart from the parts, so that a disk which is nearly full still takes those
                with transaction(database):
                    bad_views = _each(views, lambda view: self._write_view(database, view))
                self._waiting.count(views_dropped=len(bad_views))
        except BaseException:
            self._waiting.put_back(views, keep)
            raise
        if self.trouble is not None:
            trouble, self.trouble = self.trouble, None
            self._waiting.note("database", trouble + self._waiting.take_lost(), round(time.monotonic() - self._trouble_since, 1))

    def _write_one(self, database: sqlite3.Connection, kept: Kept) -> None:
        if kept.table == "end of fault":
            _, camera, region, number, *_, lasted_s, ended = kept.row
            if database.execute(END_OF_FAULT, (lasted_s, ended, self.session, camera, region, number)).rowcount:
                return
        database.execute(INSERT["faults" if kept.table == "end of fault" else kept.table], (self.session, *kept.row))

    def _write_view(self, database: sqlite3.Connection, view: Row) -> None:
        database.execute(INSERT["frames"], (self.session, *view))

    def _save_pictures(self, database: sqlite3.Connection, album: Album, until: float) -> None:
        """One picture at least, so that rows never starve the pictures, and until it is time for rows again."""
        assert self.session is not None
        try:
            album.settle(database)
            if not self._is_album_right:
                for found in album.put_right(database):
                    self._waiting.note("pictures", found)
                self._is_album_right = True
        except OSError as error:
            self._picture_failed(error)
            return
        while (shot := self._waiting.take_shot()) is not None:
            try:
                is_written = album.write(database, self.session, shot)
                album.settle(database)
            except OSError as error:
                self._picture_failed(error)
                self._waiting.count(pictures_dropped=1)
            except sqlite3.Error:
                if album.has_unnamed:
                    self.pictures_saved += 1
                else:
                    self._waiting.put_back_shot(shot)
                raise
            else:
                self.pictures_saved += is_written
                self._waiting.count(pictures_dropped=not is_written)
                if is_written:
                    self._picture_worked()
            if time.monotonic() > until:
                break

    def _picture_failed(self, error: OSError) -> None:
        if self.picture_trouble is None:
            self._picture_trouble_since = time.monotonic()
            self._dropped_before = self._waiting.pictures_dropped
            self._waiting.note("pictures", f"pictures are not saved from here on ({error})")
        self.picture_trouble = f"pictures cannot be saved ({error})"

    def _picture_worked(self) -> None:
        if self.picture_trouble is not None:
            dropped = self._waiting.pictures_dropped - self._dropped_before
            lasted_s = round(time.monotonic() - self._picture_trouble_since, 1)
            self._waiting.note("pictures", f"pictures are saved again; {dropped} were not", lasted_s)
            self.picture_trouble = None

    def _failed(self, error: Exception) -> None:
        if self.trouble is None:
            self._trouble_since = time.monotonic()
        self.trouble = f"{self._path}: rows cannot be written ({error})"
        if not _is_passing(error):  # a connection that has met an I/O error may never work again
            self._disconnect()

    def _complete_moved(self, database: sqlite3.Connection) -> None:
        """Bring what is still in the log into a file which was moved. Rows wait for that: the next file takes the log's name."""
        (is_read, *_) = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if is_read:  # SQLite does not raise it. For a lock the connection is kept, see `_is_passing`.
            raise sqlite3.OperationalError("the file was taken away, and is locked until those who read it have ended")

    def _give_way(self, error: Exception) -> None:
        """On a full disk pictures make room for rows, and the log is emptied into the file, which takes less."""
        with suppress(OSError, sqlite3.Error):
            if not _is_full(error, self._path):
                return
            if self._album is not None and self._database is not None and self._is_album_right:
                self._album.give_way(self._database, ROOM_FOR_ROWS)
            elif self._album is not None:
                self._album.give_way_unlisted(ROOM_FOR_ROWS)
            if self._database is not None:
                self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _is_in_place(self) -> bool:
        try:
            return self._path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False
        except OSError:  # a folder that may not be looked into just now; the open file goes on
            return True

    def _disconnect(self) -> None:
        if self._database is not None:
            with suppress(sqlite3.Error):
                self._database.close()
            self._database = None


def _each(items: Iterable[Item], write: Callable[[Item], None]) -> list[tuple[Item, Exception]]:
    """Write each; those that cannot be written, whatever the disk, and why."""
    bad: list[tuple[Item, Exception]] = []
    for item in items:
        try:
            write(item)
        except ROW_ERRORS as error:
            bad.append((item, error))
    return bad


def _is_passing(error: Exception) -> bool:
    return "is locked" in str(error) or "is full" in str(error)


def _may_pass(error: Exception, path: Path) -> bool:
    """Is it no more than a lock or a full disk?"""
    return "is locked" in str(error) or _is_full(error, path)


def _is_full(error: Exception, path: Path) -> bool:
    """Is it the disk? On a full one SQLite also fails to open, in other words."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOSPC
    return "is full" in str(error) or ("is locked" not in str(error) and shutil.disk_usage(path.parent).free < 100_000)


_OPEN_SESSIONS = """
SELECT session, started, nullif(max(
    coalesce((SELECT at FROM parts WHERE parts.session = sessions.session ORDER BY record DESC LIMIT 1), ''),
    coalesce((SELECT at FROM faults WHERE faults.session = sessions.session ORDER BY record DESC LIMIT 1), '')), '')
FROM sessions WHERE ended IS NULL
"""

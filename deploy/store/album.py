"""Pictures on the disk: whole files below a quota, each with a row that says when it is gone. For one thread.

The order of things makes a kill harmless: the file is written beside its name, its row is committed, then it gets its name.
What a kill leaves between two of these is finished or taken back by `put_right` at the next start.
"""

import os
import re
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import cv2

from deploy.store.policy import Policy, Shot
from deploy.store.rows import INSERT, Row
from deploy.store.schema import transaction

MADE_ROOM = "made room"
"""Why a picture is gone, in its row: for others, or for rows. Or "missing": not removed by us."""


class NoRoom(OSError):
    """Neither quota nor disk leave room for a picture, even after those that may make room for it."""


class Album:
    """Raises sqlite3.Error where the database does not answer (`settle` again later), OSError where the disk does not."""

    def __init__(self, folder: Path, policy: Policy) -> None:
        self.folder = folder
        self._policy = policy
        self._bytes = {True: 0, False: 0}
        """Of the good pictures that are kept, and of the others."""
        self._removed: list[tuple[str, int]] = []
        """Why, and which rows: their files are gone, but the database has not been told yet."""
        self._unlisted: list[str] = []
        """Files that made room before `put_right`, which tells the database."""
        self._beside: tuple[Path, Row] | None = None
        """A file that waits for its row, and for its name."""

    @property
    def has_unnamed(self) -> bool:
        """Is the picture written last still waiting for its row?"""
        return self._beside is not None

    def put_right(self, database: sqlite3.Connection) -> list[str]:
        """Finish or take back what a kill interrupted, and note pictures that somebody deleted; what was found, in words."""
        kept = {
            str(path): int(picture) for picture, path in database.execute("SELECT picture, path FROM pictures WHERE gone IS NULL")
        }
        files = {path.relative_to(self.folder).as_posix() for path in self.folder.glob("????-??-??/*.jpg*")}
        finished = taken_back = strangers = 0
        made_room = [(MADE_ROOM, kept.pop(path)) for path in self._unlisted if path in kept]
        changed: list[tuple[str | None, int]] = [
            ("missing", picture) for path, picture in kept.items() if path not in files and f"{path}.part" not in files
        ]
        missing = len(changed)
        for name in files - kept.keys():
            final = name.removesuffix(".part")
            row = database.execute("SELECT picture, gone FROM pictures WHERE path = ?", (name,)).fetchone()
            if name != final and final in kept and final not in files:
                (self.folder / name).replace(self.folder / final)
                finished += 1
            elif name != final or (row and row[1] == MADE_ROOM):
                (self.folder / name).unlink(missing_ok=True)
                taken_back += 1
            elif row:  # a folder that was not mounted
                changed.append((None, row[0]))
            else:
                strangers += 1
        if made_room or changed:
            with transaction(database):
                database.executemany("UPDATE pictures SET gone = ? WHERE picture = ?", [*made_room, *changed])
        self._unlisted = []
        for is_good in (True, False):
            (self._bytes[is_good],) = database.execute(_BYTES, (is_good,)).fetchone()
        found = [
            (finished, "pictures had been written and got their names now"),
            (taken_back, "pictures were no more than begun, or about to be removed; they were removed"),
            (missing, f"pictures are no longer in {self.folder}"),
            (len(changed) - missing, f"pictures that were missing are back in {self.folder}"),
            (strangers, f"pictures in {self.folder} belong to no record; they were left alone"),
        ]
        return [f"{count} {what}" for count, what in found if count]

    def write(self, database: sqlite3.Connection, session: int, shot: Shot) -> bool:
        """Make room and write one picture beside its name; `settle` does the rest. Raises NoRoom too.

        False for a good part's picture where all the room is taken by pictures that matter more.
        """
        # Full colour resolution: JPEG's usual half of it blurs what may be the defect.
        colour = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
        settings = [cv2.IMWRITE_JPEG_QUALITY, self._policy.quality, *colour]
        try:
            is_encoded, data = cv2.imencode(".jpg", shot.frame.picture, settings)
        except cv2.error:
            is_encoded = False
        if not is_encoded:
            raise OSError(f"a picture of shape {shot.frame.picture.shape} cannot be written as JPEG")
        is_good = shot.kind == "good"
        path = self._path(shot, session)
        if not self._has_room(database, len(data), is_good):
            return False
        _write(path.with_name(f"{path.name}.part"), data.tobytes())
        name = path.relative_to(self.folder).as_posix()
        self._bytes[is_good] += len(data)
        self._beside = path, (session, shot.record, *shot.place, shot.frame.sequence, shot.kind, name, len(data))
        return True

    def settle(self, database: sqlite3.Connection) -> None:
        """Tell the database what was done since it last answered, then give the new file its name."""
        if not self._removed and self._beside is None:
            return
        with transaction(database):
            database.executemany("UPDATE pictures SET gone = ? WHERE picture = ?", self._removed)
            if self._beside is not None:
                database.execute(INSERT["pictures"], self._beside[1])
        self._removed = []
        beside, self._beside = self._beside, None
        if beside is not None:
            path = beside[0]
            path.with_name(f"{path.name}.part").replace(path)

    def _path(self, shot: Shot, session: int) -> Path:
        """Where a person looks for it: by day, by part, by verdict."""
        place = "".join(f"-{re.sub(r'[^A-Za-z0-9_.]+', '_', name)}" for name in shot.place if name)
        is_part = shot.kind not in ("before", "after")
        what = shot.kind.upper() if is_part else f"{shot.kind}-frame-{shot.frame.sequence:06d}"
        stem = f"{'part' if is_part else 'fault'}-{shot.number:06d}-{what}{place}-s{session}-r{shot.record}"
        path = self.folder / shot.at[:10] / f"{stem}.jpg"
        again = 2
        while path.exists():  # of a record that was here before this one
            path = path.with_name(f"{stem}-{again}.jpg")
            again += 1
        return path

    def _has_room(self, database: sqlite3.Connection, size: int, is_good: bool) -> bool:
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        too_much = max(sum(self._bytes.values()) + size - self._policy.quota_bytes, self._policy.floor_bytes + size - free)
        # Where not even all of them would make the room, none is removed in vain.
        if too_much > sum(self._bytes.values()):
            raise NoRoom(
                f"{self.folder}: {_mb(free)} are free, the pictures take {_mb(sum(self._bytes.values()))}; "
                f"expected at most {_mb(self._policy.quota_bytes)} of them and {_mb(self._policy.floor_bytes)} left free"
            )
        if is_good and too_much > self._bytes[True]:
            return False
        self._remove_oldest(database, too_much, (True,) if is_good else (True, False))
        return True

    def give_way(self, database: sqlite3.Connection, size: int) -> None:
        """The disk is too full for rows, which matter more: remove the oldest pictures of `size` bytes."""
        self._remove_oldest(database, size, (True, False))

    def give_way_unlisted(self, size: int) -> None:
        """The same where the database cannot be asked yet: by the files' names and times; `put_right` tells it later."""

        def order(file: Path) -> tuple[bool, int]:
            return "-GOOD-" not in file.name, file.stat().st_mtime_ns

        for file in sorted(self.folder.glob("????-??-??/*-s[0-9]*-r[0-9]*.jpg"), key=order):
            if size <= 0:
                return
            size -= file.stat().st_size
            _delete(file)
            self._unlisted.append(file.relative_to(self.folder).as_posix())

    def _remove_oldest(self, database: sqlite3.Connection, size: int, kinds: tuple[bool, ...]) -> None:
        untold = {picture for _, picture in self._removed}
        for is_good in kinds:
            with closing(database.execute(_OLDEST, (is_good,))) as oldest:
                while size > 0 and (row := oldest.fetchone()):
                    picture, path, bytes_ = row
                    if picture not in untold:
                        self._remove(picture, path, bytes_, is_good)
                        size -= bytes_

    def _remove(self, picture: int, path: str, size: int, was_good: bool) -> None:
        _delete(self.folder / path)
        self._removed.append((MADE_ROOM, picture))
        self._bytes[was_good] -= size


def _mb(size: int) -> str:
    return f"{size / 1_000_000:.1f} MB"


def _delete(file: Path) -> None:
    file.unlink(missing_ok=True)
    with suppress(OSError):
        file.parent.rmdir()  # the day's last picture


def _write(path: Path, data: bytes) -> None:
    """To the disk and not only to its cache; a failed write leaves nothing behind."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise


_BYTES = "SELECT coalesce(sum(bytes), 0) FROM pictures WHERE gone IS NULL AND (kind = 'good') = ?"
_OLDEST = "SELECT picture, path, bytes FROM pictures WHERE gone IS NULL AND (kind = 'good') = ? ORDER BY picture"

"""Remembers what was measured of a file, by its path, size and time, so that a second audit reads no picture again."""

import os
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

CACHE_VARIABLE = "INSPECTOR_CACHE"


def cache_folder() -> Path:
    """Where measurements are kept: INSPECTOR_CACHE, or the user's cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(named) if named else Path(base) / "line-inspector"


def stamp(file: Path) -> str | None:
    """What identifies a file's content without reading it: path, size and time of change; None when it is not there."""
    try:
        state = file.stat()
    except (OSError, ValueError):
        return None
    return f"{file}|{state.st_size}|{state.st_mtime_ns}"


class Cache:
    """Stamp -> bytes, in one SQLite file. A cache that cannot be opened or written is an empty one: nothing depends on it."""

    def __init__(self, name: str, folder: Path | None = None) -> None:
        self._file = (folder or cache_folder()) / f"{name}.sqlite"
        self._database: sqlite3.Connection | None = None
        for attempt in range(2):
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._database = sqlite3.connect(self._file, timeout=30)
                self._database.execute("PRAGMA journal_mode=WAL")
                self._database.execute("CREATE TABLE IF NOT EXISTS measured (stamp TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID")
                return
            except sqlite3.DatabaseError as error:  # a file that is none, or one torn by a power cut
                self.close()
                if attempt == 0 and not isinstance(error, sqlite3.OperationalError):
                    self._file.unlink(missing_ok=True)
            except OSError:
                return

    def get(self, stamps: Sequence[str]) -> dict[str, bytes]:
        """What is known of these stamps."""
        known: dict[str, bytes] = {}
        if self._database is None:
            return known
        try:
            for start in range(0, len(stamps), 500):
                some = stamps[start : start + 500]
                marks = ",".join("?" * len(some))
                known |= dict(self._database.execute(f"SELECT stamp, value FROM measured WHERE stamp IN ({marks})", some))
        except sqlite3.DatabaseError:
            return {}
        return known

    def put(self, values: Mapping[str, bytes]) -> None:
        """Keep these; committed at once, so that an interrupted audit goes on where it stopped."""
        if self._database is None:
            return
        try:
            with self._database:
                self._database.executemany("INSERT OR REPLACE INTO measured VALUES (?, ?)", values.items())
        except sqlite3.DatabaseError:
            self.close()  # a full disk, for one: go on without

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def __enter__(self) -> "Cache":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

"""Old rows make room: a record stays below its quota for as long as the station runs, and no clock has a say in it."""

import sqlite3
import time

from deploy.store.album import MADE_ROOM
from deploy.store.schema import transaction

AT_ONCE = 1_000
"""Rows removed after a commit: many more than it brought, few enough not to hold up the next one."""
VIEW_BYTES = 85
"""What a view takes in the file, with its index, beside its texts: measured. Views may take half of the quota."""
VIEWS_ASKED = 64
"""So many views, evenly from the oldest to the newest, tell how long their texts are: a camera's name, or why one is a fault."""
AGAIN_S = 3600.0
"""How often rows that had to stay are looked at again: there may be many of them, and others wait for the database meanwhile."""


class Retention:
    """Removes some of the oldest rows where a record takes more than its quota. Call `make_room` after each commit.

    Views go first while they take more than half, then parts, faults and events in the order in which they were recorded. Parts
    that a person has said something about stay: that cannot be had again. So do parts and faults whose picture is still there.
    The file does not shrink; its room is used anew.
    """

    def __init__(self, quota_bytes: int) -> None:
        self._quota_bytes = quota_bytes
        self._after = 0, 0
        """Session and record up to which all has gone that may."""
        self._again = time.monotonic() + AGAIN_S

    def make_room(self, database: sqlite3.Connection) -> None:
        """Raises sqlite3.Error, with nothing removed."""
        pages, free, page_bytes = (
            database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        if (pages - free) * page_bytes <= self._quota_bytes:
            return
        if time.monotonic() >= self._again:
            self._after, self._again = (0, 0), time.monotonic() + AGAIN_S
        with transaction(database):
            if bytes_of_views(database) > self._quota_bytes / 2:
                database.execute(_DELETE_VIEWS, (AT_ONCE,))
                return
            last = database.execute(_OLDEST, (*self._after * 3, AT_ONCE - 1)).fetchone()
            if last is None:
                return
            for table, free_to_go in _MAY_GO.items():
                where = f"(session, record) > (?, ?) AND (session, record) <= (?, ?) AND {free_to_go}"
                database.execute(f"DELETE FROM {table} WHERE {where}", (*self._after, *last))
        self._after = last


def bytes_of_views(database: sqlite3.Connection) -> float:
    """What all views take in the file, reckoned from some of them: to count their pages takes as long as to read them all."""
    first, last = database.execute(_ENDS).fetchone()
    if first is None:
        return 0.0
    asked = [first + (last - first) * number // (VIEWS_ASKED - 1) for number in range(VIEWS_ASKED)]
    (texts,) = database.execute(_TEXTS, asked).fetchone()
    return float((last - first + 1) * (VIEW_BYTES + texts))


def _no(table: str, of: str, such_that: str = "true") -> str:
    same = f"({table}.session, {table}.record) = ({of}.session, {of}.record)"
    return f"NOT EXISTS (SELECT 1 FROM {table} WHERE {same} AND {such_that})"


_ENDS = "SELECT (SELECT min(rowid) FROM frames), (SELECT max(rowid) FROM frames)"
# Camera and region are in the index too.
_TEXTS = f"""
SELECT avg(length(CAST(camera || region || camera || region || name || at || coalesce(fault, '') AS BLOB)))
FROM frames WHERE rowid IN ({", ".join("?" * VIEWS_ASKED)})
"""
_DELETE_VIEWS = "DELETE FROM frames WHERE rowid IN (SELECT rowid FROM frames ORDER BY rowid LIMIT ?)"
_MAY_GO = {
    "parts": f"{_no('feedback', 'parts')} AND {_no('pictures', 'parts', 'gone IS NULL')}",
    "faults": _no("pictures", "faults", "gone IS NULL"),
    "events": "true",
    "pictures": f"gone = '{MADE_ROOM}'",
}
_OLDEST = (
    " UNION ALL ".join(
        f"SELECT session, record FROM {table} WHERE (session, record) > (?, ?) AND {_MAY_GO[table]}"
        for table in ("parts", "faults", "events")
    )
    + " ORDER BY session, record LIMIT 1 OFFSET ?"
)

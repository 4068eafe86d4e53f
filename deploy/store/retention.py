"""Old rows make room: a record stays below its quota for as long as the station runs, and no clock has a say in it."""

import sqlite3

from deploy.store.schema import transaction

AT_ONCE = 1_000
"""Rows removed after a commit: many more than it brought, few enough not to hold up the next one."""
VIEW_BYTES = 100
"""What a view takes in the file, with its index: measured. Views may take half of the quota."""


def make_room(database: sqlite3.Connection, quota_bytes: int) -> None:
    """Remove some of the oldest rows where the record takes more than its quota. Call it after each commit.

    Views go first while they take more than half, then parts, faults and events in the order in which they were recorded. Parts
    that a person has said something about stay: that cannot be had again. The file does not shrink; its room is used anew.
    """
    pages, free, page_bytes = (
        database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    if (pages - free) * page_bytes <= quota_bytes:
        return
    with transaction(database):
        (views,) = database.execute(_VIEWS).fetchone()
        if views * VIEW_BYTES > quota_bytes / 2:
            database.execute("DELETE FROM frames WHERE rowid IN (SELECT rowid FROM frames ORDER BY rowid LIMIT ?)", (AT_ONCE,))
            return
        last = database.execute(_OLDEST, (AT_ONCE - 1,)).fetchone()
        if last is not None:
            for table, except_for in (("parts", _SAID), ("faults", ""), ("events", ""), ("pictures", "AND gone IS NOT NULL")):
                database.execute(f"DELETE FROM {table} WHERE (session, record) <= (?, ?) {except_for}", last)


_VIEWS = "SELECT coalesce((SELECT max(rowid) FROM frames) - (SELECT min(rowid) FROM frames), 0)"
_SAID = "AND NOT EXISTS (SELECT 1 FROM feedback WHERE feedback.session = parts.session AND feedback.record = parts.record)"
_OLDEST = f"""
SELECT session, record FROM parts WHERE true {_SAID}
UNION ALL SELECT session, record FROM faults UNION ALL SELECT session, record FROM events
ORDER BY session, record LIMIT 1 OFFSET ?
"""

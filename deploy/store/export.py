"""`inspector export-records`: the parts of a record as one table, for a spreadsheet or a notebook; it streams."""

import csv
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

from deploy.errors import StationError
from deploy.store.schema import VERSION, migrate, version_of

ROWS_AT_ONCE = 10_000

COLUMNS = {
    **{"session": int, "record": int, "camera": str, "region": str, "part": int, "at": str, "verdict": str, "probability": float},
    **{"views": int, "faults": int, "first_frame": int, "last_frame": int, "name": str, "peak_x": int, "peak_y": int},
    **{"age_ms": float, "latency_ms": float, "reason": str, "bundle": str, "version": int, "bundle_sha256": str},
    **{"precision": str, "engine": str, "accept": float, "reject": float, "source": str},
    # The part's picture below the folder `pictures`; and why it is not there any more, if it is not.
    **{"picture": str, "picture_gone": str, "label": str, "defect_type": str, "labelled_at": str, "person": str},
}
"""What a row holds: a part, what decided, its picture, and what a person said last."""

_QUERY = """
SELECT parts.session, parts.record, parts.camera, parts.region, part, parts.at, verdict, probability, views, faults, first_frame,
    last_frame, name, peak_x, peak_y, age_ms, latency_ms, reason, bundle, version, bundle_sha256, precision, engine, accept,
    reject, source, path, gone, label, defect_type, feedback.at, person
FROM parts JOIN sessions USING (session) LEFT JOIN bundles USING (session, load)
LEFT JOIN pictures ON picture =
    (SELECT max(picture) FROM pictures AS own WHERE own.session = parts.session AND own.record = parts.record)
LEFT JOIN feedback ON feedback.rowid =
    (SELECT max(rowid) FROM feedback AS said WHERE said.session = parts.session AND said.record = parts.record)
WHERE (:session IS NULL OR parts.session = :session) AND (:since IS NULL OR parts.at >= :since)
ORDER BY parts.session, parts.record
"""


def export_records(store: Path, out: Path, session: int | None = None, since: str | None = None) -> int:
    """Write the parts in `store` (the file, or the folder it lies in) to `out`, .csv or .parquet, whole or not at all.

    `session` takes one session only, `since` what was decided from an ISO date or time on, in UTC unless it says otherwise. A
    record of an earlier version is read too, and left as it is. Returns how many parts there were. Raises StationError.
    """
    writers: dict[str, Callable[[Path, sqlite3.Cursor], int]] = {".csv": _write_csv, ".parquet": _write_parquet}
    write = writers.get(out.suffix.lower())
    if write is None:
        raise StationError(
            f"{out}: found the ending {out.suffix or '(none)'}; expected {' or '.join(writers)}; give another --out"
        )
    from_time = None if since is None else _as_recorded(since)
    file = store / "store.sqlite" if store.is_dir() else store
    if not file.is_file():
        raise StationError(f"{file}: no record found; give a store.sqlite, or the folder that `inspector run --out` wrote")
    if out.exists() and out.samefile(file):
        raise StationError(f"{out}: this is the record itself; give another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    growing = out.with_name(f".{out.name}.part")
    try:
        with _readable(file, out.parent) as database:
            _check_session(database, file, session)
            with closing(database.execute(_QUERY, {"session": session, "since": from_time})) as found:
                count = write(growing, found)
        with growing.open("rb") as written:
            os.fsync(written.fileno())
        growing.replace(out)
    except sqlite3.Error as error:
        raise StationError(f"{file}: the record cannot be read ({error}); give another, or take a copy of it") from error
    finally:
        growing.unlink(missing_ok=True)
    return count


def _as_recorded(since: str) -> str:
    """A time as the record writes it, so that the two compare as texts."""
    try:
        moment = datetime.fromisoformat(since.strip().upper().replace("Z", "+00:00"))
    except ValueError:
        raise StationError(f"--since {since}: expected a date or time such as 2026-11-20 or 2026-11-20T06:00") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds")


@contextmanager
def _readable(file: Path, scratch: Path) -> Iterator[sqlite3.Connection]:
    """The record at this version's schema, without a change to the file; one of an earlier version as a copy in `scratch`."""
    with ExitStack() as stack:
        database = stack.enter_context(closing(_open_read_only(file)))
        if version_of(database, file) < VERSION:
            folder = stack.enter_context(TemporaryDirectory(dir=scratch, prefix=".export-"))
            copy = stack.enter_context(closing(sqlite3.connect(Path(folder) / "copy.sqlite", isolation_level=None)))
            database.backup(copy)
            migrate(copy, file)
            database = copy
        yield database


def _open_read_only(file: Path) -> sqlite3.Connection:
    address = file.resolve().as_uri()
    database = sqlite3.connect(f"{address}?mode=ro", uri=True, timeout=10)
    try:
        database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError:
        database.close()
        if file.with_name(f"{file.name}-wal").exists():
            raise
        # A record on a medium that cannot be written, which nobody is recording to: it needs no lock.
        return sqlite3.connect(f"{address}?immutable=1", uri=True)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _check_session(database: sqlite3.Connection, file: Path, session: int | None) -> None:
    last, known = database.execute("SELECT max(session), coalesce(sum(session = ?), 0) FROM sessions", (session,)).fetchone()
    if session is not None and not known:
        raise StationError(
            f"{file}: no session {session} was found; expected one of 1 to {last or 0}; leave --session out for all"
        )


def _write_csv(path: Path, found: sqlite3.Cursor) -> int:
    with path.open("w", newline="", encoding="utf-8") as file:
        return _rows_to(file, found)


def _rows_to(file: TextIO, found: sqlite3.Cursor) -> int:
    table = csv.writer(file, lineterminator="\n")
    table.writerow(COLUMNS)
    count = 0
    for row in found:
        table.writerow(row)
        count += 1
    return count


def _write_parquet(path: Path, found: sqlite3.Cursor) -> int:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise StationError(
            "Parquet needs pyarrow, which is not installed; pip install 'line-inspector[records]', or end --out in .csv"
        ) from None
    types: dict[type, Any] = {int: pyarrow.int64(), float: pyarrow.float64(), str: pyarrow.string()}
    schema = pyarrow.schema([(name, types[kind]) for name, kind in COLUMNS.items()])
    count = 0
    with parquet.ParquetWriter(path, schema, compression="zstd") as file:
        while rows := found.fetchmany(ROWS_AT_ONCE):
            columns = zip(*rows, strict=True)
            arrays = [pyarrow.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
            file.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
            count += len(rows)
    return count

"""`groups.csv`: one line for each picture, naming the part it shows. Appended to, never rewritten while pictures are taken."""

import csv
import errno
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.errors import DatasetError
from deploy.files import write_whole

NEEDED = ("file", "group")
_MARK = "\ufeff"  # spreadsheets put it before UTF-8 and want it back


@dataclass(frozen=True)
class Table:
    """The content of `groups.csv`: `rows` hold cells in the order of `columns`, or more or fewer where someone wrote them so."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...] = ()
    newline: str = "\n"
    mark: str = ""

    def column(self, name: str) -> list[str]:
        """The cells of one column; empty where a row is too short."""
        index = self.columns.index(name)
        return [row[index] if index < len(row) else "" for row in self.rows]


def read_table(path: Path) -> Table:
    """Read `groups.csv`. Raises DatasetError when it is no UTF-8 or lacks the columns file and group."""
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not in UTF-8 ({error.reason}); save it as CSV UTF-8") from error
    mark, text = (_MARK, text[1:]) if text.startswith(_MARK) else ("", text)
    try:
        rows = [tuple(row) for row in csv.reader(io.StringIO(text, newline="")) if row]
    except csv.Error as error:
        raise DatasetError(f"{path} is no CSV ({error}); repair it, or take it from a copy of the folder") from error
    columns = rows[0] if rows else ()
    if missing := [name for name in NEEDED if name not in columns]:
        found = ", ".join(columns) or "none"
        raise DatasetError(f"{path} has the columns {found}; {', '.join(missing)} is missing: name the columns in its first line")
    return Table(path, columns, tuple(rows[1:]), "\r\n" if "\r\n" in text else "\n", mark)


def is_torn(path: Path) -> bool:
    """Did a power cut leave the last line without its end?"""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        return file.read(1) not in (b"\n", b"")


def write_table(table: Table) -> None:
    """Write the whole table beside, then rename. Raises OSError."""
    write_whole(table.path, table.mark + "".join(_line(row, table.newline) for row in (table.columns, *table.rows)))


def append_row(table: Table, cells: Mapping[str, str]) -> None:
    """Append one line, filling the columns that `cells` knows, and bring it to the disk.

    Raises OSError; the file is then as it was before.
    """
    line = _line(tuple(cells.get(column, "") for column in table.columns), table.newline).encode("utf-8")
    with table.path.open("ab", buffering=0) as file:
        before = file.seek(0, os.SEEK_END)
        try:
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(table.path))
            os.fsync(file.fileno())
        except OSError:
            file.truncate(before)
            raise


def remove_row(table: Table, file: str) -> None:
    """Remove the lines of one picture. What someone else changed in the file meanwhile stays. Raises OSError."""
    fresh = read_table(table.path)
    kept = tuple(row for row, name in zip(fresh.rows, fresh.column("file"), strict=True) if name != file)
    write_table(replace(fresh, rows=kept))


def _line(cells: tuple[str, ...], newline: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator=newline).writerow(cells)
    return text.getvalue()

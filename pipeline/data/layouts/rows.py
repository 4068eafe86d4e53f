"""The lines of a CSV table, and the columns of it that tell more of a picture than its label."""

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from deploy.errors import DatasetError
from pipeline.data.card import Card
from pipeline.data.groups import GUESSED
from pipeline.data.manifest import COLUMNS

TIME = "time"
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
Slices = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    number: int
    """As an editor counts: the header is line 1."""
    cells: dict[str, str]


def read_columns(file: Path, needed: Sequence[str]) -> tuple[list[str], str]:
    """The columns of a table and what separates its cells: a comma, or the semicolon or tab of a spreadsheet.

    Whatever is no text is replaced: so a table is known for one before it is read. Raises OSError.
    """
    with file.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
        header = stream.readline()
    found: dict[str, list[str]] = {}
    for separator in SEPARATORS:
        try:
            found[separator] = [column.strip() for column in next(csv.reader([header], delimiter=separator), [])]
        except csv.Error:
            found[separator] = []
    best = max(found, key=lambda one: (set(needed) <= set(found[one]), len(found[one])))  # the comma, where all fit alike
    return found[best], best


def read_rows(file: Path, needed: Sequence[str]) -> tuple[list[str], list[Row]]:
    """Columns and lines of a CSV file in UTF-8, blanks around the cells cut off, empty lines left out.

    Raises DatasetError when it is none, or a needed column is missing.
    """
    try:
        _, separator = read_columns(file, needed)
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, restval="", restkey="", strict=True, delimiter=separator)
            columns = [column.strip() for column in reader.fieldnames or []]
            reader.fieldnames = columns
            rows = [Row(reader.line_num, row) for row in reader]
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read ({error.strerror}); put it back, or correct its permissions") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file} is not in UTF-8 ({error.reason}); save it as CSV UTF-8") from error
    except csv.Error as error:
        raise DatasetError(f"{file} is no CSV: {error}; save it as CSV UTF-8") from error
    if missing := [column for column in needed if column not in columns]:
        raise DatasetError(
            f"{file} has the columns {', '.join(columns) or 'none'}; {', '.join(missing)} is missing: add it to its first line"
        )
    if doubled := [column for column in columns if column and columns.count(column) > 1]:
        raise DatasetError(f"{file} has two columns called {doubled[0]}; rename one")
    for row in rows:
        if isinstance(row.cells.get(""), list) and any(row.cells[""]):
            raise DatasetError(
                f"{file} line {row.number} has more cells than there are columns; is a {SEPARATORS[separator]} not in quotes?"
            )
    named = [column for column in columns if column]
    told = [Row(row.number, {column: row.cells[column].strip() for column in named}) for row in rows]
    return named, [row for row in told if any(row.cells.values())]


def as_path(cell: str) -> str:
    """A cell that names a file, as samples name theirs: with forward slashes."""
    return Path(cell.replace("\\", "/")).as_posix()


def check_group(group: str, where: str) -> None:
    """Raise DatasetError for the name of a group that looks like a guessed one."""
    if group.startswith(GUESSED):
        raise DatasetError(f"{where}: group {group!r}; {GUESSED!r} begins the names of groups that are guessed: rename it")


def slices_of(
    file: Path, columns: Sequence[str], rows: Sequence[Row], known: Sequence[str], card: Card, elsewhere: Collection[str] = ()
) -> list[Slices]:
    """What the further columns of a table (all but the `known`) say of each line, sorted by column.

    The card may name the ones to keep, of which another table has those `elsewhere`. `time` is brought to one form that sorts, in
    UTC where it tells its zone.
    Raises DatasetError for a column the card names in vain, one called like the manifest's own, or a time that is none.
    """
    further = [column for column in columns if column not in known]
    if missing := [column for column in card.slices or () if column not in further and column not in elsewhere]:
        raise DatasetError(
            f"dataset.yaml names the slice {missing[0]!r}, but {file} has no such column; it has {', '.join(further) or 'none'}: "
            "correct `slices`, or add the column"
        )
    times = _times(file, rows) if TIME in further else {}
    kept = sorted(further if card.slices is None else set(card.slices) & set(further))
    if taken := [column for column in kept if column in COLUMNS]:
        raise DatasetError(f"{file} has a column {taken[0]!r}, which the manifest needs for itself; rename it, or name `slices`")
    told = []
    for row in rows:
        cells = {**row.cells, **({TIME: times[row.number]} if times else {})}
        told.append(tuple((column, value) for column in kept if (value := cells[column])))
    return told


def _times(file: Path, rows: Sequence[Row]) -> dict[int, str]:
    """Line -> its time in ISO 8601, empty where the line tells none."""
    zoned: dict[bool, int] = {}
    times = {}
    for row in rows:
        text = row.cells[TIME]
        try:
            time = datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None
            if time and time.tzinfo:
                time = time.astimezone(timezone.utc)
        except (ValueError, OverflowError) as error:
            raise DatasetError(
                f"{file} line {row.number}: time {text!r}; expected ISO 8601, such as 2026-03-01T10:20:00 or 2026-03-01"
            ) from error
        times[row.number] = time.isoformat() if time else ""
        if time:
            zoned.setdefault(time.tzinfo is not None, row.number)
    if len(zoned) == 2:
        raise DatasetError(
            f"{file}: line {zoned[True]} tells the zone of its time, line {zoned[False]} does not; "
            "tell it in all lines or in none"
        )
    return times

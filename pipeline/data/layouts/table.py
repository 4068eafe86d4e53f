"""CSV tables: a dataset as one, and the columns that tell more of a picture than its label."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from deploy.errors import DatasetError
from pipeline.data.card import DEFECTIVE_NAMES, Card
from pipeline.data.layouts.found import SPLIT_NAMES, Dataset, is_file
from pipeline.data.manifest import COLUMNS
from pipeline.data.sample import Sample

FIELDS = ("path", "label", "defect_type", "group", "split", "mask")
"""Columns of a dataset table that say something of their own; every other one is a slice."""
TIME = "time"
Slices = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    number: int
    """As an editor counts: the header is line 1."""
    cells: dict[str, str]


def read_rows(file: Path, needed: Sequence[str]) -> tuple[list[str], list[Row]]:
    """Columns and lines of a CSV file in UTF-8. Raises DatasetError when it is none, or a needed column is missing."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, restval="", restkey="", strict=True)
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
        raise DatasetError(f"{file} has the columns {', '.join(columns) or 'none'}; {', '.join(missing)} is missing")
    if doubled := [column for column in columns if column and columns.count(column) > 1]:
        raise DatasetError(f"{file} has two columns called {doubled[0]}; rename one")
    for row in rows:
        if isinstance(row.cells.get(""), list) and any(row.cells[""]):
            raise DatasetError(f"{file} line {row.number} has more cells than there are columns; is a comma not in quotes?")
    return [column for column in columns if column], rows


def slices_of(file: Path, columns: Sequence[str], rows: Sequence[Row], known: Sequence[str], card: Card) -> list[Slices]:
    """What the further columns of a table (all but the `known`) say of each line, sorted by column.

    The card may name the ones to keep. `time` is brought to one form that sorts, in UTC where it tells its zone.
    Raises DatasetError for a column the card names in vain, one called like the manifest's own, or a time that is none.
    """
    further = [column for column in columns if column not in known]
    if missing := [column for column in card.slices or () if column not in further]:
        raise DatasetError(
            f"dataset.yaml names the slice {missing[0]!r}, but {file} has no such column; it has {', '.join(further) or 'none'}: "
            "correct `slices`, or add the column"
        )
    times = _times(file, rows) if TIME in further else {}
    kept = sorted(further if card.slices is None else set(card.slices))
    if taken := [column for column in kept if column in COLUMNS]:
        raise DatasetError(f"{file} has a column {taken[0]!r}, which the manifest needs for itself; rename it, or name `slices`")
    told = []
    for row in rows:
        cells = {**row.cells, **({TIME: times[row.number]} if times else {})}
        told.append(tuple((column, value) for column in kept if (value := cells[column].strip())))
    return told


def _times(file: Path, rows: Sequence[Row]) -> dict[int, str]:
    """Line -> its time in ISO 8601, empty where the line tells none."""
    zoned: dict[bool, int] = {}
    times = {}
    for row in rows:
        text = row.cells[TIME].strip()
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


def read_table(file: Path, card: Card) -> Dataset:
    """A CSV with the columns path,label and, if wanted, defect_type, group, split and mask; further ones are slices."""
    root = str(file.parent.resolve())
    columns, rows = read_rows(file, ("path", "label"))
    told = slices_of(file, columns, rows, FIELDS, card)
    samples: dict[str, Sample] = {}
    for row, slices in zip(rows, told, strict=True):
        sample = _sample(file, root, row, slices, card)
        if sample.path in samples:
            raise DatasetError(f"{file} line {row.number}: {sample.path} is listed a second time; delete one of the lines")
        samples[sample.path] = sample
    placed = sum(bool(sample.split) for sample in samples.values())
    if 0 < placed < len(samples):
        raise DatasetError(f"{file} names a split for {placed} of {len(samples)} pictures; name one for all of them, or for none")
    grouped = sum(bool(sample.group) for sample in samples.values())
    if 0 < grouped < len(samples):
        raise DatasetError(
            f"{file} names a group for {grouped} of {len(samples)} pictures; name one for all of them, or for none"
        )
    return Dataset(card.name or file.stem, tuple(samples.values()), "csv" if grouped else "nothing")


def _sample(file: Path, root: str, row: Row, slices: Slices, card: Card) -> Sample:
    cells = {column: value.strip() for column, value in row.cells.items() if column}
    where = f"{file} line {row.number}"
    if not cells["path"]:
        raise DatasetError(f"{where} names no picture; expected a path relative to the table")
    is_good = card.is_good(cells["label"])
    if not is_good and cells["label"].lower() not in DEFECTIVE_NAMES:
        raise DatasetError(f"{where}: label {cells['label']!r}; expected good or defective")
    split = cells.get("split", "").lower()
    if split and split not in SPLIT_NAMES:
        raise DatasetError(f"{where}: split {split!r}; expected train, validation or test")
    mask = "" if is_good else cells.get("mask", "")  # of a good picture a mask could only be empty
    if mask and not is_file(Path(root) / mask):
        raise DatasetError(f"{where}: the mask {mask} does not exist; expected a path relative to the table")
    return Sample(
        root,
        Path(cells["path"]).as_posix(),
        "good" if is_good else "defective",
        "" if is_good else cells.get("defect_type") or "defective",
        cells.get("group", ""),
        Path(mask).as_posix() if mask else "",
        SPLIT_NAMES[split] if split else "",
        slices=slices,
    )

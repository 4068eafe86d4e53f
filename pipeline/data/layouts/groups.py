"""Groups and slices of a dataset folder: told by groups.csv, or by a regex on the file names."""

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Literal

from deploy.errors import DatasetError
from pipeline.data.card import Card
from pipeline.data.layouts.rows import as_path, check_group, read_columns, read_rows, slices_of
from pipeline.data.sample import Sample

_OWN = ("file", "group")
"""Columns of groups.csv that are no slices."""


def further_columns(root: Path) -> list[str]:
    """The columns of the folder's groups.csv that may be slices; none where it cannot be read."""
    try:
        return [column for column in read_columns(root / "groups.csv", _OWN)[0] if column not in _OWN]
    except OSError:
        return []


def with_groups(
    samples: tuple[Sample, ...], root: Path, card: Card, has: Collection[str] = ()
) -> tuple[tuple[Sample, ...], Literal["groups.csv", "group_regex", "nothing"]]:
    """Give samples their groups and slices; tells where the groups are from. A table they are from `has` slices of its own.

    Raises DatasetError for a picture without a group, and for a slice that both tables tell.
    """
    file = root / "groups.csv"
    if file.is_file():
        return _from_table(samples, file, card, has), "groups.csv"
    if missing := [column for column in card.slices or () if column not in has]:
        raise DatasetError(
            f"dataset.yaml names the slice {missing[0]!r}, but {file} does not exist; slices are further columns of it: "
            "write it, or delete `slices`"
        )
    if card.group_regex:
        return _from_regex(samples, root, card.group_regex), "group_regex"
    return samples, "nothing"


def _from_table(samples: tuple[Sample, ...], file: Path, card: Card, has: Collection[str]) -> tuple[Sample, ...]:
    columns, rows = read_rows(file, _OWN)
    if both := [column for column in columns if column in has and column not in _OWN]:
        raise DatasetError(f"{file} and the table of the pictures both have a column {both[0]!r}; delete or rename one")
    told = slices_of(file, columns, rows, _OWN, card, has)
    for row in rows:
        check_group(row.cells["group"], f"{file} line {row.number}")
    lines = {as_path(row.cells["file"]): (row.cells["group"], slices) for row, slices in zip(rows, told, strict=True)}
    missing = [sample.path for sample in samples if sample.path not in lines or not lines[sample.path][0]]
    if missing:
        raise DatasetError(
            f"{file} names no group for {len(missing)} of {len(samples)} pictures (first: {missing[0]}); "
            "add a line `file,group` for each, or delete groups.csv to group near-duplicates instead"
        )
    if len(lines) < len(rows):
        files = Counter(as_path(row.cells["file"]) for row in rows)
        doubled = next(row for row in rows if files[as_path(row.cells["file"])] > 1)
        raise DatasetError(f"{file} names {doubled.cells['file']} twice (first: line {doubled.number}); delete one of the lines")
    grouped = []
    for sample in samples:
        group, slices = lines[sample.path]
        grouped.append(replace(sample, group=group, slices=tuple(sorted((*sample.slices, *slices)))))
    return tuple(grouped)


def _from_regex(samples: tuple[Sample, ...], root: Path, pattern: str) -> tuple[Sample, ...]:
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise DatasetError(f"group_regex {pattern!r} of {root / 'dataset.yaml'} is no regex: {error}") from error
    grouped = []
    for sample in samples:
        match = regex.search(sample.path)
        if match is None or not match.groups() or not match.group(1):
            raise DatasetError(
                f"group_regex {pattern!r} of {root / 'dataset.yaml'} finds no group in {sample.path}; "
                "it needs one capture group that matches every relative path"
            )
        check_group(match.group(1), f"group_regex {pattern!r} of {root / 'dataset.yaml'} and {sample.path}")
        grouped.append(replace(sample, group=match.group(1)))
    return tuple(grouped)

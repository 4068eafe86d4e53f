"""Groups and slices of a dataset folder: told by groups.csv, or by a regex on the file names."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

from deploy.errors import DatasetError
from pipeline.data.card import Card
from pipeline.data.layouts.table import read_rows, slices_of
from pipeline.data.sample import Sample


def with_groups(
    samples: tuple[Sample, ...], root: Path, card: Card
) -> tuple[tuple[Sample, ...], Literal["groups.csv", "group_regex", "nothing"]]:
    """Give samples their groups and slices; tells where the groups are from. Raises DatasetError for a picture without one."""
    file = root / "groups.csv"
    if file.is_file():
        return _from_table(samples, file, card), "groups.csv"
    if card.slices:
        raise DatasetError(
            f"dataset.yaml names the slice {card.slices[0]!r}, but {file} does not exist; slices are further columns of it: "
            "write it, or delete `slices`"
        )
    if card.group_regex:
        return _from_regex(samples, root, card.group_regex), "group_regex"
    return samples, "nothing"


def _from_table(samples: tuple[Sample, ...], file: Path, card: Card) -> tuple[Sample, ...]:
    columns, rows = read_rows(file, ("file", "group"))
    told = slices_of(file, columns, rows, ("file", "group"), card)
    lines = {row.cells["file"]: (row.cells["group"], slices) for row, slices in zip(rows, told, strict=True)}
    missing = [sample.path for sample in samples if sample.path not in lines or not lines[sample.path][0]]
    if missing:
        raise DatasetError(
            f"{file} names no group for {len(missing)} of {len(samples)} pictures (first: {missing[0]}); "
            "add a line `file,group` for each, or delete groups.csv to group near-duplicates instead"
        )
    if len(lines) < len(rows):
        files = [row.cells["file"] for row in rows]
        doubled = next(row for row in rows if files.count(row.cells["file"]) > 1)
        raise DatasetError(f"{file} names {doubled.cells['file']} twice (first: line {doubled.number}); delete one of the lines")
    return tuple(replace(sample, group=lines[sample.path][0], slices=lines[sample.path][1]) for sample in samples)


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
        grouped.append(replace(sample, group=match.group(1)))
    return tuple(grouped)

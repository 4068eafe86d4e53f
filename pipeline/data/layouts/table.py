"""CSV tables: a dataset as one."""

from dataclasses import replace
from pathlib import Path

from deploy.errors import DatasetError
from pipeline.data.card import DEFECTIVE_NAMES, Card
from pipeline.data.layouts.found import SPLIT_NAMES, Dataset, is_file
from pipeline.data.layouts.groups import further_columns, with_groups
from pipeline.data.layouts.rows import Row, Slices, as_path, check_group, read_rows, slices_of
from pipeline.data.sample import Sample

FIELDS = ("path", "label", "defect_type", "group", "split", "mask")
"""Columns of a dataset table that say something of their own; every other one is a slice."""


def read_table(file: Path, card: Card) -> Dataset:
    """A CSV with the columns path,label and, if wanted, defect_type, group, split and mask; further ones are slices.

    Where it names no groups, groups.csv beside it or the card's group_regex does, as for every other layout.
    """
    root = str(file.parent.resolve())
    columns, rows = read_rows(file, ("path", "label"))
    is_grouped = any(row.cells.get("group") for row in rows)
    told = slices_of(file, columns, rows, FIELDS, card, () if is_grouped else further_columns(file.parent))
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
    dataset = Dataset(card.name or file.stem, tuple(samples.values()), "csv")
    if is_grouped:
        return dataset
    further = [column for column in columns if column not in FIELDS]
    grouped_samples, groups_from = with_groups(dataset.samples, file.parent, card, further)
    return replace(dataset, samples=grouped_samples, groups_from=groups_from)


def _sample(file: Path, root: str, row: Row, slices: Slices, card: Card) -> Sample:
    cells = row.cells
    where = f"{file} line {row.number}"
    if not cells["path"]:
        raise DatasetError(f"{where} names no picture; expected a path relative to the table")
    is_good = card.is_good(cells["label"])
    if not is_good and cells["label"].lower() not in DEFECTIVE_NAMES:
        raise DatasetError(f"{where}: label {cells['label']!r}; expected good or defective")
    split = cells.get("split", "").lower()
    if split and split not in SPLIT_NAMES:
        raise DatasetError(f"{where}: split {split!r}; expected train, validation or test")
    check_group(cells.get("group", ""), where)
    mask = "" if is_good or not cells.get("mask") else as_path(cells["mask"])  # of a good picture it could only be empty
    if mask and not is_file(Path(root) / mask):
        raise DatasetError(f"{where}: the mask {mask} does not exist; expected a path relative to the table")
    return Sample(
        root,
        as_path(cells["path"]),
        "good" if is_good else "defective",
        "" if is_good else cells.get("defect_type") or "defective",
        cells.get("group", ""),
        mask,
        SPLIT_NAMES[split] if split else "",
        slices=slices,
    )

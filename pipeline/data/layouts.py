"""Reads every dataset layout into samples. What users may lay out is told in datasets/README.md."""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy.errors import DatasetError
from deploy.preprocess import PICTURE_SUFFIXES
from pipeline.data.sample import Label, Sample, Split

GOOD_NAMES = frozenset({"good", "ok", "normal", "pass", "perfect"})
DEFECTIVE_NAMES = frozenset({"defective", "defect", "bad", "ng", "nok", "anomaly", "anomalous", "fail"})
SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
NOT_CLASSES = frozenset({"masks", "ground_truth"})


class Card(BaseModel):
    """`dataset.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None = Field(None, description="name in reports and run folders; default: the folder's name")
    licence: str | None = None
    description: str | None = None
    group_regex: str | None = Field(None, description="applied to the relative path; its first capture group is the group")
    good: list[str] = Field(default_factory=list, description="class folders that count as good besides the usual names")
    slices: list[str] = Field(default_factory=list, description="columns of groups.csv to report separately")


@dataclass(frozen=True)
class Dataset:
    """The samples of one folder, before they are hashed and split."""

    name: str
    samples: tuple[Sample, ...]
    groups_from: Literal["groups.csv", "group_regex", "csv", "nothing"]


def read_dataset(source: Path) -> Dataset:
    """Read a dataset folder or a CSV file into samples, sorted by path.

    Understood: `good/` + `defective/<type>/`; class folders; either of them inside train/val/test folders; MVTec AD; a CSV.
    Raises DatasetError when it is missing, or its tables do not fit its pictures.
    """
    if not source.exists():
        raise DatasetError(f"{source} does not exist; expected a dataset folder or a CSV file (see datasets/README.md)")
    if source.is_file():
        if source.suffix.lower() != ".csv":
            raise DatasetError(f"{source} is a file; expected a dataset folder or a .csv with the columns path,label")
        return _from_csv(source)
    card = _read_card(source)
    samples = tuple(sorted(_from_folders(source, card), key=lambda sample: sample.path))
    samples, groups_from = _with_groups(samples, source, card)
    return Dataset(card.name or source.resolve().name, samples, groups_from)


def _read_card(root: Path) -> Card:
    file = root / "dataset.yaml"
    if not file.is_file():
        return Card()
    try:
        return Card.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    except ValidationError as error:
        first = error.errors()[0]
        raise DatasetError(
            f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}; see datasets/README.md for its keys"
        ) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise DatasetError(f"{file} is no YAML: {str(error).splitlines()[0]}; see datasets/README.md for its keys") from error


def _from_folders(root: Path, card: Card) -> Iterator[Sample]:
    splits = {child: SPLIT_NAMES[child.name.lower()] for child in _folders(root) if child.name.lower() in SPLIT_NAMES}
    if splits:
        for folder, split in splits.items():
            for sample in _from_classes(root, folder, card):
                yield replace(sample, split=split)
    else:
        yield from _from_classes(root, root, card)


def _from_classes(root: Path, folder: Path, card: Card) -> Iterator[Sample]:
    good = GOOD_NAMES | {name.lower() for name in card.good}
    for child in _folders(folder):
        name = child.name.lower()
        if name in NOT_CLASSES:
            continue
        if name in good:
            yield from _pictures(root, child, "good", "")
        elif name in DEFECTIVE_NAMES:
            types = _folders(child)
            for one in types:
                yield from _pictures(root, one, "defective", one.name)
            yield from _pictures(root, child, "defective", "defective", recursive=not types)
        else:
            yield from _pictures(root, child, "defective", child.name)


def _pictures(root: Path, folder: Path, label: Label, defect_type: str, recursive: bool = True) -> Iterator[Sample]:
    for file in folder.rglob("*") if recursive else folder.glob("*"):
        if file.is_file() and file.suffix.lower() in PICTURE_SUFFIXES:
            mask = _find_mask(root, file, defect_type) if label == "defective" else ""
            yield Sample(str(root.resolve()), file.relative_to(root).as_posix(), label, defect_type, mask=mask)


def _find_mask(root: Path, picture: Path, defect_type: str) -> str:
    for mask in (
        root / "masks" / defect_type / f"{picture.stem}.png",
        root / "ground_truth" / defect_type / f"{picture.stem}_mask.png",  # MVTec AD
    ):
        if mask.is_file():
            return mask.relative_to(root).as_posix()
    return ""


def _with_groups(
    samples: tuple[Sample, ...], root: Path, card: Card
) -> tuple[tuple[Sample, ...], Literal["groups.csv", "group_regex", "nothing"]]:
    file = root / "groups.csv"
    if file.is_file():
        groups = {row["file"]: row["group"] for row in _read_rows(file, ("file", "group"))}
        missing = [sample.path for sample in samples if not groups.get(sample.path)]
        if missing:
            raise DatasetError(
                f"{file} names no group for {len(missing)} of {len(samples)} pictures (first: {missing[0]}); "
                "add a line `file,group` for each, or delete groups.csv to group near-duplicates instead"
            )
        return tuple(replace(sample, group=groups[sample.path]) for sample in samples), "groups.csv"
    if card.group_regex:
        try:
            regex = re.compile(card.group_regex)
        except re.error as error:
            raise DatasetError(f"group_regex {card.group_regex!r} of {root / 'dataset.yaml'} is no regex: {error}") from error
        grouped = []
        for sample in samples:
            match = regex.search(sample.path)
            if match is None or not match.groups() or not match.group(1):
                raise DatasetError(
                    f"group_regex {card.group_regex!r} of {root / 'dataset.yaml'} finds no group in {sample.path}; "
                    "it needs one capture group that matches every relative path"
                )
            grouped.append(replace(sample, group=match.group(1)))
        return tuple(grouped), "group_regex"
    return samples, "nothing"


def _from_csv(file: Path) -> Dataset:
    root = str(file.parent.resolve())
    samples = []
    for number, row in enumerate(_read_rows(file, ("path", "label")), start=2):
        label = row["label"].lower()
        if label not in GOOD_NAMES | DEFECTIVE_NAMES:
            raise DatasetError(f"{file} line {number}: label {row['label']!r}; expected good or defective")
        split = (row.get("split") or "").lower()
        if split and split not in SPLIT_NAMES:
            raise DatasetError(f"{file} line {number}: split {split!r}; expected train, validation or test")
        is_good = label in GOOD_NAMES
        samples.append(
            Sample(
                root,
                Path(row["path"]).as_posix(),
                "good" if is_good else "defective",
                "" if is_good else row.get("defect_type") or "defective",
                row.get("group") or "",
                split=SPLIT_NAMES[split] if split else "",
            )
        )
    placed = sum(bool(sample.split) for sample in samples)
    if 0 < placed < len(samples):
        raise DatasetError(f"{file} names a split for {placed} of {len(samples)} pictures; name one for all of them, or for none")
    grouped = sum(bool(sample.group) for sample in samples)
    if 0 < grouped < len(samples):
        raise DatasetError(
            f"{file} names a group for {grouped} of {len(samples)} pictures; name one for all of them, or for none"
        )
    return Dataset(file.stem, tuple(samples), "csv" if grouped else "nothing")


def _read_rows(file: Path, needed: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, restval="")
            columns = reader.fieldnames or []
            rows = list(reader)
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file} is not in UTF-8 ({error.reason}); save it as CSV UTF-8") from error
    if missing := [column for column in needed if column not in columns]:
        raise DatasetError(f"{file} has the columns {', '.join(columns) or 'none'}; {', '.join(missing)} is missing")
    return rows


def check_any(samples: Sequence[Sample], source: Path) -> None:
    """Raise DatasetError when there is no picture at all."""
    if not samples:
        raise DatasetError(
            f"{source} holds no readable pictures in a known layout; expected good/ and defective/<type>/ with "
            f"{', '.join(sorted(PICTURE_SUFFIXES))} files (see datasets/README.md)"
        )


def check_classes(samples: Sequence[Sample], source: Path) -> None:
    """Raise DatasetError unless there are good and defective pictures."""
    check_any(samples, source)
    good = sum(sample.label == "good" for sample in samples)
    if not 0 < good < len(samples):
        raise DatasetError(
            f"{source} has {good} good and {len(samples) - good} defective pictures; both are needed to learn the difference: "
            f"add pictures of {'defective' if good else 'good'} parts"
        )


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))

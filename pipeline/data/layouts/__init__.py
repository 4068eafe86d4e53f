"""Reads every dataset layout into samples. What users may lay out is told in datasets/README.md."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from deploy.errors import DatasetError
from deploy.preprocess import PICTURE_SUFFIXES
from pipeline.data.card import Card, read_card
from pipeline.data.layouts import coco, folders, labelme, voc
from pipeline.data.layouts.found import Dataset, Layout, is_text, misnamed_below, shown, some
from pipeline.data.layouts.groups import with_groups
from pipeline.data.layouts.rows import read_columns
from pipeline.data.layouts.table import read_table
from pipeline.data.sample import Sample

__all__ = ["Card", "Dataset", "Layout", "check_any", "check_classes", "read_dataset"]

_Read = Callable[[Path, Card], tuple[tuple[Sample, ...], tuple[str, ...]]]
_ANNOTATED: dict[Layout, tuple[Callable[[Path], bool], _Read, str]] = {
    "coco": (coco.is_coco, coco.read_coco_folder, coco.LOOKED_FOR),
    "voc": (voc.is_voc, voc.read_voc_folder, voc.LOOKED_FOR),
    "labelme": (labelme.is_labelme, labelme.read_labelme_folder, labelme.LOOKED_FOR),
}
"""Layout -> is it this one, how it is read, what it looks like."""


def read_dataset(source: Path, layout: Layout | None = None) -> Dataset:
    """Read a dataset folder or a CSV file into samples, sorted by path.

    A `.csv` file is a table. In a folder, folders called good or defective (or another of their names) that hold pictures win:
    annotation files then only say where, not whether. Else the first of COCO, Pascal VOC and LabelMe that is found; else a
    single CSV with the columns path,label; else class folders. `layout` takes the choice.
    Raises DatasetError when it is missing, does not fit the layout asked for, or its tables do not fit its pictures.
    """
    if layout is not None and layout not in get_args(Layout):
        raise DatasetError(f"there is no layout {layout!r}; expected one of {', '.join(get_args(Layout))}")
    if not is_text(str(source.resolve())):
        raise DatasetError(f"the path {shown(str(source.resolve()))} is not in UTF-8; rename what is not")
    if not source.exists():
        raise DatasetError(f"{source} does not exist; expected a dataset folder or a CSV file (see datasets/README.md)")
    if source.is_file():
        if source.suffix.lower() != ".csv":
            raise DatasetError(f"{source} is a file; expected a dataset folder or a .csv with the columns path,label")
        if layout not in (None, "csv"):
            raise DatasetError(f"{source} is a file; the layout {layout} is read from a folder: name the folder")
        return read_table(source, read_card(source.parent))
    card = read_card(source)
    if layout is not None:
        _check_asked(source, layout, card)
        passed_over: list[str] = []
    else:
        layout = _detect(source, card)
        passed_over = [] if layout == "csv" else [table.name for table in _tables(source)]
    if layout == "csv":
        return replace(read_table(_the_table(source), card), name=card.name or source.resolve().name)
    samples, notes = _ANNOTATED[layout][1](source, card) if layout in _ANNOTATED else (folders.read_folders(source, card), ())
    samples, groups_from = with_groups(samples, source, card)
    return Dataset(card.name or source.resolve().name, samples, groups_from, (*notes, *_left_out(source, passed_over)))


def _left_out(source: Path, tables: list[str]) -> list[str]:
    notes = []
    if misnamed := misnamed_below(source):
        notes.append(
            some(
                misnamed,
                "file name is not in UTF-8 and is left out: rename it",
                "file names are not in UTF-8 and are left out: rename them",
            )
        )
    if tables:
        advice = "has the columns path,label and is not read: name the file to read it"
        notes.append(
            some(tables, f"table {advice}", "tables have the columns path,label and are not read: name a file to read it")
        )
    return notes


def _detect(source: Path, card: Card) -> Layout:
    if folders.name_classes(source, card):
        return "folders"
    for layout, (is_there, _, _) in _ANNOTATED.items():
        if is_there(source):
            return layout
    return "csv" if _tables(source) else "folders"  # unnamed folders, such as images/, need not be classes


def _check_asked(source: Path, layout: Layout, card: Card) -> None:
    """Raise DatasetError when nothing in the folder is of the layout that was asked for."""
    if layout == "csv":
        fits, looked_for = bool(_tables(source)), "a .csv with the columns path,label"
    elif layout == "folders":
        fits, looked_for = bool(folders.read_folders(source, card)), folders.LOOKED_FOR
    else:
        is_there, _, looked_for = _ANNOTATED[layout]
        fits = is_there(source)
    if not fits:
        raise DatasetError(
            f"{source} is not in the layout {layout}: looked for {looked_for}, and found none; "
            "name another --layout, or leave it out (see datasets/README.md)"
        )


def _tables(source: Path) -> list[Path]:
    """CSV files directly in the folder that have the columns of a dataset."""
    found = []
    for file in sorted(source.glob("*.csv")):
        try:
            columns, _ = read_columns(file, ("path", "label"))
        except OSError:
            continue
        if is_text(file.name) and {"path", "label"} <= set(columns):
            found.append(file)
    return found


def _the_table(source: Path) -> Path:
    tables = _tables(source)
    if len(tables) > 1:
        raise DatasetError(
            f"{source} holds {len(tables)} tables, {tables[0].name} and {tables[1].name} among them; name the file, "
            "or say --layout folders if its folders are the classes"
        )
    return tables[0]


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

"""The growing dataset on the disk: pictures in class folders, and one line in `groups.csv` for each of them."""

import fcntl
import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import cv2

from deploy.capture.keys import GOOD
from deploy.capture.table import NEEDED, Table, append_row, is_torn, read_table, remove_row, write_table
from deploy.errors import DatasetError
from deploy.files import write_bytes_whole
from deploy.preprocess import PICTURE_SUFFIXES, Picture

_OURS = re.compile(r"(?P<group>(?P<prefix>.*)\d{8}T\d{6}Z-\d+)_\d+\.png")
"""Group and station stand in the file's name: a picture whose line was lost still says which part it shows."""
_NOT_CLASSES = frozenset({"masks", "ground_truth"})
_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})


class Collection:
    """A folder with `good/`, `defective/<type>/` and `groups.csv`, kept so that each picture has exactly one line.

    Raises DatasetError for a folder that cannot be continued without guessing, and when something cannot be written.
    """

    def __init__(self, folder: Path, station: str | None = None) -> None:
        self.folder = folder
        self.notes: list[str] = []
        """What was put right on opening."""
        self._station = station
        self._table: Table | None = None
        self._names: set[str] = set()
        self._groups: set[str] = set()
        self._counts: Counter[str] = Counter()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder, os.O_RDONLY)
        except OSError as error:
            raise DatasetError(
                f"{folder}: cannot be used as a folder ({error.strerror}); give a folder you may write to"
            ) from error
        try:
            self._take_lock()
            self._open()
        except BaseException:
            self.close()
            raise

    def add(self, picture: Picture, kind: str, group: str) -> str:
        """Save a picture of the part `group` into the class folder `kind` and return its path below the collection.

        Raises DatasetError when it cannot be written; then neither the picture nor its line is there.
        """
        number = 1
        while f"{group}_{number:02d}.png" in self._names:
            number += 1
        file = f"{kind}/{group}_{number:02d}.png"
        path = self.folder / file
        encoded, data = cv2.imencode(".png", picture)
        if not encoded:
            raise DatasetError(f"{file}: a picture of {picture.shape} cannot be encoded as PNG")
        cells = {"file": file, "group": group, "time": _iso(datetime.now(timezone.utc)), "station": self._station or ""}
        try:
            if self._table is None:
                columns = (*NEEDED, "time", *(("station",) if self._station else ()))
                fresh = Table(self.folder / "groups.csv", columns)
                write_table(fresh)
                self._table = fresh
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes_whole(path, data.tobytes())
            try:
                append_row(self._table, cells)
            except OSError:
                path.unlink()
                raise
        except OSError as error:
            raise DatasetError(
                f"{file} was not saved ({error.strerror}); check the space on this disk and the permissions"
            ) from error
        self._names.add(path.name)
        self._groups.add(group)
        self._counts[kind] += 1
        return file

    def remove(self, file: str) -> None:
        """Take back a picture that add() returned, and its line. Raises DatasetError when either cannot be removed."""
        assert self._table is not None, "there is a line to remove"
        path = self.folder / file
        try:
            # The picture first: a stop in between leaves a line without a picture, which means nothing to any reader.
            # The other way round, a label that was withdrawn would be found again on the next start.
            path.unlink(missing_ok=True)
            self._counts[str(Path(file).parent)] -= 1
            remove_row(self._table, file)
        except OSError as error:
            raise DatasetError(f"{file} cannot be taken back cleanly ({error.strerror}); check the disk") from error
        self._names.discard(path.name)

    def name_group(self, part: int) -> str:
        """A name that no other part in this folder has, nor one of another station, for the part that begins now."""
        prefix = f"{self._station}-" if self._station else ""
        start = f"{prefix}{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}"
        while f"{start}-{part}" in self._groups:
            part += 1
        return f"{start}-{part}"

    def counts(self) -> Mapping[str, int]:
        """Pictures in each class folder of ours, earlier sessions included."""
        return +self._counts

    def close(self) -> None:
        """Let others capture into this folder."""
        os.close(self._lock)

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DatasetError(f"{self.folder}: another capture is writing here; end it, or give another folder") from error
        except OSError:  # a network disk without locks
            self.notes.append(f"{self.folder} cannot be locked: let no other capture write here at the same time")

    def _open(self) -> None:
        files = self._sweep()
        path = self.folder / "groups.csv"
        if path.exists():
            self._table = self._repaired(read_table(path), files, is_torn(path))
        elif files:
            # Adopting them would claim that each shows another part, and siblings could end up on both sides of a split.
            raise DatasetError(
                f"{self.folder} holds {len(files)} pictures but no groups.csv, so nothing says which show the same part; "
                "capture into a new folder, or first write a groups.csv with the columns file,group (see datasets/README.md)"
            )
        listed = self._table.column("file") if self._table else []
        self._names = {Path(name).name for name in (*files, *listed)}
        self._groups = set(self._table.column("group")) if self._table else set()
        self._counts = Counter(str(Path(file).parent) for file in files if file.startswith((f"{GOOD}/", "defective/")))

    def _sweep(self) -> list[str]:
        """The pictures that a reader of this folder would find; half-written ones of a session that was killed are removed."""
        files = []
        for child in sorted(self.folder.iterdir()):
            if not child.is_dir() or child.name.startswith("."):
                continue
            if child.name.lower() in _SPLITS:
                raise DatasetError(
                    f"{self.folder} is split into folders such as {child.name}/, and new pictures would belong to none; "
                    "capture into a new folder"
                )
            if child.name.lower() in _NOT_CLASSES:
                continue
            for file in sorted(child.rglob("*")):
                if re.fullmatch(rf"\.{_OURS.pattern}\.part", file.name):
                    with suppress(OSError):
                        file.unlink()
                elif file.suffix.lower() in PICTURE_SUFFIXES and file.is_file():
                    files.append(file.relative_to(self.folder).as_posix())
        return files

    def _repaired(self, table: Table, files: list[str], torn: bool) -> Table:
        """The table with a line for every picture: those that were moved, and those whose line a stop or power cut prevented."""
        rows, repaired = list(table.rows), torn
        index, group = table.columns.index("file"), table.columns.index("group")
        if torn and rows and _OURS.fullmatch(Path(table.column("file")[-1]).name):
            rows.pop()  # cut off anywhere, even within the group's name; the file's name still says it
        listed = {row[index]: number for number, row in enumerate(rows) if index < len(row) and group < len(row) and row[group]}
        present = set(files)
        unlisted = [file for file in files if file not in listed]
        arrived = Counter(Path(file).name for file in unlisted)
        gone: defaultdict[str, list[str]] = defaultdict(list)
        for file in listed:
            if file not in present:
                gone[Path(file).name].append(file)
        known = {self._station, *replace(table, rows=tuple(rows)).column("station")} if "station" in table.columns else {None}
        stations = {f"{station}-": station for station in known if station}
        for file in unlisted:
            name = Path(file).name
            namesakes = gone.get(name, [])
            ours = _OURS.fullmatch(name)
            if len(namesakes) == 1 and arrived[name] == 1:
                row = list(rows[listed[namesakes[0]]])
                row[index] = file
                rows[listed[namesakes[0]]] = tuple(row)
                self.notes.append(f"{file} was {namesakes[0]}: its line in groups.csv follows it")
            elif ours:
                taken = datetime.fromtimestamp((self.folder / file).stat().st_mtime, timezone.utc)
                cells = {"file": file, "group": ours["group"], "time": _iso(taken), "station": stations.get(ours["prefix"], "")}
                rows.append(tuple(cells.get(column, "") for column in table.columns))
                self.notes.append(f"{file} had no line in groups.csv (an earlier session was cut short): part {ours['group']}")
            else:
                raise DatasetError(
                    f"{table.path} names no group for {len(unlisted)} of {len(files)} pictures (first: {file}); "
                    "add a line `file,group` for each, or capture into a new folder"
                )
            repaired = True
        if self._station and "station" not in table.columns:
            self.notes.append(f"{table.path} has no column station, so it is told only by the names of the parts")
        table = replace(table, rows=tuple(rows))
        if repaired:
            try:
                write_table(table)
            except OSError as error:
                raise DatasetError(f"{table.path}: cannot be written ({error.strerror}); check the disk") from error
        return table


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")

"""The hashed, versioned table of samples a run was trained on."""

import csv
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from deploy.bundle import sha256_of
from deploy.errors import DatasetError, RunError
from deploy.preprocess import read_picture
from pipeline.data.sample import SPLITS, Sample, Split

COLUMNS = {
    "path": "path",
    "sha256": "sha256",
    "label": "label",
    "type": "defect_type",
    "group": "group",
    "split": "split",
    "mask": "mask",
    "mask_sha256": "mask_sha256",
    "origin": "origin",
}
"""Column of manifest.csv -> field of Sample. Every further column is a slice."""


@dataclass(frozen=True)
class Manifest:
    """Which pictures, with which labels, in which part of the split."""

    dataset: str
    samples: tuple[Sample, ...]
    version: int = 1
    parent: str | None = None
    """sha256 of the manifest this one grew from."""

    def split(self, split: Split) -> tuple[Sample, ...]:
        """The samples of one part of the split."""
        return tuple(sample for sample in self.samples if sample.split == split)

    def pictures(self) -> dict[str, int]:
        """Pictures per split."""
        return {split: len(self.split(split)) for split in SPLITS}

    def groups(self) -> dict[str, int]:
        """Groups per split."""
        return {split: len({sample.group for sample in self.split(split)}) for split in SPLITS}

    def sha256(self) -> str:
        """Identity of this version: what is learned from, wherever the folder lies."""
        rows = sorted(json.dumps({**asdict(sample), "origin": ""}) for sample in self.samples)
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()


@dataclass(frozen=True)
class Skipped:
    """A picture that could not be read, and why."""

    path: str
    reason: str


def hash_readable(
    samples: Sequence[Sample], progress: Callable[[int, int], None] | None = None
) -> tuple[tuple[Sample, ...], tuple[Skipped, ...]]:
    """Decode every picture once and hash it; those that do not decode are left out and told.

    Raises DatasetError for a mask that cannot be read or has not its picture's size: better now than in the middle of training.
    """
    kept, skipped = [], []
    for number, sample in enumerate(samples, start=1):
        try:
            picture = read_picture(sample.file)
        except DatasetError as error:
            skipped.append(Skipped(sample.path, str(error)))
        else:
            check_mask(sample, picture.shape[:2])
            kept.append(replace(sample, sha256=sha256_of(sample.file)))
        if progress:
            progress(number, len(samples))
    return tuple(kept), tuple(skipped)


def check_mask(sample: Sample, size: tuple[int, int]) -> None:
    """Raise DatasetError unless the sample's mask, if it has one, can be read and has the size (height, width) of its picture."""
    if sample.mask_file is None:
        return
    mask = read_picture(sample.mask_file)
    if mask.shape[:2] != size:
        raise DatasetError(
            f"{sample.mask_file} is {mask.shape[1]} x {mask.shape[0]}, its picture {sample.path} is {size[1]} x {size[0]}; "
            "a mask must have its picture's size"
        )


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write manifest.csv, and manifest.json with its version, parent and hash."""
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        slices = sorted({name for sample in manifest.samples for name, _ in sample.slices})
        writer.writerow([*COLUMNS, *slices])
        for sample in manifest.samples:
            known = dict(sample.slices)
            fields = [getattr(sample, field) for field in COLUMNS.values()]
            writer.writerow([*fields, *(known.get(name, "") for name in slices)])
    about = {"dataset": manifest.dataset, "version": manifest.version, "parent": manifest.parent, "sha256": manifest.sha256()}
    (folder / "manifest.json").write_text(json.dumps(about, indent=2))


def read_manifest(folder: Path) -> Manifest:
    """Read what `write_manifest` wrote; raises RunError when it is missing or was edited."""
    try:
        about = json.loads((folder / "manifest.json").read_text())
        with (folder / "manifest.csv").open(newline="", encoding="utf-8") as stream:
            samples = tuple(_sample(row) for row in csv.DictReader(stream))
        manifest = Manifest(about["dataset"], samples, about["version"], about["parent"])
        expected = about["sha256"]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{folder} has no readable manifest.csv and manifest.json ({error}); expected a run folder") from error
    if manifest.sha256() != expected:
        raise RunError(f"{folder}/manifest.csv was edited after the run was made; restore it, or train again")
    return manifest


def _sample(row: Mapping[str, str]) -> Sample:
    slices = tuple(sorted((name, value) for name, value in row.items() if name not in COLUMNS and value))
    return Sample(**{field: row[column] for column, field in COLUMNS.items()}, slices=slices)  # type: ignore[arg-type]


def check_unchanged(samples: Sequence[Sample]) -> None:
    """Raise DatasetError when a picture is gone or is no longer the one that was hashed."""
    for sample in samples:
        if not sample.file.is_file():
            raise DatasetError(f"{sample.file} is gone; the manifest names it: put the dataset back where it was, or train again")
        if sha256_of(sample.file) != sample.sha256:
            raise DatasetError(
                f"{sample.file} changed since it entered the manifest; restore it, or train again on the new pictures"
            )

"""The hashed, versioned table of samples a run was trained on."""

import csv
import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deploy.bundle import sha256_of
from deploy.errors import DatasetError, RunError
from pipeline.data.masks import hash_place
from pipeline.data.sample import SPLITS, Sample, Split
from pipeline.data.split.overview import overview

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
    rule: str = "group"
    """How it was split: group, brought (by the dataset), time:COLUMN, slice:COLUMN=VALUE, fold:1of5."""
    seed: int = 0
    leakage: str = ""
    """What leaks, in one sentence, where a split that leaks was allowed; every report made from it carries the sentence."""

    @property
    def name(self) -> str:
        """Such as parts-v2, or parts-v2-fold1of5: the name of its folder."""
        fold = self.rule.removeprefix("fold:") if self.rule.startswith("fold:") else ""
        return f"{slug(self.dataset)}-v{self.version}" + (f"-fold{fold}" if fold else "")

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
        """Identity of this version: what is learned from, what of it leaks, and how it came about, wherever the folder lies."""
        made = json.dumps([self.content_sha256(), self.rule, self.seed, self.parent])
        return hashlib.sha256(made.encode()).hexdigest()

    def content_sha256(self) -> str:
        """What is learned from and what of it leaks, however it came about."""
        rows = sorted(json.dumps({**asdict(sample), "origin": ""}) for sample in self.samples)
        return hashlib.sha256("\n".join([*rows, self.leakage] if self.leakage else rows).encode()).hexdigest()

    def identity(self) -> dict[str, Any]:
        """What a run and its reports name it by: dataset, name, version, sha256, parent, rule, seed, leakage."""
        return {
            "dataset": self.dataset,
            "name": self.name,
            "version": self.version,
            "sha256": self.sha256(),
            "parent": self.parent,
            "rule": self.rule,
            "seed": self.seed,
            "leakage": self.leakage,
        }


def slug(dataset: str) -> str:
    """The dataset's name, in any script, as it can stand in the name of a folder: never hidden, empty or a way out of it."""
    name = unicodedata.normalize("NFC", dataset)
    kept = "".join(one if one.isalnum() or one in "._-" or unicodedata.category(one)[0] == "M" else "/" for one in name)
    return re.sub("/+", "-", kept).lstrip(".-") or "dataset"


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
    about = {**manifest.identity(), "overview": overview(manifest.samples)}
    (folder / "manifest.json").write_text(json.dumps(about, indent=2))


def holds_manifest(folder: Path) -> bool:
    """Whether it is a manifest version or a run, and not a dataset."""
    return (folder / "manifest.csv").is_file() and (folder / "manifest.json").is_file()


def read_manifest(folder: Path) -> Manifest:
    """Read what `write_manifest` wrote; raises RunError when it is missing or was edited."""
    try:
        about = json.loads((folder / "manifest.json").read_text())
        with (folder / "manifest.csv").open(newline="", encoding="utf-8") as stream:
            samples = tuple(_sample(row) for row in csv.DictReader(stream))
        manifest = Manifest(
            about["dataset"],
            samples,
            about["version"],
            about["parent"],
            about.get("rule", "group"),
            about.get("seed", 0),
            about.get("leakage", ""),
        )
        expected = about["sha256"]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{folder} has no readable manifest.csv and manifest.json ({error}); expected a manifest version or a run folder"
        ) from error
    if manifest.sha256() != expected:
        raise RunError(
            f"{folder}/manifest.csv or manifest.json was edited after it was made; restore it, or make a new version with "
            "`pipeline split` and train again"
        )
    return manifest


def _sample(row: Mapping[str, str]) -> Sample:
    slices = tuple(sorted((name, value) for name, value in row.items() if name not in COLUMNS and value))
    return Sample(**{field: row[column] for column, field in COLUMNS.items()}, slices=slices)  # type: ignore[arg-type]


def check_unchanged(samples: Sequence[Sample]) -> None:
    """Raise DatasetError when pictures or masks are gone or are no longer the ones that were hashed; says how many."""
    remedy = "put back what was there, or make a new version with `pipeline split` and train again"
    gone = [sample for sample in samples if not sample.file.is_file()]
    if gone:
        raise DatasetError(f"{gone[0].file} is gone, which the manifest names{_how_many(gone, samples)}; {remedy}")
    changed = [sample for sample in samples if sha256_of(sample.file) != sample.sha256]
    if changed:
        raise DatasetError(f"{changed[0].file} changed since it entered the manifest{_how_many(changed, samples)}; {remedy}")
    masked = [sample for sample in samples if sample.mask_sha256]
    changed = [sample for sample in masked if hash_place(sample) != sample.mask_sha256]
    if changed:
        raise DatasetError(
            f"the mask of {changed[0].file} changed since it entered the manifest{_how_many(changed, samples)}; {remedy}"
        )


def _how_many(these: Sequence[Sample], samples: Sequence[Sample]) -> str:
    return f" (the first of {len(these)} among {len(samples)} pictures)" if len(these) > 1 else ""

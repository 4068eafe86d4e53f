"""Manifest versions in a folder: manifests/parts-v1, parts-v2, each with the split of every picture that was there."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.manifest import Manifest, read_manifest, slug, write_manifest

PARTIAL = ".partial"


@dataclass(frozen=True)
class History:
    """The versions of one dataset, the oldest first."""

    versions: tuple[Manifest, ...]
    folds: tuple[Manifest, ...]
    """They are numbered along, but nothing grows from them."""
    next_version: int

    @property
    def newest(self) -> Manifest | None:
        """What the next version grows from."""
        return self.versions[-1] if self.versions else None


def read_history(out: Path, dataset: str) -> History:
    """Read all versions of a dataset in `out`; raises RunError when one was edited."""
    numbers: dict[Path, int] = {}
    for folder in out.iterdir() if out.is_dir() else ():
        match = re.fullmatch(rf"{re.escape(slug(dataset))}-v(\d+)(-fold\d+of\d+)?", folder.name)
        if match:
            numbers[folder] = int(match[1])
    manifests = [read_manifest(folder) for folder in sorted(numbers, key=lambda folder: (numbers[folder], folder.name))]
    return History(
        tuple(one for one in manifests if not one.rule.startswith("fold:")),
        tuple(one for one in manifests if one.rule.startswith("fold:")),
        max(numbers.values(), default=0) + 1,
    )


def write_versions(manifests: Sequence[Manifest], out: Path) -> list[Path]:
    """Write each into its folder in `out`; none carries its final name before all are written."""
    folders = [out / manifest.name for manifest in manifests]
    for manifest, folder in zip(manifests, folders, strict=True):
        beside = _beside(folder)
        shutil.rmtree(beside, ignore_errors=True)  # left by a command that was killed
        beside.mkdir(parents=True)
        write_manifest(manifest, beside)
    for folder in folders:
        _beside(folder).rename(folder)
    return folders


def _beside(folder: Path) -> Path:
    return folder.with_name(folder.name + PARTIAL)

"""One entry per trained model: named by what it was trained with, written whole, never trained twice."""

import csv
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy.errors import RunError
from deploy.files import write_whole
from pipeline.data.manifest import Manifest
from pipeline.training.recipe import Recipe


class Entry(BaseModel):
    """`entries/<key>.json`: a trained model's answers on its fold's test part. The arm's name is not in it: names may change."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    fold: str = Field(description="such as 1of3")
    seed: int
    defective_groups: int = Field(description="learned from")
    recipe: dict[str, Any] = Field(description="fully resolved, with the hash of the source weights")
    source: str = Field(description="where the source weights came from")
    manifest: str = Field(description="sha256 of which pictures were learned from, validated and tested on")
    seconds: float = Field(description="of training, validation included, over all epochs")
    trained_parameters: int = Field(description="that learned")
    parameters: int = Field(description="of the whole network")
    pictures: list[str] = Field(description="paths of the test part")
    scores: list[float] = Field(description="their defect probabilities, not calibrated")
    auroc: float
    average_precision: float


def entry_key(recipe: Recipe, content_sha256: str) -> str:
    """What a trained model is known by: recipe with seed and source weights, and the fold's pictures and which of them train.

    Weights that have a hash are the same wherever their file lies.
    """
    told = recipe.model_dump(mode="json")
    if told["source"] and told["source"]["sha256"]:
        told["source"].pop("origin")
    return hashlib.sha256(json.dumps([told, content_sha256], sort_keys=True).encode()).hexdigest()


def entry_file(folder: Path, key: str) -> Path:
    """Where the entry lies in the comparison's folder."""
    return folder / "entries" / f"{key}.json"


def read_entry(folder: Path, key: str) -> Entry | None:
    """The entry, or None where the model is not trained yet; raises RunError for one that was altered."""
    file = entry_file(folder, key)
    try:
        return Entry.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        raise RunError(
            f"{file} is no entry of a comparison ({'.'.join(map(str, first['loc']))}: {first['msg']}); delete it and give the "
            "same command again: its model is then trained again"
        ) from error


def write_entry(folder: Path, entry: Entry) -> None:
    """Write it whole."""
    write_whole(entry_file(folder, entry.key), entry.model_dump_json(indent=1))


def partial_folder(folder: Path, key: str) -> Path:
    """Where the model is being trained."""
    return folder / "partial" / key


@contextmanager
def claimed(folder: Path, name: str) -> Iterator[bool]:
    """Whether this process alone now works on `name`. A process that dies lets go of it: the operating system sees to that."""
    lock = os.open(folder / "partial" / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(lock)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait until this process alone writes the comparison's own files."""
    lock = os.open(folder / "partial" / "report.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def release(folder: Path, name: str) -> None:
    """Forget a lock nobody needs any more. Whoever waits for its file finds the entry that was written first."""
    (folder / "partial" / f"{name}.lock").unlink(missing_ok=True)


def trained_seconds(folder: Path) -> float:
    """Of all epochs in history.csv: those before an interruption count, the pause does not."""
    with (folder / "history.csv").open(newline="") as stream:
        return sum(float(row["seconds"]) for row in csv.DictReader(stream))


def count_defective(manifest: Manifest) -> int:
    """Defective groups that are learned from."""
    return len({sample.group for sample in manifest.split("train") if sample.label == "defective"})

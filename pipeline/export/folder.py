"""The folder that an export grows in: of one process, and renamed to the bundle's name when it is whole."""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.bundle_spec import is_name
from deploy.errors import GateFailed
from pipeline.training.run import PARTIAL

REFUSED = ".refused"
"""Ends the name of a folder that became no bundle, for want of what was required."""


def label_of(name: str) -> str:
    """The name as bundles bear it. Raises GateFailed for one that no inspector takes."""
    label = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    if not is_name(label):
        raise GateFailed(f"the name {name!r} is given; expected up to 200 letters, digits, . _ and -: give another --name")
    return label


@contextmanager
def growing(out: Path, label: str) -> Iterator[Path]:
    """`LABEL-N.partial` with the next free number. What an interrupted export left is removed, what another one is at is not."""
    out.mkdir(parents=True, exist_ok=True)
    numbers = [0]
    for found in out.iterdir():
        match = re.fullmatch(rf"{re.escape(label)}-(\d+)({re.escape(PARTIAL)})?", found.name)
        if match and not (match[2] and _removed(found)):
            numbers.append(int(match[1]))
    folder = out / f"{label}-{max(numbers) + 1}{PARTIAL}"
    folder.mkdir()
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(descriptor)


def bundle_of(folder: Path) -> tuple[Path, str, int]:
    """What the folder is called when it is a bundle: its path, its label and its version."""
    final = folder.with_name(folder.name.removesuffix(PARTIAL))
    label, _, version = final.name.rpartition("-")
    return final, label, int(version)


def set_aside(folder: Path) -> Path:
    """Keep what was tried, in place of what was tried before."""
    refused = folder.with_name(folder.name.removesuffix(PARTIAL) + REFUSED)
    shutil.rmtree(refused, ignore_errors=True)
    return folder.rename(refused)


def _removed(partial: Path) -> bool:
    """False where another export is at work in it."""
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    shutil.rmtree(partial)  # nothing in it is worth more than writing it again
    return True

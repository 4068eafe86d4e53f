"""Files that appear whole or not at all."""

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write beside, then rename: a stop half-way leaves what was there before."""
    write_bytes_whole(path, text.encode("utf-8"))


def write_bytes_whole(path: Path, data: bytes) -> None:
    """Write beside, to the disk and not only to its cache, then rename. A failed write (OSError) leaves nothing behind."""
    growing = path.with_name(f".{path.name}.part")
    try:
        with growing.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        growing.replace(path)
    except OSError:
        growing.unlink(missing_ok=True)  # on a full disk the half that was written is in the way
        raise

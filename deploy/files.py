"""Files that appear whole or not at all."""

from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write beside, then rename: a stop half-way leaves what was there before."""
    growing = path.with_name(f".{path.name}.part")
    growing.write_text(text, encoding="utf-8")
    growing.replace(path)

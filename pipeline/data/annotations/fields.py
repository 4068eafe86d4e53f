"""Takes values out of JSON that anybody may have written: each is what it should be, or a DatasetError says what it is."""

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from deploy.errors import DatasetError
from pipeline.data.annotations.shapes import FARTHEST, Point


def load_json(file: Path) -> Any:
    """The file's content; raises DatasetError when it is missing or no JSON."""
    try:
        return json.loads(file.read_bytes())
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read ({error.strerror}); put it back, or correct its permissions") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{file} is no JSON: {error}; export the annotations again") from error


def entry(value: Any, where: str) -> dict[str, Any]:
    """A JSON object; raises DatasetError for anything else."""
    if not isinstance(value, dict):
        raise DatasetError(f"{where}: found {brief(value)}, expected an object {{...}}; export the annotations again")
    return value


def listed(owner: dict[str, Any], key: str, where: str) -> list[Any]:
    """The list under a key; raises DatasetError when it is missing or none."""
    value = owner.get(key)
    if not isinstance(value, list):
        found = brief(value) if key in owner else "nothing"
        raise DatasetError(f"{where}: `{key}` is {found}, expected a list; export the annotations again")
    return value


def name(value: Any, where: str) -> str:
    """A name people can read, its blanks cut off; raises DatasetError when it is empty, unprintable or no text."""
    if not isinstance(value, str) or not value.strip() or not value.strip().isprintable():
        raise DatasetError(f"{where}: found {brief(value)}, expected a name; name it in the annotation tool and export again")
    return value.strip()


def numbers(value: Any, where: str) -> list[float]:
    """A list of coordinates; raises DatasetError for anything else, or one beyond every picture."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        whole = [float(one) for one in value if _is_coordinate(one)]
        if len(whole) == len(value):
            return whole
    raise DatasetError(f"{where}: found {brief(value)}, expected a list of coordinates in pixels; draw the shape again")


def points(value: Any, where: str) -> tuple[Point, ...]:
    """A list of [x, y]; raises DatasetError for anything else."""
    if not isinstance(value, list) or not value:
        raise DatasetError(f"{where}: found {brief(value)}, expected points [[x, y], ...]; draw the shape again")
    pairs = [numbers(one, where) for one in value]
    if any(len(pair) != 2 for pair in pairs):
        raise DatasetError(f"{where}: a point has not two coordinates; draw the shape again")
    return tuple((pair[0], pair[1]) for pair in pairs)


def side(value: Any) -> int:
    """The width or height a file states; 0 where it states none."""
    return int(value) if _is_coordinate(value) and value > 0 else 0


def relative(value: Any, where: str) -> str:
    """A file name inside the dataset, with forward slashes; raises DatasetError when it is none or leads outside."""
    path = name(value, where).replace("\\", "/")
    parts = PurePosixPath(path).parts
    if path.startswith("/") or ".." in parts or path[1:2] == ":":
        raise DatasetError(f"{where}: {value!r} leads out of the dataset folder; name its pictures relative to the folder")
    if not parts:
        raise DatasetError(f"{where}: {value!r} names no file; name its pictures relative to the folder")
    return PurePosixPath(path).as_posix()


def brief(value: Any) -> str:
    """A value as a message shows it: at most 60 characters."""
    text = repr(value) if isinstance(value, (str, int, float, bool, type(None))) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _is_coordinate(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= FARTHEST  # false for NaN, too

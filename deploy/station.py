"""`station.yaml`: what one inspection point is called and which camera looks at it."""

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy.errors import StationError

SUFFIXES = frozenset({".yaml", ".yml"})


class Station(BaseModel):
    """One inspection point."""

    # A webcam's number and a name such as 7 are numbers to YAML. Values stay out of messages: an address may hold a password.
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True, hide_input_in_errors=True)

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$",
        description="what the station is called in records and file names: letters, digits, - and _, at most 40",
    )
    camera: str = Field(
        min_length=1,
        repr=False,
        description="webcam number, rtsp:// or http:// address, or a video or folder of pictures relative to this file",
    )


def is_station(source: str) -> bool:
    """Does this name a station's settings rather than a picture source?"""
    return "://" not in source and Path(source).suffix.lower() in SUFFIXES


def load_station(path: Path) -> Station:
    """Read and check a `station.yaml`. Raises StationError for one that is missing, no YAML, or has a wrong or unknown key."""
    keys = ", ".join(Station.model_fields)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StationError(f"{path}: cannot be read ({error.strerror}); expected a YAML file with the keys {keys}") from error
    except UnicodeDecodeError as error:
        raise StationError(f"{path}: not in UTF-8 ({error.reason}); save it as UTF-8") from error
    except yaml.YAMLError as error:
        # YAML's own message quotes the line, and with it a password in the camera's address.
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        where = f"line {mark.line + 1}" if mark else "the file"
        raise StationError(f"{path}: {where} is no YAML; expected lines such as `name: press-1` with the keys {keys}") from None
    if not isinstance(content, dict):
        raise StationError(f"{path}: found no keys; expected lines such as `name: press-1` with the keys {keys}")
    try:
        station = Station.model_validate(content)
    except ValidationError as error:
        raise StationError(f"{path}: {_first_complaint(error, keys)}") from None
    if station.camera.isdecimal() or "://" in station.camera:
        return station
    return station.model_copy(update={"camera": str(path.parent / station.camera)})


def _first_complaint(error: ValidationError, keys: str) -> str:
    first = error.errors(include_input=False)[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "invalid_key":  # pydantic names `on` as 1
        return f"found a key that is no text to YAML (a number, a date, or on, off, yes, no); expected {keys}; take it out"
    field = Station.model_fields.get(key)
    if field is None:
        return f"found the unknown key {key}; expected {keys}; correct its spelling or take it out"
    if first["type"] == "missing":
        return f"the key {key} is missing; add it: {field.description}"
    return f"{key}: {first['msg'][0].lower()}{first['msg'][1:]}; expected {field.description}"

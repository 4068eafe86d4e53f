"""`station.yaml`: one inspection point, with its cameras, their regions, the bundle that decides and what is recorded."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from deploy.cameras import PATIENCE_S, seen_from
from deploy.cameras.settings import CameraSettings
from deploy.errors import StationError
from deploy.store.policy import MB, Policy
from deploy.store.recorder import QUOTA_BYTES

SUFFIXES = frozenset({".yaml", ".yml"})
NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$"
Pixel = Annotated[int, Field(ge=0, le=100_000)]
MAX_AGE_MS = 500.0
"""A live frame that is older when it is judged is a fault, unless the station says otherwise."""


class _Section(BaseModel):
    # A webcam's number and a name such as 7 are numbers to YAML. Values stay out of messages: an address may hold a password.
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True, hide_input_in_errors=True)


class RegionSection(_Section):
    """A part of a camera's picture in which parts are looked for."""

    name: str = Field(pattern=NAME, description="what it is called in records: letters, digits, - and _, at most 40")
    roi: tuple[Pixel, Pixel, Annotated[int, Field(ge=8)], Annotated[int, Field(ge=8)]] | None = Field(
        None, description="left, top, width and height in pixels of the camera's picture, at least 8 wide and high"
    )
    polygon: tuple[tuple[Pixel, Pixel], ...] | None = Field(
        None,
        min_length=3,
        max_length=200,
        description="corners as x, y in pixels of the camera's picture, in place of roi; what lies outside is blanked",
    )

    @model_validator(mode="after")
    def _one_shape(self) -> "RegionSection":
        if (self.roi is None) == (self.polygon is None):
            raise ValueError("needs either roi or polygon")
        return self


class ChecksSection(_Section):
    """Pictures that are a fault of the camera and get no verdict; what is left out is not checked."""

    black_below: float | None = Field(
        None, gt=0, le=255, description="grey value 0..255; a picture of which 99 % is darker is black: 16 suits most cameras"
    )
    glare_above: float | None = Field(
        None, ge=0, lt=1, description="largest share of the picture, 0..1, that may be over-exposed (250 of 255 or more)"
    )
    blurred_below: float | None = Field(
        None, gt=0, description="least sharpness, in squared grey steps, as `inspector capture` shows it for this camera"
    )
    frozen_s: float | None = Field(
        None, gt=0, le=3600, description="so many seconds of identical pictures are a frozen camera; for network cameras above 2"
    )


class CameraSection(_Section):
    """One camera and what it looks at."""

    name: str = Field("", pattern=f"{NAME}|^$", description="what it is called in records: letters, digits, - and _, at most 40")
    source: str = Field(
        min_length=1,
        repr=False,
        description="webcam number, rtsp:// or http:// address, what `inspector cameras` lists, or a video or folder of pictures "
        "relative to this file",
    )
    settings: CameraSettings = Field(CameraSettings(), description="exposure, gain, white_balance, pixel_format, rotation")
    limit_s: float = Field(PATIENCE_S, ge=0.2, le=60, description="seconds without a frame after which the camera is lost")
    max_age_ms: float = Field(MAX_AGE_MS, ge=1, le=60_000, description="milliseconds; a frame older when it is judged is a fault")
    checks: ChecksSection = Field(ChecksSection(), description="what makes a picture a fault of the camera")
    parts: Literal["whole", "belt"] = Field("whole", description="whole: a frame is one part; belt: parts travel through it")
    crop: int | None = Field(
        None, ge=32, le=4096, description="side in pixels of the square around each part on a belt; 256 when left out"
    )
    regions: tuple[RegionSection, ...] = Field((), max_length=16, description="where parts are; the whole picture when left out")

    @model_validator(mode="after")
    def _fits(self) -> "CameraSection":
        if self.crop is not None and self.parts == "whole":
            raise ValueError("has a crop, which is for parts on a belt; add parts: belt, or take crop out")
        _all_differ("regions", [region.name for region in self.regions])
        return self


class PicturesSection(_Section):
    """Which pictures are kept: all defective and review ones, and some of the good ones and around faults."""

    good_every: int = Field(Policy.good_every, ge=0, le=1_000_000, description="one in so many good parts; 0 keeps none")
    before_fault: int = Field(Policy.before_fault, ge=0, le=100, description="frames kept from just before a fault")
    quota_mb: int = Field(
        Policy.quota_bytes // MB, ge=1, le=10_000_000, description="megabytes that all pictures may take; the oldest make room"
    )
    leave_free_mb: int = Field(
        Policy.floor_bytes // MB, ge=0, le=10_000_000, description="megabytes that pictures leave free on the disk"
    )
    quality: int = Field(Policy.quality, ge=1, le=100, description="of the JPEG files, 1 to 100")


class RecordSection(_Section):
    """Where the record goes and how much of it is kept."""

    folder: str = Field("", description="folder relative to this file; inspections/<name> when left out")
    quota_mb: int = Field(
        QUOTA_BYTES // MB, ge=10, le=10_000_000, description="megabytes that the rows may take; the oldest make room"
    )
    pictures: PicturesSection = Field(PicturesSection(), description="which pictures are kept")


class DriftSection(_Section):
    """Whether, and over how many parts, the line is compared with the bundle and with itself."""

    watched: bool = Field(True, description="false: nothing is compared")
    window: int = Field(500, ge=50, le=5_000, description="parts of each region that are compared, 50 to 5000")
    every_s: float = Field(1.0, ge=0.1, le=3_600, description="seconds from one part that is looked at to the next, from 0.1")


class HealthSection(_Section):
    """Where Prometheus asks for the figures."""

    port: int = Field(9108, ge=1, le=65535, description="port of http://address:port/metrics")
    address: str = Field("127.0.0.1", min_length=1, description="address of this machine to listen on; 0.0.0.0: all of them")


class Station(_Section):
    """One inspection point."""

    name: str = Field(
        pattern=NAME,
        description="what the station is called in records and file names: letters, digits, - and _, at most 40",
    )
    camera: str = Field(
        "",
        repr=False,
        description="webcam number, rtsp:// or http:// address, or a video or folder of pictures relative to this file; for more "
        "than a source, cameras in its place",
    )
    cameras: tuple[CameraSection, ...] = Field((), max_length=16, description="the cameras, each with name and source")
    bundle: str | None = Field(None, min_length=1, description="folder of the bundle, relative to this file; for run and reload")
    trusted_key: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="public key that must have signed the bundle: the line in signing_key.pub"
    )
    engine: Literal["onnxruntime", "onnxruntime-cuda", "openvino", "tensorrt"] | None = Field(
        None, description="what runs the bundle; what `inspector install` chose when left out"
    )
    precision: Literal["fp32", "fp16", "int8-qdq", "int8-cpu"] | None = Field(
        None, description="which model of the bundle; what `inspector install` chose when left out"
    )
    deadline_ms: float | None = Field(
        None, ge=1, le=60_000, description="milliseconds from a part's last capture to its verdict; decided later is a FAULT"
    )
    record: RecordSection = Field(RecordSection(), description="where the record goes, and which pictures are kept")
    drift: DriftSection = Field(DriftSection(), description="how the line is compared with the bundle and with itself")
    health: HealthSection | None = Field(None, description="port and address for Prometheus; no endpoint when left out")

    @field_validator("camera")
    @classmethod
    def _named(cls, camera: str) -> str:
        if not camera:
            raise ValueError("is empty")
        return camera

    @model_validator(mode="after")
    def _has_cameras(self) -> "Station":
        if self.camera and self.cameras:
            raise ValueError("has both camera and cameras; keep one of them")
        if len(self.cameras) > 1 and not all(camera.name for camera in self.cameras):
            raise ValueError("has several cameras, one of them without a name; give each a name")
        _all_differ("cameras", [camera.name for camera in self.cameras])
        return self


def is_station(source: str) -> bool:
    """Does this name a station's settings rather than a picture source?"""
    return "://" not in source and Path(source).suffix.lower() in SUFFIXES


def record_folder(target: Path) -> Path:
    """The folder of the record: that of a `station.yaml`, or the target itself. Raises StationError."""
    return Path(load_station(target).record.folder) if is_station(str(target)) else target


def load_station(path: Path) -> Station:
    """Read and check a `station.yaml`. Raises StationError for one that is missing, no YAML, or has a wrong or unknown key.

    `cameras` is filled from the short form `camera`, and `camera` with the first camera's source; paths are seen from here.
    """
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
        raise StationError(f"{path}: {_first_complaint(error)}") from None
    if not station.camera and not station.cameras:
        raise StationError(f"{path}: the key camera is missing; add it: {Station.model_fields['camera'].description}")
    return _seen_from(path.parent, station)


def _seen_from(folder: Path, station: Station) -> Station:
    cameras = station.cameras or (CameraSection(source=station.camera),)
    cameras = tuple(camera.model_copy(update={"source": seen_from(folder, camera.source)}) for camera in cameras)
    record = station.record.model_copy(update={"folder": str(folder / (station.record.folder or f"inspections/{station.name}"))})
    changes: dict[str, Any] = {"camera": cameras[0].source, "cameras": cameras, "record": record}
    if station.bundle is not None:
        changes["bundle"] = str(folder / station.bundle)
    return station.model_copy(update=changes)


def _all_differ(what: str, names: list[str]) -> None:
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"has {what} of the same name {min(twice)!r}; give each its own")


def _first_complaint(error: ValidationError) -> str:
    first = error.errors(include_input=False)[0]
    place, section = first["loc"], _section(first["loc"][:-1])
    while section is None and len(place) > 1:  # within the parts of a value, such as the numbers of a roi
        place = place[:-1]
        section = _section(place[:-1])
    where, key = ".".join(map(str, place)), str(place[-1]) if place else ""
    if first["type"] == "invalid_key":  # pydantic names `on` as 1
        keys = ", ".join(section.model_fields) if section else "text"
        return f"found a key that is no text to YAML (a number, a date, or on, off, yes, no); expected {keys}; take it out"
    if first["type"] == "extra_forbidden" and section is not None:
        return f"found the unknown key {where}; expected {', '.join(section.model_fields)}; correct its spelling or take it out"
    field = section.model_fields.get(key) if section else None
    if first["type"] == "missing" and field is not None:
        return f"the key {where} is missing; add it: {field.description}"
    if first["type"] == "value_error" and field is None:
        return f"{where or 'the station'} {str(first['msg']).removeprefix('Value error, ')}"
    said = f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}"
    return f"{said}; expected {field.description}" if field is not None else said


def _section(location: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model whose keys stand at a place in the file; None for a place that is no section."""
    sections: dict[str, type[BaseModel]] = {
        **{"cameras": CameraSection, "regions": RegionSection, "settings": CameraSettings, "checks": ChecksSection},
        **{"record": RecordSection, "pictures": PicturesSection, "drift": DriftSection, "health": HealthSection},
    }
    names = [one for one in location if isinstance(one, str)]
    return sections.get(names[-1]) if names else Station

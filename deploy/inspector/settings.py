"""What one session of the inspector is asked for: by the words of a command, or by a station's file."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from deploy.cameras import PATIENCE_S
from deploy.cameras.checks import Checks
from deploy.cameras.settings import CameraSettings
from deploy.errors import StationError
from deploy.inspector.drift import DriftWanted
from deploy.inspector.locate import Box
from deploy.inspector.region import Region
from deploy.station import MAX_AGE_MS, CameraSection, HealthSection, PicturesSection, RegionSection, load_station
from deploy.store.policy import MB, Policy
from deploy.store.recorder import QUOTA_BYTES

CROP = 256


@dataclass(frozen=True)
class CameraWanted:
    """One camera and what to do with its pictures."""

    source: str
    name: str = ""
    settings: CameraSettings = field(default_factory=CameraSettings)
    limit_s: float = PATIENCE_S
    """Without a frame for so long it is lost."""
    max_age_ms: float = MAX_AGE_MS
    checks: Checks = field(default_factory=Checks)
    crop: int | None = None
    """Side in pixels of the square around each part on a belt; None: every frame is one part."""
    regions: tuple[Region, ...] = field(default_factory=lambda: (Region(),))


@dataclass(frozen=True)
class Settings:
    """What the user asked for."""

    bundle: Path
    cameras: tuple[CameraWanted, ...]
    out: Path | None = None
    """Where the record goes; None: `inspections/<bundle name>`."""
    policy: Policy = field(default_factory=Policy)
    """Which pictures of live cameras are kept."""
    record_bytes: int = QUOTA_BYTES
    """What the record's rows may take; the oldest make room."""
    deadline_ms: float | None = None
    annotate: Path | None = None
    """Where annotated pictures or the film go."""
    show: bool = False
    precision: str | None = None
    engine: str | None = None
    """Model and engine; None: what `inspector install` chose on this device, else fp32 on onnxruntime."""
    realtime: bool = False
    trusted_key: str | None = None
    drift: DriftWanted | None = None
    """How the line is compared with the bundle and with itself; None: it is not."""
    health: HealthSection | None = None
    """Where Prometheus asks for the figures; None: nowhere."""
    station: Path | None = None
    """The file that this is from; a reload reads its bundle again."""


def from_station(path: Path, annotate: Path | None = None, show: bool = False) -> Settings:
    """What a `station.yaml` asks for. Raises StationError."""
    station = load_station(path)
    if station.bundle is None:
        raise StationError(f"{path}: the key bundle is missing; add it: the folder of the bundle, relative to this file")
    return Settings(
        Path(station.bundle),
        tuple(_camera(camera) for camera in station.cameras),
        Path(station.record.folder),
        _policy(station.record.pictures),
        station.record.quota_mb * MB,
        station.deadline_ms,
        annotate,
        show,
        station.precision,
        station.engine,
        trusted_key=station.trusted_key,
        drift=DriftWanted(station.drift.window, station.drift.every_s) if station.drift.watched else None,
        health=station.health,
        station=path,
    )


def reloaded(settings: Settings, bundle: Path | None) -> Settings:
    """The same with another bundle, or with what the station's file says by now of bundle, key, precision and engine."""
    if settings.station is not None:
        now = from_station(settings.station)
        settings = replace(settings, bundle=now.bundle, trusted_key=now.trusted_key, precision=now.precision, engine=now.engine)
    return settings if bundle is None else replace(settings, bundle=bundle)


def _camera(section: CameraSection) -> CameraWanted:
    return CameraWanted(
        source=section.source,
        name=section.name,
        settings=section.settings,
        limit_s=section.limit_s,
        max_age_ms=section.max_age_ms,
        checks=Checks(**section.checks.model_dump()),
        crop=(section.crop or CROP) if section.parts == "belt" else None,
        regions=tuple(map(_region, section.regions)) or (Region(),),
    )


def _region(section: RegionSection) -> Region:
    return Region(section.name, None if section.roi is None else Box(*section.roi), section.polygon)


def _policy(section: PicturesSection) -> Policy:
    return Policy(
        good_every=section.good_every,
        before_fault=section.before_fault,
        quota_bytes=section.quota_mb * MB,
        floor_bytes=section.leave_free_mb * MB,
        quality=section.quality,
    )

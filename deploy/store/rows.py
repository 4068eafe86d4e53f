"""What the loop reports, as rows of the tables in `schema.py`. A row is without its session, which the writer puts in front."""

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from deploy.inspector.part import PartResult
from deploy.inspector.step import Fault, Seen

Row = tuple[Any, ...]

INSERT = {
    # A row that was written already, in a commit whose answer was lost, is not written twice.
    "parts": f"INSERT INTO parts VALUES ({', '.join('?' * 19)}) ON CONFLICT (session, record) DO NOTHING",
    "faults": f"INSERT INTO faults VALUES ({', '.join('?' * 12)}) ON CONFLICT (session, record) DO NOTHING",
    "events": "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (session, record) DO NOTHING",
    "frames": f"INSERT OR REPLACE INTO frames VALUES ({', '.join('?' * 16)})",
    "bundles": f"INSERT INTO bundles VALUES ({', '.join('?' * 11)}) ON CONFLICT (session, load) DO NOTHING",
    "pictures": "INSERT INTO pictures (session, record, camera, region, frame, kind, path, bytes) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
}
END_OF_FAULT = """
UPDATE faults SET lasted_s = ?, ended_record = ? WHERE session = ? AND camera = ? AND region = ? AND number = ?
"""


@dataclass(frozen=True)
class Session:
    """What decided: a row of `bundles`, and the source of a row of `sessions`."""

    bundle: str
    version: int
    bundle_sha256: str
    signed_by: str
    precision: str
    accept: float
    reject: float
    source: str
    engine: str


class Place(NamedTuple):
    """Where in a station: one region of one camera. Both are empty where there is only one."""

    camera: str = ""
    region: str = ""


class Kept(NamedTuple):
    """A row that must reach the disk. `record` counts such rows of a session from 1: the order in which things happened."""

    record: int
    table: str
    """parts, faults, events, or "end of fault"."""
    row: Row


def plain(name: str) -> str:
    """A text that a database takes: a byte of a file name that is no UTF-8 is written out."""
    return name.encode("utf-8", "backslashreplace").decode()


def bundle_row(session: Session, load: int, at: str) -> Row:
    """A row of `bundles`."""
    return (load, at, *(getattr(session, field.name) for field in fields(session) if field.name != "source"))


def part_row(part: PartResult, record: int, place: Place, load: int, latency_ms: float | None) -> Kept:
    """A row of `parts`. `latency_ms`: capture to decision of the frame that completed it."""
    x, y = part.peak or (None, None)
    who = (record, *place, part.part, load, part.at, part.verdict.value, part.probability, part.views, part.faults)
    return Kept(
        record,
        "parts",
        (
            *who,
            part.first_frame,
            part.last_frame,
            plain(part.name),
            x,
            y,
            part.age_ms,
            latency_ms,
            part.reason and plain(part.reason),
        ),
    )


def fault_row(fault: Fault, record: int, place: Place, ended: int | None = None) -> Kept:
    """A row of `faults`; for one that is over, `ended` is the record that says so."""
    what = (fault.number, fault.kind, plain(fault.message), fault.at, fault.frame, fault.part, fault.lasted_s)
    return Kept(record, "faults" if ended is None else "end of fault", (record, *place, *what, ended))


def view_row(seen: Seen, place: Place, load: int, at: str, latency_ms: float | None) -> Row:
    """A row of `frames`."""
    view = seen.view
    what = (
        view.frame,
        seen.part,
        load,
        plain(view.name),
        at,
        view.age_ms,
        latency_ms,
        view.probability,
        view.fault and plain(view.fault),
    )
    return (*place, *what, *seen.sighting.box)

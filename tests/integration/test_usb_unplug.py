"""A USB camera that is disconnected, unplugged and silent under `inspector run`: Linux' own test camera, in an emulated PC.

It shows white (GOOD) and another camera beside it colour bars (DEFECTIVE). Unplugged and plugged in again it has another number
and shows colour bars, and after its silence white. So a verdict from an old picture or the other camera would be the wrong one.
"""

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.conftest import bundle_path, draw_part
from tests.integration.arm64.userland import Unavailable
from tests.integration.usb.machine import missing, run_inside

__all__ = ["bundle_path", "draw_part"]
pytestmark = pytest.mark.slow
SCENARIO = Path(__file__).parent / "usb" / "scenario.py"
LIMIT_S, BACK_WITHIN_S = 2.0, 3.0
SILENT_READ_S = 3.0
"""OpenCV's own patience would be 10 s."""
MACHINE_S = 400
"""About a minute of processor time; many times that beside other work."""
STATION = f"""
name: usb
bundle: bundle
record: {{folder: /run/record, pictures: {{leave_free_mb: 0}}}}
cameras:
  - {{name: top, source: "usb:0", limit_s: {LIMIT_S}, max_age_ms: {1000 * LIMIT_S}}}
"""
OUTAGES = [("disconnected", "connected"), ("unplugged", "plugged in"), ("silent", "speaks")]


@dataclass(frozen=True)
class Verdict:
    said: str
    at: float
    captured_at: float


@dataclass(frozen=True)
class Seen:
    """What the record holds, and what was done when; in UTC seconds of the emulated machine."""

    marks: dict[str, float]
    late_s: float
    """By how much that machine itself was held up at worst, by what else this one does."""
    silent_read_s: float
    verdicts: list[Verdict]
    faults: list[float]
    summary: dict[str, Any]

    def between(self, first: str, last: str, later_s: float = 0.0) -> list[Verdict]:
        """What was decided then, without the first `later_s` seconds."""
        return [verdict for verdict in self.verdicts if self.marks[first] + later_s < verdict.at < self.marks[last]]


@pytest.fixture(scope="module")
def seen(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """One run of the scenario."""
    if lacking := missing():
        pytest.skip(lacking)
    work = tmp_path_factory.mktemp("usb")
    shutil.copytree(bundle_path, work / "bundle")
    (work / "station.yaml").write_text(STATION)
    try:
        console = run_inside(SCENARIO, work, MACHINE_S)
    except Unavailable as error:
        pytest.skip(str(error))
    said = (work / "said.txt").read_text() if (work / "said.txt").exists() else "the inspector was not started"
    assert (work / "done.json").exists(), console + said
    done = json.loads((work / "done.json").read_text())
    assert done["code"] == 0, said
    assert "Traceback" not in said
    with closing(sqlite3.connect(work / "record" / "store.sqlite")) as database:
        parts = database.execute("SELECT verdict, at, age_ms FROM parts WHERE verdict != 'FAULT'").fetchall()
        faults = database.execute("SELECT at FROM faults WHERE kind = 'camera' ORDER BY record").fetchall()
    return Seen(
        done["marks"],
        done["late_s"],
        done["silent_read_s"],
        [Verdict(verdict, seconds(at), seconds(at) - age_ms / 1000) for verdict, at, age_ms in parts],
        [seconds(at) for (at,) in faults],
        json.loads((work / "record" / "summary.json").read_text()),
    )


def seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def test_each_outage_is_a_fault_within_the_limit(seen: Seen) -> None:
    assert len(seen.faults) == len(OUTAGES)
    for (gone, back), fault in zip(OUTAGES, seen.faults, strict=True):
        last = max(verdict.captured_at for verdict in seen.verdicts if verdict.at < fault)
        print(f"{gone}: a fault {fault - last:.2f} s after the last frame; the machine was held up by {seen.late_s:.2f} s")
        assert fault - last <= LIMIT_S + seen.late_s
        assert fault < seen.marks[back]


def test_no_verdict_is_from_an_old_frame(seen: Seen) -> None:
    assert all(verdict.at - verdict.captured_at <= LIMIT_S for verdict in seen.verdicts)
    for gone, back in OUTAGES:
        assert seen.marks[back] - seen.marks[gone] > LIMIT_S + 1, "too short an outage to prove anything"
        assert not seen.between(gone, back, later_s=LIMIT_S)
    for first, last, expected in (
        ("white", "disconnecting", "GOOD"),
        ("connected", "unplugging", "GOOD"),
        ("plugged in", "silencing", "DEFECTIVE"),
        ("speaks", "ending", "GOOD"),
    ):
        found = [verdict.said for verdict in seen.between(first, last)]
        assert len(found) >= 5
        assert set(found) == {expected}, (first, found)


def test_it_inspects_again_soon_after_the_camera_is_back(seen: Seen) -> None:
    for _, back in OUTAGES:
        again_s = seen.between(back, "ending")[0].at - seen.marks[back]
        print(f"{back}: a verdict after {again_s:.2f} s")
        assert again_s <= BACK_WITHIN_S + seen.late_s


def test_a_read_of_a_silent_camera_does_not_block(seen: Seen) -> None:
    print(f"the driver gave up a silent camera after {seen.silent_read_s:.2f} s")
    assert seen.silent_read_s <= SILENT_READ_S + seen.late_s


def test_every_frame_is_accounted_for(seen: Seen) -> None:
    account = seen.summary["cameras"]["top"]
    assert account["captured"] == account["judged"] + account["dropped"] + account["faulted"]
    assert account["judged"] >= len(seen.verdicts) >= 20
    assert seen.summary["store"] == {"views_dropped": 0, "rows_lost": 0}

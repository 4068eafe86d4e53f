"""What the station's process takes, as the system counts it."""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.soak.line import Line


@dataclass(frozen=True)
class Sample:
    """One look."""

    at_s: float
    """Since the soak began."""
    rss_mb: float
    """Resident memory."""
    own_mb: float
    """Of this what no file stands behind: heap and stacks."""
    descriptors: int
    threads: int
    cpu_s: float
    frames: int
    """Judged so far, as the station's log says."""


def sample(line: Line, began: float) -> Sample | None:
    """Now; None once the process has ended."""
    process = Path(f"/proc/{line.process.pid}")
    try:
        rollup, status = (process / "smaps_rollup").read_text(), (process / "status").read_text()
        ticks = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
        descriptors = len(list((process / "fd").iterdir()))
    except (OSError, IndexError):
        return None
    frames = re.findall(rb"frames (\d+)", (line.folder / "station.log").read_bytes()[-4000:])
    return Sample(
        at_s=round(time.monotonic() - began, 1),
        rss_mb=_kb(rollup, "Rss") / 1000,
        own_mb=_kb(rollup, "Anonymous") / 1000,
        descriptors=descriptors,
        threads=int(re.findall(r"Threads:\s+(\d+)", status)[0]),
        cpu_s=sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"),
        frames=int(frames[-1]) if frames else 0,
    )


def quarters(samples: list[Sample], name: str, warm_up_s: float) -> tuple[float, float]:
    """The medians of one figure over the first and the last quarter after the warm-up."""
    warm = [getattr(one, name) for one in samples if one.at_s >= warm_up_s]
    quarter = max(1, len(warm) // 4)
    return median(warm[:quarter]), median(warm[-quarter:])


def _kb(text: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    if found is None:
        raise OSError(f"no {name} in what the system says of the process")
    return int(found[1])

"""What a session leaves behind: the closing table, `summary.json` and `parts.csv`."""

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from deploy.files import write_whole
from deploy.inspector.tally import Tally
from deploy.store import Session
from deploy.verdict import Verdict

STYLES = {Verdict.GOOD: "green", Verdict.DEFECTIVE: "bold red", Verdict.REVIEW: "yellow", Verdict.FAULT: "bold magenta"}

PART_COLUMNS = (
    *("session", "part", "at", "verdict", "probability", "views", "faults", "first_frame", "last_frame", "name"),
    *("peak_x", "peak_y", "age_ms", "reason"),
)


def counters(tally: Tally) -> Text:
    """One line of running counts."""
    line = Text(f"parts {tally.parts}")
    for verdict, count in tally.verdicts.items():
        line.append("  ").append(f"{verdict.value} {count}", STYLES[verdict] if count else "dim")
    latency = tally.latency_ms(50)
    line.append(f"  frames {tally.frames_seen} (+{tally.frames_dropped} dropped)")
    line.append("" if latency is None else f"  {latency:.0f} ms", "dim")
    if tally.complaint:
        line.append(f"\nNOT READY: {tally.complaint}", "bold red")
    if tally.record_trouble:
        line.append(f"\nNOT RECORDING: {tally.record_trouble}", "bold yellow")
    return line


def closing_table(tally: Tally) -> Table:
    """Verdicts, with their share of the parts."""
    table = Table("verdict", title=f"{tally.parts} parts", title_justify="left")
    table.add_column("parts", justify="right")
    table.add_column("share", justify="right")
    for verdict, count in tally.verdicts.items():
        share = f"{100 * count / tally.parts:.1f} %" if tally.parts else "-"
        table.add_row(Text(verdict.value, STYLES[verdict]), str(count), share)
    return table


def summary(tally: Tally, session: Session, ended_by: str, views_dropped: int, rows_lost: int) -> dict[str, Any]:
    """The content of `summary.json`.

    `parts`, `verdicts` (parts by verdict), `faults`, `frames_seen`, `frames_dropped`, `latency_ms` (`p50`, `p99`: capture to
    decision over the last 10 000 frames; null without frames), `ended_by` (`recording` or `user`), `session` (what decided:
    bundle, version, bundle_sha256, signed_by, precision, accept, reject, source, engine), `store` (`views_dropped`,
    `rows_lost`: rows that the disk did not take).
    """
    return {
        "parts": tally.parts,
        "verdicts": {verdict.value: count for verdict, count in tally.verdicts.items()},
        "faults": tally.faults,
        "frames_seen": tally.frames_seen,
        "frames_dropped": tally.frames_dropped,
        "latency_ms": {"p50": tally.latency_ms(50), "p99": tally.latency_ms(99)},
        "ended_by": ended_by,
        "session": asdict(session),
        "store": {"views_dropped": views_dropped, "rows_lost": rows_lost},
    }


def write_summary(path: Path, content: dict[str, Any]) -> None:
    """Write `summary.json`."""
    write_whole(path, json.dumps(content, indent=2) + "\n")


def write_parts(path: Path, parts: Iterable[dict[str, Any]]) -> None:
    """Write `parts.csv`: one row for each part, as the store has it."""
    rows = io.StringIO(newline="")
    table = csv.DictWriter(rows, PART_COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(parts)
    write_whole(path, rows.getvalue())

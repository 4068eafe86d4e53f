"""What a session leaves behind: the closing table, `summary.json` and `parts.csv`."""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.errors import StationError
from deploy.files import write_whole
from deploy.health.logs import log_event
from deploy.inspector.tally import Tally
from deploy.store import Session, Store
from deploy.store.export import export_records
from deploy.verdict import Verdict

STYLES = {Verdict.GOOD: "green", Verdict.DEFECTIVE: "bold red", Verdict.REVIEW: "yellow", Verdict.FAULT: "bold magenta"}


def counters(tally: Tally) -> Text:
    """One line of running counts."""
    line = Text(f"parts {tally.parts}")
    for verdict, count in tally.verdicts.items():
        line.append("  ").append(f"{verdict.value} {count}", STYLES[verdict] if count else "dim")
    latency = tally.latency_ms()["p50"]
    line.append(f"  frames {tally.frames_seen} (+{tally.frames_dropped} dropped)")
    line.append("" if latency is None else f"  {latency:.0f} ms", "dim")
    if tally.complaint:
        line.append(f"\nNOT READY: {tally.complaint}", "bold red")
    if tally.record_trouble:
        line.append(f"\nNOT RECORDING: {tally.record_trouble}", "bold yellow")
    for drift in tally.drift:
        line.append(f"\nDRIFT: {drift}", "bold yellow")
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


def summary(tally: Tally, session: Session, store: Store, ended_by: str, films_dropped: int) -> dict[str, Any]:
    """The content of `summary.json`.

    `parts`, `verdicts` (parts by verdict), `faults`, `frames_seen`, `frames_dropped`, `latency_ms` (`p50`, `p99`: capture to
    decision over the last 10 000 frames; null without frames), `cameras` (by name: `captured` by the camera's own count, and
    where these frames went: `judged`, `dropped`, `faulted`), `ended_by` (`recording` or `user`), `session` (what decided last:
    bundle, version, bundle_sha256, signed_by, precision, accept, reject, source, engine), `store` (`views_dropped`, `rows_lost`:
    rows that the disk did not take), `pictures` (`saved`, `dropped`: of those worth keeping), `films` (`dropped`: frames that are
    not in the annotated films).
    """
    return {
        "parts": tally.parts,
        "verdicts": {verdict.value: count for verdict, count in tally.verdicts.items()},
        "faults": tally.faults,
        "frames_seen": tally.frames_seen,
        "frames_dropped": tally.frames_dropped,
        "latency_ms": tally.latency_ms(),
        "cameras": {name: asdict(account) for name, account in tally.cameras.items()},
        "ended_by": ended_by,
        "session": asdict(session),
        "store": {"views_dropped": store.views_dropped, "rows_lost": store.rows_lost},
        "pictures": {"saved": store.pictures_saved, "dropped": store.pictures_dropped},
        "films": {"dropped": films_dropped},
    }


def leave_record(out: Path, tally: Tally, session: Session, store: Store, ended_by: str, films_dropped: int) -> None:
    """Write `parts.csv`, one row for each part with the columns of `inspector export-records`, and `summary.json`.

    The store must be closed. Raises StationError where the disk does not take them.
    """
    try:
        content = summary(tally, session, store, ended_by, films_dropped)
        write_whole(out / "summary.json", json.dumps(content, indent=2) + "\n")  # first: the parts of months take minutes
        if store.session is not None:  # else no row ever reached the disk
            export_records(store.path, out / "parts.csv", store.session)
    except OSError as error:
        raise StationError(f"{out}: the summary cannot be written ({error.strerror}); free some space on this disk") from error


def conclude(console: Console, out: Path, tally: Tally, store: Store, complaints: list[str]) -> None:
    """Print the closing table, and what is missing in the record."""
    console.print(closing_table(tally))
    p50, p99 = tally.latency_ms().values()
    console.print(f"frames {tally.frames_seen}, dropped {tally.frames_dropped}, faults {tally.faults}", highlight=False)
    if p50 is not None and p99 is not None:
        console.print(f"capture to decision {p50:.1f} ms (p50), {p99:.1f} ms (p99)", highlight=False)
    if store.rows_lost or store.views_dropped:
        lost = f"not in the record: {store.rows_lost} parts and faults, {store.views_dropped} views of parts"
        complaints = [f"{lost}; {store.trouble or 'the disk did not keep up'}", *complaints]
    for complaint in complaints:
        console.print(complaint, style="bold red", markup=False)
        log_event("incomplete", logging.WARNING, reason=complaint)
    console.print(f"record in {out}: store.sqlite, parts.csv, summary.json", highlight=False, markup=False, soft_wrap=True)

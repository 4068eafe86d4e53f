"""Runs every check on a dataset, prints what they found, and writes audit.html and audit.json."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from deploy.command import console, say
from deploy.files import write_whole
from pipeline.data.audit.files import check_files
from pipeline.data.audit.finding import EXIT_CODES, Checked, Finding, Material, Severity
from pipeline.data.audit.input_size import check_input_size
from pipeline.data.audit.labels import check_labels
from pipeline.data.audit.leakage import check_leakage, find_siblings
from pipeline.data.audit.proof import check_proof
from pipeline.data.audit.report import write_audit
from pipeline.data.audit.shortcuts import check_shortcuts
from pipeline.data.groups import group_by_look, is_guessed
from pipeline.data.layouts import Layout, check_any, read_dataset
from pipeline.data.manifest import holds_manifest, slug
from pipeline.data.prepare import counting, split_samples, take_version, tell_skipped
from pipeline.data.survey import survey
from pipeline.training.features import features_at_hand

STYLES: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "note": "dim"}


def audit_command(source: Path, out: Path, weights: Path | None, layout: Layout | None) -> int:
    """Audit a dataset or a manifest version into `out`; returns 0 when clean, 1 with warnings, 2 with errors."""
    material = gather(source, weights, layout)
    siblings = find_siblings(material)
    steps: dict[str, Callable[[], Checked]] = {
        "files": partial(check_files, material),
        "leakage": partial(check_leakage, material, siblings),
        "labels": partial(check_labels, material, siblings),
        "shortcuts": partial(check_shortcuts, material),
        "proof": partial(check_proof, material),
        "input size": partial(check_input_size, material),
    }
    checks: dict[str, Checked] = {}
    with console.status("checking") as status:
        for name, check in steps.items():
            status.update(f"checking {name}")
            checks[name] = check()
        findings = [finding for checked in checks.values() for finding in checked.findings]
        worst: Severity = max((finding.severity for finding in findings), key=lambda one: EXIT_CODES[one], default="note")
        status.update("writing the report")
        folder = out / slug(material.name)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "audit.json", json.dumps(_figures(material, checks, worst), indent=1))
        write_audit(material, checks, worst, folder / "audit.html")
    _print(material, checks)
    say(f"report: {folder / 'audit.html'}  figures: {folder / 'audit.json'}", style="bold")
    return EXIT_CODES[worst]


def gather(source: Path, weights: Path | None = None, layout: Layout | None = None) -> Material:
    """Read, measure, compare, group and split all pictures of a dataset as training would.

    Raises DatasetError when there are none, or when those of a manifest version changed.
    """
    brought = True
    notes: tuple[str, ...] = ()
    if holds_manifest(source):
        manifest = take_version(source, layout=layout)
        listed, name, groups_from = manifest.samples, manifest.name, "the manifest version"
        named = not all(is_guessed(sample) for sample in listed)
    else:
        dataset = read_dataset(source, layout)
        listed, name, groups_from, notes = dataset.samples, dataset.name, str(dataset.groups_from), dataset.notes
        named = dataset.groups_from != "nothing"
    check_any(listed, source)
    with counting("reading pictures") as progress:
        surveyed = survey(listed, progress)
    if not surveyed.samples:
        tell_skipped(surveyed.skipped, len(listed))
    check_any(surveyed.samples, source)
    with counting("features by the backbone") as progress:
        features = features_at_hand(surveyed.samples, weights, progress)
    with console.status("comparing pictures"):
        grouped, look_alikes = group_by_look(surveyed, features.cells if features else None)
    samples = surveyed.samples if named or holds_manifest(source) else grouped
    if not holds_manifest(source):
        samples, rule = split_samples(samples, seed=0, resplit=False)
        brought = rule == "brought"
    # Splitting may order samples anew; facts follow them.
    place = {(sample.origin, sample.path): index for index, sample in enumerate(surveyed.samples)}
    order = sorted(samples, key=lambda sample: place[sample.origin, sample.path])
    return Material(
        source,
        name,
        groups_from if named else "look-alikes, since none are named",
        named,
        notes,
        tuple(order),
        surveyed.facts,
        surveyed.skipped,
        surveyed.bad_masks,
        look_alikes,
        features.pooled if features else None,
        brought,
    )


def _figures(material: Material, checks: dict[str, Checked], worst: Severity) -> dict[str, Any]:
    """The content of audit.json, documented in the README."""
    figures: dict[str, Any] = {
        "dataset": material.name,
        "result": {"note": "clean", "warning": "warnings", "error": "errors"}[worst],
        "groups_from": material.groups_from,
        "groups": len({sample.group for sample in material.samples}),
        "pictures": [sample.path for sample in material.samples],
        "notes": list(material.notes),
        "findings": [
            {"check": name, "severity": finding.severity, "what": finding.what, "advice": finding.advice}
            for name, checked in checks.items()
            for finding in checked.findings
        ],
    }
    for checked in checks.values():
        figures |= checked.figures
    return figures


def _print(material: Material, checks: dict[str, Checked]) -> None:
    table = Table(title=f"{escape(material.name)}: {len(material.samples)} pictures", title_justify="left", show_lines=False)
    table.add_column("check")
    table.add_column("")
    table.add_column("what was found")
    for name, checked in checks.items():
        for number, finding in enumerate(sorted(checked.findings, key=lambda one: -EXIT_CODES[one.severity])):
            table.add_row("" if number else name, f"[{STYLES[finding.severity]}]{finding.severity}[/]", _text(finding))
    console.print(table)
    for note in material.notes:
        say(note, style="yellow")


def _text(finding: Finding) -> str:
    return escape(finding.what) + (f"\n[dim]{escape(finding.advice)}[/]" if finding.advice else "")

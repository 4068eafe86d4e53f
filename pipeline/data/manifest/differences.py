"""What changed from one manifest to another: `pipeline manifest diff`."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from deploy.command import console, say
from deploy.files import write_whole
from pipeline.data.manifest import Manifest, read_manifest
from pipeline.data.sample import SPLITS, Sample
from pipeline.data.split.overview import count_by_part

SHOWN = 5
"""Pictures named on the screen for each kind of change; the JSON names all."""


@dataclass(frozen=True)
class Change:
    """One picture, and what was and is said of it."""

    path: str
    before: str
    after: str


@dataclass(frozen=True)
class Differences:
    """Between two manifests, `old` and `new`. Pictures are matched by path."""

    old: dict[str, Any]
    """Identity of the old manifest."""
    new: dict[str, Any]
    same: bool
    """Whether both say the same of the same pictures, however they came about."""
    counts: dict[str, dict[str, dict[str, int]]]
    """Part -> type -> pictures in `old` and in `new`."""
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed_content: tuple[str, ...]
    """The same path with another picture in it."""
    changed_mask: tuple[str, ...]
    relabelled: tuple[Change, ...]
    retyped: tuple[Change, ...]
    """Another defect type, and still defective."""
    regrouped: tuple[Change, ...]
    moved: tuple[Change, ...]
    """Another part of the split. A picture that keeps its part under another's name has not moved."""
    test_into_training: tuple[str, ...]
    """Training pictures of `new` that `old` tests on, by path or by content."""

    @property
    def is_parent(self) -> bool:
        """Whether `new` names `old` as what it grew from."""
        return bool(self.new["parent"] == self.old["sha256"])

    def figures(self) -> dict[str, Any]:
        """For the JSON file: the fields above and `is_parent`."""
        return {"is_parent": self.is_parent, **asdict(self)}


def diff_command(old: Path, new: Path, out: Path | None = None) -> Differences:
    """Compare two manifest versions or runs, show it, and write it to the JSON file `out`.

    Raises RunError for a folder that is neither.
    """
    found = compare_manifests(read_manifest(old), read_manifest(new))
    print_differences(found)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, json.dumps(found.figures(), indent=2))
        say(f"all changes: {out}")
    return found


def compare_manifests(old: Manifest, new: Manifest) -> Differences:
    """Match the pictures of two manifests by path, and say what changed."""
    pairs, removed, added = _match(old.samples, new.samples)
    tested = {sample.sha256 for sample in old.split("test")}
    stays = {(sample.sha256, sample.split) for sample in old.samples}  # under whatever name
    moved = [(one, two) for one, two in pairs if one.split != two.split and (two.sha256, two.split) not in stays]
    into_training = [two.path for one, two in moved if one.split == "test" and two.split == "train"]
    into_training += [two.path for two in new.split("train") if two.sha256 in tested]
    before, after = count_by_part(old.samples), count_by_part(new.samples)
    return Differences(
        old.identity(),
        new.identity(),
        old.content_sha256() == new.content_sha256(),
        {
            part: {
                kind: {
                    "old": before[part].get(kind, {"pictures": 0})["pictures"],
                    "new": after[part].get(kind, {"pictures": 0})["pictures"],
                }
                for kind in sorted({*before[part], *after[part]}, key=lambda kind: (kind != "good", kind))
            }
            for part in SPLITS
        },
        tuple(sample.path for sample in added),
        tuple(sample.path for sample in removed),
        tuple(two.path for one, two in pairs if one.sha256 != two.sha256),
        tuple(two.path for one, two in pairs if one.mask_sha256 != two.mask_sha256),
        tuple(Change(two.path, one.label, two.label) for one, two in pairs if one.label != two.label),
        tuple(
            Change(two.path, one.defect_type, two.defect_type)
            for one, two in pairs
            if one.label == two.label and one.defect_type != two.defect_type
        ),
        tuple(Change(two.path, one.group, two.group) for one, two in pairs if one.group != two.group),
        tuple(Change(two.path, one.split, two.split) for one, two in moved),
        tuple(sorted(set(into_training))),
    )


def _match(old: Sequence[Sample], new: Sequence[Sample]) -> tuple[list[tuple[Sample, Sample]], list[Sample], list[Sample]]:
    """Pairs of the same path, those only in `old`, those only in `new`.

    A retrained run may hold one path twice, from two folders: then the same content decides, then the order.
    """
    waiting: dict[str, list[Sample]] = defaultdict(list)
    for sample in old:
        waiting[sample.path].append(sample)
    pairs, later, added = [], [], []
    for sample in new:
        twin = next((one for one in waiting[sample.path] if one.sha256 == sample.sha256), None)
        if twin is None:
            later.append(sample)
        else:
            waiting[sample.path].remove(twin)
            pairs.append((twin, sample))
    for sample in later:
        if waiting[sample.path]:
            pairs.append((waiting[sample.path].pop(0), sample))
        else:
            added.append(sample)
    pairs.sort(key=lambda pair: pair[1].path)
    return pairs, [sample for rest in waiting.values() for sample in rest], added


def print_differences(found: Differences) -> None:
    """Show what changed, and warn of test pictures that are now learned from."""
    old, new = found.old["name"], found.new["name"]
    if found.same:
        say(f"{old} and {new} say the same of the same pictures")
        return
    say(f"{new} {'names' if found.is_parent else 'does not name'} {old} as its parent")
    kinds = sorted({kind for one in found.counts.values() for kind in one}, key=lambda kind: (kind != "good", kind))
    table = Table(title=f"Pictures, {old} -> {new}", title_justify="left")
    for column in ("part", *kinds):
        table.add_column(column)
    for part, counts in found.counts.items():
        table.add_row(part, *(f"{one['old']} -> {one['new']}" for one in (counts[kind] for kind in kinds)))
    console.print(table)
    tell_changes(found)


def tell_changes(found: Differences) -> None:
    """List the changes, the first of each by name."""
    _tell_paths("added", found.added)
    _tell_paths("removed", found.removed)
    _tell_paths("with other content under the same name", found.changed_content)
    _tell_paths("with another mask", found.changed_mask)
    _tell("relabelled", found.relabelled)
    _tell("retyped", found.retyped)
    _tell("regrouped", found.regrouped)
    _tell("moved between parts", found.moved)
    if found.test_into_training:
        first = ", ".join(found.test_into_training[:SHOWN])
        say(
            f"WARNING: {len(found.test_into_training)} pictures that {found.old['name']} tests on are learned from in "
            f"{found.new['name']} (first: {first}): its runs must not be compared on the test part of {found.old['name']}",
            style="bold red",
        )


def _tell_paths(what: str, paths: Sequence[str]) -> None:
    if paths:
        say(f"{len(paths)} pictures {what}: {', '.join(paths[:SHOWN])}{' ...' if len(paths) > SHOWN else ''}")


def _tell(what: str, changes: Sequence[Change]) -> None:
    if changes:
        ways = Counter(f"{change.before or 'none'} -> {change.after or 'none'}" for change in changes).most_common(SHOWN)
        first = ", ".join(change.path for change in changes[:SHOWN])
        say(
            f"{len(changes)} pictures {what} ({', '.join(f'{count} {way}' for way, count in ways)}): "
            f"{first}{' ...' if len(changes) > SHOWN else ''}"
        )

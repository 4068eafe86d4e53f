"""`pipeline split`: a new version of a dataset's manifest, which keeps what earlier versions decided."""

from collections.abc import Sequence
from pathlib import Path

from deploy.command import say
from deploy.errors import DatasetError
from pipeline.data.groups import is_guessed
from pipeline.data.layouts import Layout
from pipeline.data.manifest import Manifest
from pipeline.data.manifest.differences import compare_manifests, tell_changes
from pipeline.data.manifest.versions import History, read_history, write_versions
from pipeline.data.prepare import read_samples, split_samples
from pipeline.data.sample import Sample
from pipeline.data.split import check_split, folds, place
from pipeline.data.split.grow import grow
from pipeline.data.split.holdout import straddling, time_ranges
from pipeline.data.split.overview import print_folds, print_overview
from pipeline.data.split.rules import describe_rule, rule_of

AFRESH = "split afresh by group with --fresh"


def split_command(
    source: Path, out: Path, seed: int = 0, asked: str | None = None, fresh: bool = False, layout: Layout | None = None
) -> list[Path]:
    """Make the next version of a dataset's manifest in `out`; returns its folder, or nothing when nothing changed.

    `asked` is the rule to split by (see `rules`); by default that of the version it grows from, else the split the dataset has,
    else by group. Raises DatasetError when the rule does not fit the data or the version before.
    """
    samples, name = read_samples(source, layout=layout)
    samples = tuple(sorted(samples, key=lambda sample: sample.path))
    guessed = {sample.group for sample in samples if is_guessed(sample)}
    if guessed:
        say(
            f"nobody named the parts: {len(guessed)} clusters of pictures that look alike stand in for groups, a guess; "
            "a groups.csv would say (see datasets/README.md)",
            style="yellow",
        )
    history = read_history(out, name)
    newest = history.newest
    if newest is None or fresh:
        split, rule = _afresh(samples, seed, asked, fresh)
    else:
        split, rule = _grown(samples, history, newest, seed, asked)
    split = tuple(sorted(split, key=lambda sample: sample.path))
    check_split(split, advice=AFRESH)
    manifest = Manifest(name, split, history.next_version, newest.sha256() if newest else None, rule, seed)
    if newest and _says(manifest) == _says(newest) and _origins(manifest) == _origins(newest):
        say(f"nothing changed since {newest.name}: nothing is written", style="bold")
        return []
    folders = write_versions([manifest], out)
    _tell_rule(split, rule)
    print_overview(f"{manifest.name}, split {describe_rule(rule)}", split)
    if newest:
        say(f"since {newest.name}{', all split afresh' if fresh else ', whose pictures keep their part'}:")
        tell_changes(compare_manifests(newest, manifest))
    say(f"version: {folders[0]} (sha256 {manifest.sha256()[:12]})", style="bold")
    say(f"next: pipeline train {folders[0]}")
    return folders


def fold_command(source: Path, out: Path, k: int, seed: int = 0, layout: Layout | None = None) -> list[Path]:
    """Make `k` manifests over which every group is tested on once; returns their folders, or nothing when they exist already.

    Raises DatasetError when there are too few groups for it.
    """
    samples, name = read_samples(source, layout=layout)
    samples = tuple(sorted(samples, key=lambda sample: sample.path))
    splits = folds(samples, k, seed)
    for split in splits:
        check_split(split, advice=AFRESH)
    history = read_history(out, name)
    parent = history.newest.sha256() if history.newest else None
    manifests = [
        Manifest(name, split, history.next_version, parent, f"fold:{number}of{k}", seed) for number, split in enumerate(splits, 1)
    ]
    existing = {_says(manifest): manifest.name for manifest in history.folds}
    if all(_says(manifest) in existing for manifest in manifests):
        say(f"nothing changed since {existing[_says(manifests[0])]} and its sisters: nothing is written", style="bold")
        return []
    folders = write_versions(manifests, out)
    print_folds(f"{name}, {k} folds", splits)
    if history.newest:
        say(
            f"each fold learns from test pictures of {history.newest.name}: compare recipes with the folds, then prove the "
            "chosen one on pictures of new parts"
        )
    for folder, manifest in zip(folders, manifests, strict=True):
        say(f"version: {folder} (sha256 {manifest.sha256()[:12]})", style="bold")
    say(f"next: pipeline train {folders[0]}")
    return folders


def _afresh(samples: Sequence[Sample], seed: int, asked: str | None, fresh: bool) -> tuple[tuple[Sample, ...], str]:
    if asked is None:
        return split_samples(samples, seed, resplit=fresh)
    if any(sample.split for sample in samples):
        say(f"the dataset's own split is left aside: split {describe_rule(asked)}")
    return place(samples, rule_of(asked, seed)(samples, {})), asked


def _grown(
    samples: Sequence[Sample], history: History, newest: Manifest, seed: int, asked: str | None
) -> tuple[tuple[Sample, ...], str]:
    if asked not in (None, newest.rule):
        raise DatasetError(
            f"{newest.name} was split {describe_rule(newest.rule)}, and a version grows by the rule it has; leave the option "
            f"out, or add --fresh to split everything {describe_rule(asked or '')} (its test pictures may then be learned from)"
        )
    seen = {sample.path for sample in newest.samples} | {sample.sha256 for sample in newest.samples}
    if not any(sample.path in seen or sample.sha256 in seen for sample in samples):
        raise DatasetError(
            f"none of the {len(samples)} pictures is in {newest.name}, which is of another dataset of that name; give this one "
            "a `name` in its dataset.yaml, another --out, or add --fresh"
        )
    remembered = [sample for manifest in reversed(history.versions[:-1]) for sample in manifest.samples]
    grown = grow(newest.samples, samples, rule_of(newest.rule, seed), remembered)
    if grown.left_out:
        say(
            f"left out {len(grown.left_out)} new pictures (first: {grown.left_out[0].path}): they have siblings in two parts "
            f"of {newest.name}, and would leak from one into the other",
            style="yellow",
        )
    return grown.samples, newest.rule


def _tell_rule(samples: Sequence[Sample], rule: str) -> None:
    """What a split by time or by slice does that its table does not show."""
    kind, _, rest = rule.partition(":")
    if kind == "time":
        say("a line drifts, and a model meets only what is newer than what it learned from: so it is tested on the newest parts")
        for part, (first, last) in time_ranges(samples, rest).items():
            say(f"  {part}: {first.isoformat()} to {last.isoformat()}")
    if kind == "slice":
        column, _, value = rest.partition("=")
        groups = straddling(samples, column, value)
        if groups:
            say(
                f"{len(groups)} groups (first: {groups[0]}) hold pictures of {rest} and others: all of their pictures are test",
                style="yellow",
            )
        elsewhere = [sample for sample in samples if sample.split != "test" and (column, value) in sample.slices]
        if elsewhere:
            say(
                f"{len(elsewhere)} pictures of {rest} (first: {elsewhere[0].path}) are not test: "
                "their groups were in another part before they had any",
                style="yellow",
            )


def _says(manifest: Manifest) -> tuple[str, str]:
    """What makes a version worth writing, whatever it grew from."""
    return manifest.content_sha256(), manifest.rule


def _origins(manifest: Manifest) -> set[str]:
    return {sample.origin for sample in manifest.samples}

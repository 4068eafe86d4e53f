"""Takes newly collected pictures into a new version of the manifest, without touching what the old one is tested on."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from deploy.command import say
from deploy.errors import DatasetError
from pipeline.data.groups import Met, is_guessed, met_before
from pipeline.data.manifest import Manifest
from pipeline.data.sample import SPLITS, Sample, Split
from pipeline.data.split import group_units, split_by_group
from pipeline.data.split.leaks import leakage_warning
from pipeline.data.split.rules import describe_rule, rule_of


@dataclass(frozen=True)
class Intake:
    """The new manifest, which of its test pictures are new, and what was refused."""

    manifest: Manifest
    held_out: tuple[Sample, ...]
    duplicates: tuple[Sample, ...]
    """New pictures that show the very same as an old one; of a test picture among them nothing may be learned."""
    tested: tuple[Sample, ...]
    """New pictures of groups the old run is tested on."""
    between: tuple[Sample, ...]
    """New pictures of groups with siblings in training and in validation: in either they would leak into the other."""


def take_in(old: Manifest, new: Sequence[Sample], seed: int = 0) -> Intake:
    """Join old and new samples: known groups stay where they are, new ones are placed by the rule the old version was split by.

    The old test part is left as it is. Raises DatasetError when nothing new remains, or the rule cannot place it.
    """
    met = met_before(new, old.samples)
    duplicates = [sample for sample, one in zip(new, met, strict=True) if one.repeats]
    unit = group_units([*old.samples, *new])
    ties = _ties(old.samples, new, met, unit)
    tested, between, known, unknown = [], [], [], []
    for sample, one in zip(new, met, strict=True):
        parts = {part for part, _ in ties[unit[sample.group]]}
        if one.repeats:
            continue
        if "test" in parts:
            tested.append(sample)
        elif len(parts) > 1:
            between.append(sample)
        elif parts:
            known.append(_joined(sample, ties[unit[sample.group]]))
        else:
            unknown.append(sample)
    unknown = list(_place(old, known, unknown, seed))
    if not known and not any(sample.split == "train" for sample in unknown):
        raise DatasetError(
            f"of {len(new)} new pictures, {len(duplicates)} repeat old ones, {len(tested)} are of groups the run is tested on, "
            f"{len(between)} of groups with siblings in training and in validation, and {len(unknown)} are held out: nothing is "
            "left to learn from; collect pictures of other parts"
        )
    samples = (*old.samples, *known, *unknown)
    manifest = replace(
        old,
        samples=samples,
        version=old.version + 1,
        parent=old.sha256(),
        seed=seed,
        leakage=leakage_warning(samples) if old.leakage else "",
    )
    held_out = tuple(sample for sample in unknown if sample.split == "test")
    return Intake(manifest, held_out, tuple(duplicates), tuple(tested), tuple(between))


Ties = Mapping[str, Mapping[tuple[Split, str], None]]
"""Unit of groups -> parts and names of the old groups it belongs with, in the order they were met."""


def _ties(old: Sequence[Sample], new: Sequence[Sample], met: Sequence[Met], unit: Mapping[str, str]) -> Ties:
    """A group is tied to what one picture of it is tied to: by name, as a repeat or, where one of both is a guess, by look."""
    homes: dict[str, dict[tuple[Split, str], None]] = defaultdict(dict)
    for sample in old:
        if sample.split:
            homes[unit[sample.group]][sample.split, sample.group] = None
    ties = defaultdict(dict, {name: dict(home) for name, home in homes.items()})
    for sample, one in zip(new, met, strict=True):
        for group in one.siblings(sample.group):
            ties[unit[sample.group]] |= homes[unit[group]]
    return ties


def _joined(sample: Sample, tied: Mapping[tuple[Split, str], None]) -> Sample:
    """The sample in the part its group is tied to; a guessed group that looks like an old one is that one."""
    part, _ = next(iter(tied))
    groups = [group for _, group in tied]
    guess = is_guessed(sample) and sample.group not in groups
    return replace(sample, split=part, group=groups[0] if guess else sample.group)


def _place(old: Manifest, known: Sequence[Sample], new: Sequence[Sample], seed: int) -> tuple[Sample, ...]:
    """Give pictures of new groups a part, by the rule the old version was split by where that says anything of them."""
    kind, _, rest = old.rule.partition(":")
    if not new or kind == "group":
        return split_by_group(new, seed)
    if kind == "fold" or (kind == "brought" and not all(sample.split for sample in new)):
        say(
            f"the run's version was split {describe_rule(old.rule)}, which says nothing of {len(new)} new pictures: they are "
            "split by group",
            style="yellow",
        )
        return split_by_group(new, seed)
    if kind == "slice":
        column, _, _ = rest.partition("=")
        without = [sample for sample in new if not dict(sample.slices).get(column)]
        if without:
            raise DatasetError(
                f"{len(without)} of {len(new)} pictures of new groups have no {column} (first: {without[0].path}), and the run "
                f"is tested on all of {rest}; give each its {column} in groups.csv, and name the column under `slices` in "
                "dataset.yaml (see datasets/README.md)"
            )
    everything = [*old.samples, *known, *new]
    unit = group_units(everything)
    placed: dict[str, Split] = {}
    for part in SPLITS:  # test comes last: what is tested on in any of its groups is not learned from
        placed |= {unit[sample.group]: part for sample in (*old.samples, *known) if sample.split == part}
    chosen = rule_of(old.rule, seed)(everything, placed)
    return tuple(replace(sample, split=chosen[unit[sample.group]]) for sample in new)

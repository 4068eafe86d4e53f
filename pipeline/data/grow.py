"""Grows a split with new pictures and never moves a known one: what is tested on today is tested on for ever."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.data.groups import is_guessed
from pipeline.data.leaks import refuse_leaks
from pipeline.data.sample import Sample, Split
from pipeline.data.split import group_units

Rule = Callable[[Sequence[Sample], Mapping[str, Split]], Mapping[str, Split]]
"""Samples and the units of groups that are placed -> the part of every unit."""


@dataclass(frozen=True)
class Grown:
    """The grown split, and the new pictures that fit nowhere."""

    samples: tuple[Sample, ...]
    left_out: tuple[Sample, ...]
    """They have siblings among known pictures of two parts: in either they would leak into the other."""


def grow(parent: Sequence[Sample], samples: Sequence[Sample], rule: Rule, remembered: Sequence[Sample] = ()) -> Grown:
    """Give `samples` the parts that `parent` gave them; new pictures go where their siblings are, new groups where `rule` says.

    Pictures are known by their path. `remembered` are pictures of older versions, the newest first: one that comes back, or comes
    back renamed, returns to its part. Raises DatasetError when known pictures of two parts were given one group.
    """
    known = {sample.path: sample for sample in parent}
    samples, left_out = _keep_clusters(known, samples)
    pinned = [replace(sample, split=known[sample.path].split) for sample in samples if sample.path in known]
    by_group, by_file = _ties(pinned, [*parent, *remembered])

    new: list[Sample] = []
    for sample in samples:
        if sample.path not in known:
            ties = by_group.get(sample.group, set()) | by_file.get(sample.sha256, set())
            (left_out if len(ties) > 1 else new).append(sample)
    units = _parts_of_units([*pinned, *new], by_group, by_file)
    unit = group_units([*pinned, *new])
    # Two new pictures of one new group may each repeat a file of another part.
    left_out += [sample for sample in new if len(units[unit[sample.group]]) > 1]
    new = [sample for sample in new if len(units[unit[sample.group]]) < 2]

    units = _parts_of_units([*pinned, *new], by_group, by_file)
    unit = group_units([*pinned, *new])
    chosen = rule([*pinned, *new], {name: min(parts) for name, parts in units.items() if parts})
    grown = [*pinned, *(replace(sample, split=chosen[unit[sample.group]]) for sample in new)]
    refuse_leaks(
        grown,
        "the version this one grows from has them in different parts, where known pictures stay; give them the groups they had, "
        "or split everything afresh with --fresh",
    )
    return Grown(tuple(sorted(grown, key=lambda sample: sample.path)), tuple(left_out))


def _ties(pinned: Sequence[Sample], older: Sequence[Sample]) -> tuple[dict[str, set[Split]], dict[str, set[Split]]]:
    """Group -> parts and file hash -> parts, as the known pictures are now; where they say nothing, as they were last seen."""
    by_group: dict[str, set[Split]] = defaultdict(set)
    by_file: dict[str, set[Split]] = defaultdict(set)
    for sample in pinned:
        if sample.split:
            by_group[sample.group].add(sample.split)
            by_file[sample.sha256].add(sample.split)
    for sample in older:
        if sample.split and sample.group not in by_group:
            by_group[sample.group].add(sample.split)
        if sample.split and sample.sha256 not in by_file:
            by_file[sample.sha256].add(sample.split)
    return by_group, by_file


def _parts_of_units(
    samples: Sequence[Sample], by_group: Mapping[str, set[Split]], by_file: Mapping[str, set[Split]]
) -> dict[str, set[Split]]:
    parts: dict[str, set[Split]] = defaultdict(set)
    unit = group_units(samples)
    for sample in samples:
        parts[unit[sample.group]] |= by_group.get(sample.group, set()) | by_file.get(sample.sha256, set())
    return parts


def _keep_clusters(known: Mapping[str, Sample], samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Where groups are guessed, known pictures keep the one they had, and new look-alikes of theirs join it.

    One new picture can join two clusters that are in different parts. That is no reason to move either; such new pictures are
    returned apart.
    """
    met: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if is_guessed(sample) and sample.path in known:
            met[sample.group].append(known[sample.path])
    kept, between = [], []
    for sample in samples:
        old = met.get(sample.group, [])
        if sample.path in known:
            kept.append(replace(sample, group=known[sample.path].group) if is_guessed(sample) else sample)
        elif len({one.split for one in old}) > 1:
            between.append(sample)
        else:
            kept.append(replace(sample, group=min(one.group for one in old)) if old else sample)
    return kept, between

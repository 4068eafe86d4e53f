"""Grows a split with new pictures and never moves a known one: what is tested on today is tested on for ever."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.data.groups import is_guessed
from pipeline.data.sample import Sample, Split
from pipeline.data.split import group_units
from pipeline.data.split.leaks import refuse_leaks

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

    Pictures are known by their content, under the name they had or another; a known name with other content is a new picture.
    `remembered` are pictures of older versions, the newest first: one that comes back, or comes back renamed, goes where it was.
    Raises DatasetError when known pictures of two parts were given one group.
    """
    kept, left_out = _keep_clusters(parent, samples, _twins(parent, samples))
    pinned = [replace(sample, split=twin.split) for sample, twin in kept if twin]
    by_group, by_file = _ties(pinned, [*parent, *remembered])

    new: list[Sample] = []
    for sample, twin in kept:
        if twin is None:
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


def _twins(parent: Sequence[Sample], samples: Sequence[Sample]) -> list[Sample | None]:
    """What each sample was before: of the same name and content, or else of the same content, moved or renamed.

    A copy of a picture that is still there is a new one.
    """
    waiting: dict[str, list[Sample]] = defaultdict(list)
    for sample in parent:
        waiting[sample.sha256].append(sample)
    twins: list[Sample | None] = []
    for sample in samples:
        twin = next((one for one in waiting[sample.sha256] if one.path == sample.path), None)
        if twin:
            waiting[sample.sha256].remove(twin)
        twins.append(twin)
    return [
        twin or (waiting[sample.sha256].pop() if waiting[sample.sha256] else None)
        for sample, twin in zip(samples, twins, strict=True)
    ]


def _keep_clusters(
    parent: Sequence[Sample], samples: Sequence[Sample], twins: Sequence[Sample | None]
) -> tuple[list[tuple[Sample, Sample | None]], list[Sample]]:
    """Where groups are guessed, known pictures keep the one they had, and new look-alikes of theirs join it.

    Pictures that all took the places of known ones of one part may be those, saved again: they stay there too. One new picture
    can join two clusters that are in different parts. That is no reason to move either; such new pictures are returned apart.
    """
    by_path = {sample.path: sample for sample in parent}
    met: dict[str, list[Sample]] = defaultdict(list)
    replaced: dict[str, list[Sample]] = defaultdict(list)
    for sample, twin in zip(samples, twins, strict=True):
        if is_guessed(sample) and twin:
            met[sample.group].append(twin)
        elif is_guessed(sample) and sample.path in by_path:
            replaced[sample.group].append(by_path[sample.path])
    kept: list[tuple[Sample, Sample | None]] = []
    between = []
    for sample, twin in zip(samples, twins, strict=True):
        old = met.get(sample.group, [])
        if not old and len({one.split for one in replaced.get(sample.group, [])}) == 1:
            old = replaced[sample.group]
        if twin:
            kept.append((replace(sample, group=twin.group) if is_guessed(sample) else sample, twin))
        elif len({one.split for one in old}) > 1:
            between.append(sample)
        else:
            kept.append((replace(sample, group=min(one.group for one in old)) if old else sample, None))
    return kept, between

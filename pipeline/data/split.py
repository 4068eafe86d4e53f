"""Splits by group: no part is ever in two of train, validation and test."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from deploy.errors import DatasetError
from pipeline.data.sample import SPLITS, Sample, Split

SHARES: Mapping[Split, float] = {"train": 0.6, "test": 0.2, "validation": 0.2}


def split_by_group(samples: Sequence[Sample], seed: int = 0, shares: Mapping[Split, float] = SHARES) -> tuple[Sample, ...]:
    """Give every sample a split: whole groups, each defect type spread over the parts as evenly as its groups allow.

    Greedy: the rarest type first, its largest groups first, each to the split that still lacks most of that type. Where a
    type has too few groups for all parts, training gets the first, test the second: `check_split` tells what is missing then.
    """
    groups: dict[str, list[Sample]] = defaultdict(list)
    unit = _together(samples)
    for sample in samples:
        groups[unit[sample.group]].append(sample)
    groups_per_type = Counter(kind for members in groups.values() for kind in {sample.defect_type for sample in members})
    by_type: dict[str, list[str]] = defaultdict(list)
    for name, members in groups.items():
        rarest = min({sample.defect_type for sample in members}, key=lambda kind: (groups_per_type[kind], kind))
        by_type[rarest].append(name)

    order = np.random.default_rng(seed).permutation(sorted(groups))
    rank = {name: position for position, name in enumerate(order)}
    chosen: dict[str, Split] = {}
    # What one type could not give to a part, the next type of the same class makes up for: with three groups of each type no type
    # reaches all parts, but the defective pictures as a whole do.
    lacks: dict[bool, dict[Split, float]] = {is_good: dict.fromkeys(shares, 0.0) for is_good in (True, False)}
    for kind in sorted(by_type, key=lambda kind: (groups_per_type[kind], kind)):
        names = sorted(by_type[kind], key=lambda name: (-len(groups[name]), rank[name]))
        total = sum(len(groups[name]) for name in names)
        lack = lacks[kind == ""]
        for split, share in shares.items():
            lack[split] += share * total
        for name in names:
            split = max(lack, key=lambda split: lack[split])  # the order of `shares` breaks ties
            chosen[name] = split
            lack[split] -= len(groups[name])
    return tuple(replace(sample, split=chosen[unit[sample.group]]) for sample in samples)


def _together(samples: Sequence[Sample]) -> dict[str, str]:
    """Group -> what it must be split with: groups that share a byte-identical file are one, whatever their names say."""
    parent = {sample.group: sample.group for sample in samples}

    def root(group: str) -> str:
        while parent[group] != group:
            group = parent[group]
        return group

    holder: dict[str, str] = {}
    for sample in sorted(samples, key=lambda sample: sample.path):
        if sample.sha256:
            parent[root(sample.group)] = root(holder.setdefault(sample.sha256, sample.group))
    return {group: root(group) for group in parent}


def carve_validation(samples: Sequence[Sample], seed: int = 0) -> tuple[Sample, ...]:
    """Move a quarter of the training groups of a train/test split to validation."""
    rest = [sample for sample in samples if sample.split != "train"]
    training = [sample for sample in samples if sample.split == "train"]
    return *split_by_group(training, seed, {"train": 0.75, "validation": 0.25}), *rest


def check_split(samples: Sequence[Sample]) -> None:
    """Raise DatasetError unless both classes are in every part and no group is in two."""
    where: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        where[sample.group].add(sample.split)
    straddling = sorted(group for group, splits in where.items() if len(splits) > 1)
    if straddling:
        leaked = sum(sample.split == "test" and sample.group in set(straddling) for sample in samples)
        raise DatasetError(
            f"the split leaks: {len(straddling)} groups (first: {straddling[0]}) are in more than one of train, validation and "
            f"test, so {leaked} test pictures have a sibling outside the test part; split again by group with --resplit"
        )
    first_seen: dict[str, Sample] = {}
    for sample in samples:
        twin = first_seen.setdefault(sample.sha256, sample)
        if sample.sha256 and twin.split != sample.split:
            raise DatasetError(
                f"the split leaks: {twin.path} ({twin.split}) and {sample.path} ({sample.split}) are the same file; give them "
                "one group, or delete one"
            )
    for label in ("good", "defective"):
        groups = {sample.group for sample in samples if sample.label == label}
        for split in SPLITS:
            if not any(sample.label == label and sample.split == split for sample in samples):
                raise DatasetError(
                    f"no {label} picture is in the {split} part: {len(groups)} groups hold {label} pictures, and "
                    f"{', '.join(SPLITS)} each need one of their own; "
                    "add pictures of other parts, check the groups, or split afresh with --resplit"
                )

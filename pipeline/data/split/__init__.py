"""Splits by group: no part is ever in two of train, validation and test."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from deploy.errors import DatasetError
from pipeline.data.sample import SPLITS, Sample, Split
from pipeline.data.split.leaks import refuse_leaks

SHARES: Mapping[Split, float] = {"train": 0.6, "test": 0.2, "validation": 0.2}
WITHOUT_TEST: Mapping[Split, float] = {"train": 0.75, "validation": 0.25}
SPLIT_AFRESH = (
    "split by group with --resplit, or train on it all the same, with the warning in every report, with --allow-leakage"
)

Part = TypeVar("Part", bound=str)


def split_by_group(samples: Sequence[Sample], seed: int = 0, shares: Mapping[Split, float] = SHARES) -> tuple[Sample, ...]:
    """Give every sample a split: whole groups, each defect type spread over the parts as evenly as its groups allow."""
    return place(samples, spread(samples, seed, shares))


def folds(samples: Sequence[Sample], k: int, seed: int = 0) -> list[tuple[Sample, ...]]:
    """`k` splits of all samples; over them every group is in the test part exactly once.

    The other folds are learned from, but for as many groups for validation as any split has. Raises DatasetError for fewer than
    three folds, or fewer groups of a class than folds.
    """
    if k < 3:
        raise DatasetError(f"{k} folds; expected 3 or more: one to test on, one for validation, the rest to learn from")
    units = group_units(samples)
    for label in ("good", "defective"):
        count = len({units[sample.group] for sample in samples if sample.label == label})
        if count < k:
            raise DatasetError(
                f"{count} groups hold {label} pictures, too few for {k} folds with at least one in each; "
                "choose fewer folds, or add pictures of other parts"
            )
    names = [str(number) for number in range(k)]
    fold_of = spread(samples, seed, dict.fromkeys(names, 1 / k))
    held_out = SHARES["validation"] * k / (k - 1)
    shares: dict[Split, float] = {"train": 1 - held_out, "validation": held_out}
    splits = []
    for name in names:
        tested: dict[str, Split] = {unit: "test" for unit, fold in fold_of.items() if fold == name}
        rest = [sample for sample in samples if units[sample.group] not in tested]
        splits.append(place(samples, tested | spread(rest, seed, shares)))
    return splits


def spread(
    samples: Sequence[Sample], seed: int, shares: Mapping[Part, float], placed: Mapping[str, Part] | None = None
) -> dict[str, Part]:
    """Unit of groups (see `group_units`) -> part. What is `placed` stays there, and counts for the shares.

    Greedy: the rarest type first, its largest units first, each to the part that still lacks most of that type. Where a type has
    too few groups for all parts, training gets the first, test the second: `check_split` tells what is missing then.
    """
    units: dict[str, list[Sample]] = defaultdict(list)
    unit = group_units(samples)
    for sample in samples:
        units[unit[sample.group]].append(sample)
    units_per_type = Counter(kind for members in units.values() for kind in {sample.defect_type for sample in members})
    by_type: dict[str, list[str]] = defaultdict(list)
    for name, members in units.items():
        rarest = min({sample.defect_type for sample in members}, key=lambda kind: (units_per_type[kind], kind))
        by_type[rarest].append(name)

    order = np.random.default_rng(seed).permutation(sorted(units))
    rank = {name: position for position, name in enumerate(order)}
    chosen = {name: part for name, part in (placed or {}).items() if name in units}
    # What one type could not give to a part, the next type of the same class makes up for: with three groups of each type no type
    # reaches all parts, but the defective pictures as a whole do.
    lacks: dict[bool, dict[Part, float]] = {is_good: dict.fromkeys(shares, 0.0) for is_good in (True, False)}
    for kind in sorted(by_type, key=lambda kind: (units_per_type[kind], kind)):
        total = sum(len(units[name]) for name in by_type[kind])
        lack = lacks[kind == ""]
        for part, share in shares.items():
            lack[part] += share * total
        free = sorted((name for name in by_type[kind] if name not in chosen), key=lambda name: (-len(units[name]), rank[name]))
        for name in by_type[kind]:
            if name in chosen and chosen[name] in lack:
                lack[chosen[name]] -= len(units[name])
        for name in free:
            part = max(lack, key=lambda part: lack[part])  # the order of `shares` breaks ties
            chosen[name] = part
            lack[part] -= len(units[name])
    return chosen


def place(samples: Sequence[Sample], chosen: Mapping[str, Split]) -> tuple[Sample, ...]:
    """Give every sample the part that was chosen for its unit."""
    unit = group_units(samples)
    return tuple(replace(sample, split=chosen[unit[sample.group]]) for sample in samples)


def group_units(samples: Sequence[Sample]) -> dict[str, str]:
    """Group -> what it must be split with: groups that share a byte-identical file are one, whatever their names say."""
    parent = {sample.group: sample.group for sample in samples}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    holder: dict[str, str] = {}
    for sample in samples:
        if sample.sha256:
            one, other = sorted((root(sample.group), root(holder.setdefault(sample.sha256, sample.group))))
            parent[other] = one  # the first by name, so that the order of the samples does not matter
    return {group: root(group) for group in parent}


def carve_validation(samples: Sequence[Sample], seed: int = 0) -> tuple[Sample, ...]:
    """Move a quarter of the training groups of a train/test split to validation."""
    rest = [sample for sample in samples if sample.split != "train"]
    training = [sample for sample in samples if sample.split == "train"]
    return *split_by_group(training, seed, WITHOUT_TEST), *rest


def check_split(samples: Sequence[Sample], allow_leakage: bool = False, advice: str = SPLIT_AFRESH) -> None:
    """Raise DatasetError unless both classes are in every part and, unless it is allowed, no picture has a sibling in two."""
    if not allow_leakage:
        refuse_leaks(samples, advice)
    for label in ("good", "defective"):
        groups = {sample.group for sample in samples if sample.label == label}
        for split in SPLITS:
            if not any(sample.label == label and sample.split == split for sample in samples):
                raise DatasetError(
                    f"no {label} picture is in the {split} part: {len(groups)} groups hold {label} pictures, and "
                    f"{', '.join(SPLITS)} each need one of their own; "
                    "add pictures of other parts, check the groups, or split afresh (`train --resplit`, `split --fresh`)"
                )

"""Fewer defective parts to learn from, for learning curves. What is tested on never changes."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from pipeline.data.sample import Sample
from pipeline.data.split import group_units

POINTS = (5, 10, 20)
"""Defective groups to learn from; then all there are."""


def thin(samples: Sequence[Sample], count: int, seed: int) -> tuple[Sample, ...]:
    """Keep `count` of the defective groups of the training part, and everything else as it is.

    Whole groups, taken in turn from each defect type in an order of the seed: fewer are always part of more. Groups that share a
    byte-identical file count as one. A group that holds good pictures too goes with them. The validation part stays whole: it
    costs every arm's figures alike, and a curve is then of what is learned from alone.
    """
    unit = group_units(samples)
    dropped = set(defective_order(samples, seed)[count:])
    return tuple(sample for sample in samples if sample.split != "train" or unit[sample.group] not in dropped)


def defective_order(samples: Sequence[Sample], seed: int) -> list[str]:
    """The defective units of the training part, in the order in which they are learned from."""
    unit = group_units(samples)
    kinds = _defective(samples, unit)
    per_kind = Counter(kind for found in kinds.values() for kind in found)
    by_kind: dict[str, list[str]] = defaultdict(list)
    for name, found in sorted(kinds.items()):
        by_kind[min(found, key=lambda kind: (per_kind[kind], kind))].append(name)
    random = np.random.default_rng(seed)
    queues = [[names[place] for place in random.permutation(len(names))] for _, names in sorted(by_kind.items())]
    turns = [queues[place] for place in random.permutation(len(queues))]
    return [queue[turn] for turn in range(max(map(len, turns), default=0)) for queue in turns if turn < len(queue)]


def _defective(samples: Sequence[Sample], unit: dict[str, str]) -> dict[str, set[str]]:
    """Unit of the training part -> its defect types, where it has any."""
    kinds: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        if sample.split == "train" and sample.label == "defective":
            kinds[unit[sample.group]].add(sample.defect_type)
    return kinds

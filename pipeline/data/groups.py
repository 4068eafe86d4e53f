"""Groups that nobody named: clusters of look-alikes stand in for them, and new pictures are met again among known ones."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from pipeline.data.lookalikes import REPEATS, Cells, LookAlikes, find_look_alikes, pack, unpack
from pipeline.data.sample import Sample
from pipeline.data.survey import Survey, survey
from pipeline.data.survey.cache import Cache

GUESSED = "like-"
VERSION = 1
"""Of how look-alikes are found: another one makes what is in the cache void."""


@dataclass(frozen=True)
class Met:
    """Where a new picture was met before."""

    repeats: bool
    """It is a known picture, byte by byte or saved again."""
    groups: tuple[str, ...]
    """Groups of known pictures that it looks like."""


def group_by_look(surveyed: Survey, cells: Cells | None = None) -> tuple[tuple[Sample, ...], LookAlikes]:
    """Give samples the cluster of look-alikes they are in as their group; see `find_look_alikes`."""
    look_alikes = compare(surveyed, cells)
    names: dict[int, str] = {}  # named after a picture, so that clusters of two collections are never taken for one
    for sample, cluster in zip(surveyed.samples, look_alikes.clusters.tolist(), strict=True):
        names.setdefault(cluster, f"{GUESSED}{sample.sha256[:12]}")
    grouped = zip(surveyed.samples, look_alikes.clusters.tolist(), strict=True)
    return tuple(replace(sample, group=names[cluster]) for sample, cluster in grouped), look_alikes


def compare(surveyed: Survey, cells: Cells | None = None) -> LookAlikes:
    """Look-alikes among the pictures of a survey; what was found in the very same pictures before is not sought again."""
    samples, facts = surveyed.samples, surveyed.facts
    content = [
        VERSION,
        [(sample.path, sample.sha256) for sample in samples],
        cells is not None and sha256(cells.tobytes()).hexdigest(),
    ]
    key = sha256(json.dumps(content).encode()).hexdigest()
    with Cache("look-alikes") as cache:
        if known := cache.get([key]):
            return unpack(known[key], len(samples))
        found = find_look_alikes([one.path for one in samples], [one.sha256 for one in samples], facts, cells)
        cache.put({key: pack(found)})
    return found


def met_before(new: Sequence[Sample], known: Sequence[Sample]) -> list[Met]:
    """For each new sample, what it shares with known ones. Both must be readable."""
    both = survey([*new, *known])
    look_alikes = compare(both)
    count = len(new)
    repeats = {link.first for link in look_alikes.links if link.way in REPEATS and link.first < count <= link.second}
    groups: dict[int, list[str]] = {}
    for sample, cluster in zip(known, look_alikes.clusters[count:].tolist(), strict=True):
        groups.setdefault(cluster, []).append(sample.group)
    return [
        Met(index in repeats, tuple(dict.fromkeys(groups.get(cluster, []))))
        for index, cluster in enumerate(look_alikes.clusters[:count].tolist())
    ]


def is_guessed(sample: Sample) -> bool:
    """Whether the sample's group is a cluster of look-alikes, because nobody named one."""
    return sample.group.startswith(GUESSED)

"""Groups that nobody named: clusters of look-alikes stand in for them, and new pictures are met again among known ones."""

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from pipeline.data.lookalikes import REPEATS, Cells, LookAlikes, find_look_alikes, pack, unpack
from pipeline.data.sample import Sample
from pipeline.data.survey import Survey, survey
from pipeline.data.survey.cache import Cache
from pipeline.training.recipe import FOLDER_VARIABLE

GUESSED = "like-"
VERSION = 1
"""Of how look-alikes are found: another one makes what is in the cache void."""


@dataclass(frozen=True)
class Met:
    """Where a new picture was met before."""

    repeated: tuple[str, ...]
    """Groups of known pictures that it is itself, byte by byte or saved again."""
    groups: tuple[str, ...]
    """Groups of known pictures that it looks like."""

    @property
    def repeats(self) -> bool:
        """It is a known picture."""
        return bool(self.repeated)

    def siblings(self, group: str) -> tuple[str, ...]:
        """Groups of known pictures that it belongs with, being of `group` itself: a look counts where one of both is a guess."""
        alike = [other for other in self.groups if group.startswith(GUESSED) or other.startswith(GUESSED)]
        return tuple(dict.fromkeys([*self.repeated, *alike]))


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
    paths, hashes = [one.path for one in surveyed.samples], [one.sha256 for one in surveyed.samples]
    key = _digest([paths, cells is not None])  # one entry a set of paths: another content takes its place
    content = _digest([VERSION, hashes, cells is not None and sha256(cells.tobytes()).hexdigest()]).encode()
    with Cache(f"look-alikes-{VERSION}") as cache:
        known = cache.get([key]).get(key, b"")
        if known.startswith(content):
            return unpack(known[len(content) :], len(paths))
        found = find_look_alikes(paths, hashes, surveyed.facts, cells)
        cache.put({key: content + pack(found)})
    return found


def named_alike(samples: Sequence[Sample], others: Sequence[Sample]) -> list[bool]:
    """Whether each sample is a file of the others', or of a group of theirs that has its name in the same folder."""
    hashes, groups = {other.sha256 for other in others}, {(other.origin, other.group) for other in others}
    return [sample.sha256 in hashes or (sample.origin, sample.group) in groups for sample in samples]


def met_before(new: Sequence[Sample], known: Sequence[Sample]) -> list[Met]:
    """For each new sample, what it shares with known ones. The new must be readable; known ones that are not are left aside."""
    first, second = survey(new), survey(known)
    samples, known, count = (*first.samples, *second.samples), second.samples, len(new)
    look_alikes = compare(Survey(samples, (*first.facts, *second.facts), (), ()), cells_at_hand(samples))
    by_file: dict[str, list[str]] = defaultdict(list)
    by_cluster: dict[int, list[str]] = defaultdict(list)
    for sample, cluster in zip(known, look_alikes.clusters[count:].tolist(), strict=True):
        by_file[sample.sha256].append(sample.group)
        by_cluster[cluster].append(sample.group)
    repeated: dict[str, list[str]] = defaultdict(list)  # by file, since of several copies only the first is linked to the others
    for link in look_alikes.links:
        if link.way in REPEATS and link.first < count <= link.second:
            repeated[samples[link.first].sha256] += by_file[samples[link.second].sha256]
    return [
        Met(tuple(dict.fromkeys(repeated[sample.sha256])), tuple(dict.fromkeys(by_cluster[cluster])))
        for sample, cluster in zip(first.samples, look_alikes.clusters[:count].tolist(), strict=True)
    ]


def cells_at_hand(samples: Sequence[Sample]) -> Cells | None:
    """Features of a frozen backbone to find look-alikes with, where its weights lie in the weights folder; else None."""
    if FOLDER_VARIABLE not in os.environ:
        return None
    from pipeline.training.features import features_at_hand  # torch takes seconds to import

    features = features_at_hand(samples)
    return features.cells if features else None


def _digest(content: object) -> str:
    return sha256(json.dumps(content).encode()).hexdigest()


def is_guessed(sample: Sample) -> bool:
    """Whether the sample's group is a cluster of look-alikes, because nobody named one."""
    return sample.group.startswith(GUESSED)

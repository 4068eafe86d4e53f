"""Finds pictures that show the same part: saved again, shifted, turned, mirrored, under another light; and clusters of them."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.data.lookalikes.bursts import find_bursts
from pipeline.data.lookalikes.candidates import cell_vectors, neighbours, plane_vectors, ring_vectors
from pipeline.data.lookalikes.matching import Array, Indices, limit, planes_of, rings_of
from pipeline.data.survey.facts import Facts

Cells = npt.NDArray[np.float16]
"""N x D: what a backbone sees, place by place."""
SAME_BITS, SAME_GREY, SAME_DETAIL = 6, 2.0, 0.7
"""A picture saved again in another format or quality differs in at most so many of 256 bits of its difference hash, and its
thumbnail by so many grey values on average; its high-pass plane, without what all pictures share, correlates by so much."""
RANDOM_PAIRS = 5_000
ENOUGH = 30
"""With fewer pictures, random pairs do not tell how alike unrelated ones are."""
STRICT = 0.9
"""The limit then."""

SAME_FILE = "the same file"
REPEATS = (SAME_FILE, "the same picture saved again")
WAYS = ("shifted, mirrored or a quarter turn", "turned or mirrored", "alike to the backbone")
BURST = "of one burst"


@dataclass(frozen=True)
class Link:
    """Two pictures that show the same, by their indices."""

    first: int
    second: int
    similarity: float
    """Correlation, 0..1."""
    way: str
    """One of REPEATS, of WAYS, or BURST."""


@dataclass(frozen=True)
class LookAlikes:
    """Links between pictures, and the clusters they make."""

    links: tuple[Link, ...]
    clusters: npt.NDArray[np.int64]
    """The cluster's number of each picture."""
    limits: tuple[str, ...]
    """The correlation from which each way counts."""
    bursts: str
    """What shows that file numbers come in bursts; empty where they do not."""


def find_look_alikes(
    paths: Sequence[str], hashes: Sequence[str], facts: Sequence[Facts], cells: Cells | None = None
) -> LookAlikes:
    """Compare N pictures by their paths, their files' sha256, their facts and, where weights are at hand, features N x D.

    Each is compared with its nearest neighbours only, so the time grows with N squared by one matrix product and no more.
    """
    planes = planes_of(np.stack([one.plane for one in facts]))
    rings = rings_of(np.stack([one.polar for one in facts]))
    proposed = [plane_vectors(planes), ring_vectors(rings)]
    measures = [planes.similarity, rings.similarity]
    if cells is not None:
        vectors = cell_vectors(cells)
        proposed.append(vectors)
        measures.append(lambda first, second: np.asarray((vectors.known[first] * vectors.known[second]).sum(axis=1), np.float32))
    pairs = np.unique(np.concatenate([neighbours(one) for one in proposed]), axis=0)
    some, others = _random_pairs(len(facts))

    found = []
    limits = []
    for way, measure in zip(WAYS, measures, strict=False):
        least = limit(measure(some, others), len(facts)) if len(facts) >= ENOUGH else STRICT
        similarity = measure(pairs[:, 0], pairs[:, 1])
        found += _links(pairs[similarity >= least], similarity[similarity >= least], way)
        limits.append(f"{way}: correlation of {least:.2f} or more")
    found = _same_files(hashes) + _saved_again(pairs, facts) + found
    best: dict[tuple[int, int], Link] = {}
    for link in found:  # the surest way first
        best.setdefault((link.first, link.second), link)
    clusters = cluster_links(best.values(), len(facts))
    bursts = find_bursts(paths, clusters)
    if bursts:
        for link in _links(np.sort(bursts.pairs, axis=1), np.zeros(len(bursts.pairs), np.float32), BURST):
            best.setdefault((link.first, link.second), link)
        clusters = cluster_links(best.values(), len(facts))
    return LookAlikes(tuple(best.values()), clusters, tuple(limits), bursts.evidence if bursts else "")


def pack(found: LookAlikes) -> bytes:
    """Look-alikes as bytes for the cache."""
    return json.dumps(
        [[(one.first, one.second, one.similarity, one.way) for one in found.links], found.limits, found.bursts]
    ).encode()


def unpack(packed: bytes, count: int) -> LookAlikes:
    """What `pack` packed, of `count` pictures."""
    links, limits, bursts = json.loads(packed)
    known = tuple(Link(*one) for one in links)
    return LookAlikes(known, cluster_links(known, count), tuple(limits), bursts)


def _same_files(hashes: Sequence[str]) -> list[Link]:
    seen: dict[str, int] = {}
    return [
        Link(seen[sha256], index, 1.0, REPEATS[0])
        for index, sha256 in enumerate(hashes)
        if seen.setdefault(sha256, index) != index
    ]


def _saved_again(pairs: Indices, facts: Sequence[Facts]) -> list[Link]:
    """Links between copies in another format or quality: hash, light and what is a picture's own are the same."""
    bits = np.stack([one.hash for one in facts])
    near = pairs[np.unpackbits(bits[pairs[:, 0]] ^ bits[pairs[:, 1]], axis=1).sum(axis=1) <= SAME_BITS]
    shared = np.mean([one.plane for one in facts], axis=0) if len(facts) >= ENOUGH else 0
    same = [
        (first, second)
        for first, second in near
        # The next exposure of a burst has the same hash, but not the same light; the next part in a fixture has both.
        if np.abs(facts[first].thumbnail.astype(int) - facts[second].thumbnail).mean() <= SAME_GREY
        and _correlation(facts[first].plane - shared, facts[second].plane - shared) >= SAME_DETAIL
    ]
    return _links(np.array(same, np.int64).reshape(-1, 2), np.ones(len(same), np.float32), REPEATS[1])


def _correlation(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    return float((one * other).sum() / max(1e-9, float(np.linalg.norm(one) * np.linalg.norm(other))))


def _links(pairs: Indices, similarity: Array, way: str) -> list[Link]:
    return [Link(int(one), int(other), float(value), way) for (one, other), value in zip(pairs, similarity, strict=True)]


def _random_pairs(count: int) -> tuple[Indices, Indices]:
    random = np.random.default_rng(0)
    some = random.integers(count, size=RANDOM_PAIRS)
    return some, (some + 1 + random.integers(max(1, count - 1), size=RANDOM_PAIRS)) % count


def cluster_links(links: Iterable[Link], count: int) -> npt.NDArray[np.int64]:
    """Number the clusters that links make of `count` pictures (single linkage): N."""
    ends = np.array([(link.first, link.second) for link in links], np.int64).reshape(-1, 2)
    table = coo_array((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(count, count))
    return np.asarray(connected_components(table, directed=False)[1], np.int64)

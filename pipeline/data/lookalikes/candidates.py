"""Which pairs are worth comparing: each picture's nearest neighbours by descriptors that one matrix product compares."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import scipy.linalg

from pipeline.data.lookalikes.matching import Array, Indices, Planes, Rings, blocks, turns

NEIGHBOURS = 10
DIMENSIONS = 256
TABLE = 1 << 24
"""Similarities that are in memory at once."""
LOW_FREQUENCIES = 24

Describe = Callable[[Indices], list[Array]]
"""Indices of M pictures -> M x D, in each way they may be turned; as they are first."""


@dataclass(frozen=True)
class Vectors:
    """Descriptors in their principal components, these of equal spread, every row of length 1."""

    known: Array
    """N x 256, of the pictures as they are."""
    describe: Describe
    """M x 256 in each way some pictures may be turned."""


def ring_vectors(rings: Rings) -> Vectors:
    """How strong each ring's frequencies are, which no turning and no mirroring changes."""
    return _whitened(lambda which: [_flat(np.abs(rings.take(which)[:, :LOW_FREQUENCIES]))], len(rings.stored))


def plane_vectors(planes: Planes) -> Vectors:
    """The planes, blurred against shifts, in the eight ways they can be turned."""

    def describe(which: Indices) -> list[Array]:
        blurred = np.stack([np.asarray(cv2.GaussianBlur(plane, (0, 0), 1.0), np.float32) for plane in planes.take(which)])
        return [_flat(turned) for turned in turns(blurred)]

    return _whitened(describe, len(planes.stored))


def cell_vectors(cells: npt.NDArray[np.float16]) -> Vectors:
    """A backbone's features of each picture, place by place."""
    return _whitened(lambda which: [cells[which].astype(np.float32)], len(cells))


def neighbours(vectors: Vectors) -> Indices:
    """P x 2, first < second: each picture with its nearest, in any of the ways it may be turned."""
    known = vectors.known
    total = len(known)
    count = min(NEIGHBOURS, total - 1)
    pairs = [np.empty((0, 2), np.int64)]
    for block in blocks(total, max(64, TABLE // total)):
        rows = np.arange(total)[block]
        queries = vectors.describe(rows)
        distance = -(queries[0] @ known.T)
        for query in queries[1:]:
            np.minimum(distance, -(query @ known.T), out=distance)
        distance[np.arange(len(rows)), rows] = np.inf
        if count:
            nearest = np.argpartition(distance, count - 1, axis=1)[:, :count]
            pairs.append(np.stack([np.repeat(rows, count), nearest.ravel()], axis=1))
    return np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0)


def _whitened(describe: Describe, total: int) -> Vectors:
    some = describe(np.sort(np.random.default_rng(0).permutation(total)[:4000]))[0]
    mean = some.mean(axis=0)
    size = some.shape[1]
    wanted = min(DIMENSIONS, size, max(1, len(some) - 1))
    spread, axes = scipy.linalg.eigh((some - mean).T @ (some - mean) / len(some), subset_by_index=(size - wanted, size - 1))
    axes = (axes / np.sqrt(np.maximum(spread, 0) + 0.1 * spread.mean() + 1e-12)).astype(np.float32)

    def whitened(which: Indices) -> list[Array]:
        return [_unit((variant - mean) @ axes) for variant in describe(which)]

    known = [whitened(np.arange(total)[block])[0] for block in blocks(total, 1024)]
    return Vectors(np.concatenate(known), whitened)


def _flat(stack: Array) -> Array:
    return np.asarray(stack.reshape(len(stack), -1), np.float32)


def _unit(rows: Array) -> Array:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9), np.float32)

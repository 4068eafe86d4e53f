"""Finds pictures that show the same: clusters that stand in for groups nobody named, and pictures met again."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2
import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from deploy.preprocess import read_picture
from pipeline.data.sample import Sample

Signs = npt.NDArray[np.float32]
"""N x 256, each bit of a difference hash as -1 or 1, so that a matrix product counts differing bits."""

GUESSED = "like-"
HASH_SIDE = 16
NEAR = 38
"""Differing bits of 256. Unrelated pictures differ in about half of them; one part under another light in about a tenth."""
SAME = 6
"""Differing bits of the same picture saved again in another format or quality."""


def group_near_duplicates(samples: Sequence[Sample], progress: Callable[[int, int], None] | None = None) -> tuple[Sample, ...]:
    """Give samples the cluster of pictures that look alike (difference hash, single linkage) as their group."""
    signs = _signs(samples, progress)
    rows, columns = [], []
    for start in range(0, len(signs), 1024):  # blocks: the whole table would not fit for 100,000 pictures
        near = np.argwhere(_distance(signs[start : start + 1024], signs) <= NEAR)
        rows.append(near[:, 0] + start)
        columns.append(near[:, 1])
    row, column = np.concatenate(rows), np.concatenate(columns)
    links = coo_array((np.ones(len(row), bool), (row, column)), shape=(len(signs), len(signs)))
    _, cluster = connected_components(links, directed=False)
    names: dict[int, str] = {}  # named after a picture, so that clusters of two collections are never taken for one
    for sample, number in zip(samples, cluster, strict=True):
        names.setdefault(int(number), f"{GUESSED}{sample.sha256[:12]}")
    return tuple(replace(sample, group=names[int(number)]) for sample, number in zip(samples, cluster, strict=True))


def nearest_known(new: Sequence[Sample], known: Sequence[Sample]) -> list[tuple[float, Sample]]:
    """For each new sample the known one that looks most like it, and in how many bits they differ. `known` must not be empty."""
    if not new:
        return []
    distance = _distance(_signs(new), _signs(known))
    return [(float(row.min()), known[int(row.argmin())]) for row in distance]


def is_guessed(sample: Sample) -> bool:
    """Whether the sample's group is a cluster of look-alikes, because nobody named one."""
    return sample.group.startswith(GUESSED)


def _signs(samples: Sequence[Sample], progress: Callable[[int, int], None] | None = None) -> Signs:
    bits = []
    for number, sample in enumerate(samples, start=1):
        grey = cv2.cvtColor(read_picture(sample.file), cv2.COLOR_BGR2GRAY)
        bits.append(imagehash.dhash(Image.fromarray(grey), HASH_SIDE).hash.ravel())
        if progress:
            progress(number, len(samples))
    return np.array(bits, np.float32) * 2 - 1


def _distance(some: Signs, others: Signs) -> Signs:
    return np.asarray((some.shape[1] - some @ others.T) / 2, np.float32)

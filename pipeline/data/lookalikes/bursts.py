"""Pictures taken in one burst, told by the numbers in their names, where look-alikes confirm that the numbers mean it."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

WIDER = 5.0
"""The gaps between bursts must be this much wider than those inside (ratio of geometric means)."""
INSIDE, ACROSS = 0.6, 0.2
"""At least this share of neighbours inside a burst must look alike, and at most this share across two."""


@dataclass(frozen=True)
class Bursts:
    """Neighbours by number that are of one burst, and what shows it."""

    pairs: npt.NDArray[np.int64]
    """P x 2 indices."""
    evidence: str


def find_bursts(paths: Sequence[str], clusters: npt.NDArray[np.int64]) -> Bursts | None:
    """Bursts in the order of the numbers in the names, or None where names have no numbers or look-alikes do not confirm them.

    The gap that parts bursts is the one that best divides the logarithms of all gaps in two (Otsu 1979).
    """
    numbers = [number_in(path) for path in paths]
    known = np.array([index for index, number in enumerate(numbers) if number is not None], np.int64)
    if len(known) < max(8, len(paths) * 0.9):
        return None
    order = np.array(sorted(known.tolist(), key=lambda index: numbers[index] or 0), np.int64)  # of any length, so not by NumPy
    gaps = np.array([math.log(max(1, (numbers[after] or 0) - (numbers[before] or 0))) for before, after in pairwise(order)])
    threshold = _otsu(gaps)
    if threshold is None:
        return None
    near = gaps <= threshold
    alike = clusters[order[1:]] == clusters[order[:-1]]
    inside, across = float(alike[near].mean()), float(alike[~near].mean())
    narrow, wide = float(np.exp(gaps[near].mean())), float(np.exp(gaps[~near].mean()))
    if wide < WIDER * narrow or inside < INSIDE or across > ACROSS:
        return None
    pairs = np.stack([order[:-1][near], order[1:][near]], axis=1)
    return Bursts(
        pairs,
        f"the numbers in the file names come in bursts (gaps of {narrow:.0f} inside, {wide:.0f} between), and {inside:.0%} of "
        f"neighbours inside a burst look alike, {across:.0%} across: a burst is taken for one part",
    )


def number_in(path: str) -> int | None:
    """The longest number of a file's name, its digits joined over - and _ as in 20260301_102030; None where there is none."""
    found = [re.sub(r"\D", "", run) for run in re.findall(r"\d+(?:[-_T]\d+)*", PurePosixPath(path).stem, re.ASCII)]
    return int(max(reversed(found), key=len)) if found else None


def _otsu(values: npt.NDArray[np.float64]) -> float | None:
    ordered = np.sort(values)
    below = np.arange(1, len(ordered))
    low = np.cumsum(ordered)[:-1] / below
    high = (ordered.sum() - np.cumsum(ordered)[:-1]) / (len(ordered) - below)
    between = np.where(np.diff(ordered) > 0, below * (len(ordered) - below) * (high - low) ** 2, -1)
    if not len(between) or between.max() <= 0:
        return None
    best = int(between.argmax())
    return float(ordered[best] + ordered[best + 1]) / 2

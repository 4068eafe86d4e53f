"""How much of each defect the heatmap covers: every region counts alike, however small it is."""

import cv2
import numpy as np
import numpy.typing as npt

from deploy.preprocess import Picture
from pipeline.evaluation.metrics import Amounts

WORST_ALARM = 0.3
"""Share of good cells as hot as the threshold up to which overlap is looked at; above it a heatmap is of no use to anybody."""


def region_cells(mask: Picture, shape: tuple[int, ...]) -> tuple[npt.NDArray[np.int64], Amounts]:
    """H x W mask -> the cells of its regions in a heatmap of h x w: C indices into h * w, and the share of its region each is.

    Regions are what touches, corners included, at the mask's own resolution: so the same defects are counted whatever the
    heatmap's stride. A region is of all cells that hold any of its pixels; its shares sum to 1. A cell of two regions comes
    twice. h and w must divide H and W.
    """
    labels = np.asarray(cv2.connectedComponents((mask > 0).astype(np.uint8), connectivity=8)[1], np.int64)
    rows, columns = np.nonzero(labels)
    count = shape[0] * shape[1]
    cells = rows * shape[0] // mask.shape[0] * shape[1] + columns * shape[1] // mask.shape[1]
    regions, cells = np.divmod(np.unique(labels[rows, columns] * count + cells), count)
    return cells, 1 / np.bincount(regions)[regions]


def overlap_of_regions(shares: Amounts, good: Amounts) -> Amounts:
    """... x L shares of regions and amounts of good cells at L levels of heat, the hottest first -> ..., the PRO score.

    The mean share of a region at least as hot as a threshold, over the share of good cells that are too: the area below that
    curve up to WORST_ALARM, divided by it. 1 is perfect; a heatmap that says nothing has WORST_ALARM / 2, 0.15. Between two
    levels the curve is straight, so ties count half. After Bergmann et al.: The MVTec Anomaly Detection Dataset, International
    Journal of Computer Vision 129, 2021.
    """
    covered, alarmed = _curve(shares), _curve(good)
    start, end = alarmed[..., :-1], alarmed[..., 1:]
    low, high = covered[..., :-1], covered[..., 1:]
    width = np.clip(WORST_ALARM - start, 0, end - start)  # of each step, what lies below WORST_ALARM
    passed = np.divide(width, end - start, out=np.zeros_like(width), where=end > start)
    area = (width * (low + (high - low) * passed / 2)).sum(axis=-1)
    return np.asarray(np.round(area / WORST_ALARM, 12))  # perfect in every resample is 1 in every one, without crumbs


def _curve(amounts: Amounts) -> Amounts:
    """... x L -> ... x (L + 1), from 0 to 1."""
    sums = np.cumsum(amounts, axis=-1)
    return np.concatenate([np.zeros_like(sums[..., :1]), sums / sums[..., -1:]], axis=-1)

"""Does the network look at the defect? Heatmaps held against masks, a batch at a time: no heatmap is kept."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deploy.preprocess import Picture, Preprocessing, letterbox_placement
from pipeline.data.example import DEFECT, read_truth
from pipeline.data.sample import Sample
from pipeline.evaluation.metrics import Figure, Rate, area_under_roc, bootstrapped, precision_of_ranks, rate

Plane = npt.NDArray[np.float32]
Cells = npt.NDArray[np.bool_]
LEVELS = 1000
"""Cells are counted in so many steps of their log-odds, from -14 to 14: of 0.03 each, so AUROC is right to about 0.001."""
EXTREME = 14.0
ROWS = 1000
"""Groups are counted apart up to so many; more share a row, whole, which an interval over groups does not mind."""


@dataclass(frozen=True)
class HeatmapQuality:
    """How well heatmaps say where the defect is. Figures are not defined where no picture has a mask."""

    localised: Rate
    """Defective parts whose heatmap peak, in the most suspicious view with a mask, lies on it or at most one cell beside it."""
    pixel_auroc: Figure
    """Over all cells of good pictures and of defective ones with a mask: is a cell on a mask hotter than one beside it?"""
    pixel_average_precision: Figure
    masked_pictures: int
    """Defective pictures with a mask, which these figures are of."""
    unmasked_pictures: int
    """Defective pictures that are left out: nothing tells where their defect is."""

    def metrics(self) -> dict[str, Any]:
        """What metrics.json says of it."""
        return asdict(self)


class HeatmapTally:
    """Counts heatmaps as they come; `predict` shows them to `see`."""

    def __init__(self, spec: Preprocessing) -> None:
        self.spec = spec
        self._rows: dict[str, int] = {}
        self._cells = np.zeros((2, ROWS, LEVELS))
        self._best: dict[str, tuple[float, bool]] = {}
        self._masked = self._unmasked = 0

    def see(self, samples: Sequence[Sample], sizes: Sequence[tuple[int, int]], heatmaps: Plane) -> None:
        """N samples, the (height, width) of their pictures, and their heatmaps N x h x w, 0..1."""
        for sample, size, heatmap in zip(samples, sizes, heatmaps, strict=True):
            mask = np.asarray(read_truth(sample, size, self.spec) == DEFECT, np.uint8)
            if sample.label == "defective" and not mask.any():  # without a mask, or with an empty one, which says nothing
                self._unmasked += 1
                continue
            place = cells_of(mask, heatmap.shape)
            self._count(sample, heatmap, place, _without_bars(size, heatmap.shape, self.spec))
            if sample.label == "defective":
                self._masked += 1
                view = float(heatmap.max()), is_localised(heatmap, place)
                self._best[sample.part] = max(self._best.get(sample.part, (-1.0, True)), view, key=lambda one: one[0])

    def quality(self) -> HeatmapQuality:
        """The figures of all that was seen."""
        found = [on_it for _, on_it in self._best.values()]
        rows = min(len(self._rows), ROWS)
        negative, positive = self._cells[:, :rows, ::-1] if self._masked else np.zeros((2, 1, 1))
        return HeatmapQuality(
            rate(sum(found), len(found)),
            bootstrapped(area_under_roc, positive, negative),
            bootstrapped(precision_of_ranks, positive, negative),
            self._masked,
            self._unmasked,
        )

    def _count(self, sample: Sample, heatmap: Plane, place: Cells, shown: tuple[slice, slice]) -> None:
        row = self._rows.setdefault(sample.group, len(self._rows)) % ROWS
        heat = np.clip(heatmap[shown].astype(np.float64), 1e-9, 1 - 1e-9)
        steps = (np.log(heat / (1 - heat)) + EXTREME) * (LEVELS / (2 * EXTREME))
        levels = np.clip(steps.astype(np.int64), 0, LEVELS - 1)
        for defective in (False, True):
            chosen = levels[place[shown] == defective]
            self._cells[int(defective), row] += np.bincount(chosen, minlength=LEVELS)


def cells_of(mask: Picture, shape: tuple[int, ...]) -> Cells:
    """H x W mask -> h x w cells of a heatmap: a cell that holds a pixel of the defect is of the defect."""
    share = cv2.resize((mask > 0).astype(np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(share > 0)


def is_localised(heatmap: Plane, place: Cells) -> bool:
    """The hottest cell is of the defect, or touches a cell that is; where several are hottest, all of them must be."""
    near = cv2.dilate(place.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return bool(near[heatmap == heatmap.max()].all())


def _without_bars(size: tuple[int, int], shape: tuple[int, ...], spec: Preprocessing) -> tuple[slice, slice]:
    """The cells that show something of the picture: there is nothing to find in the letterbox's bars, and that is easy."""
    top, left, height, width = letterbox_placement(*size, spec)
    down, right = shape[0] / spec.height, shape[1] / spec.width
    return (
        slice(int(top * down), int(np.ceil((top + height) * down))),
        slice(int(left * right), int(np.ceil((left + width) * right))),
    )

"""Does the network look at the defect? Heatmaps held against masks, a batch at a time: no heatmap is kept."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from deploy.preprocess import Picture, Preprocessing, letterbox_placement
from pipeline.data.example import DEFECT, read_truth
from pipeline.data.sample import Sample
from pipeline.evaluation.metrics import Figure, Rate, area_under_roc, bootstrapped, precision_of_ranks, rate
from pipeline.evaluation.overlap import overlap_of_regions, region_cells

Plane = npt.NDArray[np.float32]
Cells = npt.NDArray[np.bool_]
LEVELS = 1000
"""Cells are counted in so many steps of their log-odds, from -14 to 14: of 0.03 each, so AUROC is right to about 0.001."""
EXTREME = 14.0
FEW, AT_BEST = 0.5, 0.7
"""Shares of parts whose heatmap peaks on the defect: see `HeatmapQuality.looks_elsewhere`."""
ROWS = 1000
"""Groups are counted apart up to so many; more share a row, whole, which an interval over groups does not mind."""


@dataclass(frozen=True)
class WrongPlace:
    """A defective part that is hottest elsewhere than on its defect: if called DEFECTIVE, then perhaps for the wrong reason."""

    path: str
    """Its most suspicious view with a mask."""
    part: str
    defect_type: str
    distance: float
    """From the peak to the nearest cell of the mask, in longer sides of the picture; of several peaks, the farthest."""
    peak: float
    """Its heat, 0..1."""


@dataclass(frozen=True)
class HeatmapQuality:
    """How well heatmaps say where the defect is. Figures are not defined where no picture has a mask."""

    localised: Rate
    """Defective parts whose heatmap peak, in the most suspicious view with a mask, lies on it or at most one cell beside it.

    Where some defects of a picture have a mask and others only a box, a peak in a box is not held against it.
    """
    pixel_auroc: Figure
    """Is a cell on a mask hotter than a good one? Over good pictures and defective ones with a mask, without cells of boxes."""
    pixel_average_precision: Figure
    region_overlap: Figure
    """Over the same cells, how much of a defect is hot before 30 % of the good cells are: see `overlap_of_regions`."""
    wrong_places: tuple[WrongPlace, ...]
    """The parts that are not `localised`, the farthest first."""
    masked_pictures: int
    """Defective pictures with a mask, which these figures are of."""
    unmasked_pictures: int
    """Defective pictures that are left out: nothing tells where their defect is."""

    @property
    def looks_elsewhere(self) -> bool:
        """Fewer than half of the parts are localised, or the upper bound of their share (95 % interval) is below 70 %.

        The first warns however few the parts are: a look at their pictures costs little. The second warns of a share between a
        half and 70 % once the parts are enough to be sure: 12 of 20 may be chance, 120 of 200 are not.
        """
        value, high = self.localised.value, self.localised.high
        return value is not None and high is not None and (value < FEW or high < AT_BEST)

    def sentence(self) -> str:
        """In how many parts the network looks at the defect, in plain words; with a warning where it `looks_elsewhere`."""
        parts = self.localised
        if parts.value is None:
            return "No defective part has a mask, so nobody knows whether the heatmap's peak lies on the defect."
        found = (
            f"In {parts.count} of {parts.total} defective parts with a mask the heatmap's peak lies on the defect "
            "or one cell beside it."
        )
        if not self.looks_elsewhere:
            return found
        return (
            f"{found} In the other {parts.total - parts.count} ({1 - parts.value:.0%}) it lies elsewhere: "
            "a verdict of DEFECTIVE on them may be for the wrong reason, and such defects may escape on other pictures."
        )

    def metrics(self) -> dict[str, Any]:
        """What metrics.json says of it."""
        return asdict(self)


class HeatmapTally:
    """Counts heatmaps as they come; `predict` shows them to `see`."""

    def __init__(self, spec: Preprocessing) -> None:
        self.spec = spec
        self._rows: dict[str, int] = {}
        self._cells = np.zeros((3, ROWS, LEVELS))
        """Good cells, cells of a defect, shares of regions."""
        self._best: dict[str, tuple[float, WrongPlace | None]] = {}
        """Of each part, the peak of its most suspicious view, and what is wrong with its place."""
        self._masked = self._unmasked = 0

    def see(self, samples: Sequence[Sample], sizes: Sequence[tuple[int, int]], heatmaps: Plane) -> None:
        """N samples, the (height, width) of their pictures, and their heatmaps N x h x w, 0..1."""
        for sample, size, heatmap in zip(samples, sizes, heatmaps, strict=True):
            truth = read_truth(sample, size, self.spec)
            mask = np.asarray(truth == DEFECT, np.uint8)
            if sample.label == "defective" and not mask.any():  # without a mask, or with an empty one, which says nothing
                self._unmasked += 1
                continue
            not_good = cells_of(truth, heatmap.shape)
            self._count(sample, heatmap, mask, not_good, _without_bars(size, heatmap.shape, self.spec))
            if sample.label == "defective":
                self._masked += 1
                view = float(heatmap.max()), self._wrong_place(sample, size, heatmap, not_good)
                self._best[sample.part] = max(self._best.get(sample.part, (-1.0, None)), view, key=lambda one: one[0])

    def quality(self) -> HeatmapQuality:
        """The figures of all that was seen."""
        wrong = [place for _, place in self._best.values() if place]
        rows = min(len(self._rows), ROWS)
        used = self._cells.any(axis=(0, 1))  # a level without a cell changes no figure
        good, defective, regions = self._cells[:, :rows, used][..., ::-1] if self._masked else np.zeros((3, 1, 1))
        return HeatmapQuality(
            rate(len(self._best) - len(wrong), len(self._best)),
            bootstrapped(area_under_roc, defective, good),
            bootstrapped(precision_of_ranks, defective, good),
            bootstrapped(overlap_of_regions, regions, good),
            tuple(sorted(wrong, key=lambda one: (-one.distance, one.path))),
            self._masked,
            self._unmasked,
        )

    def _count(self, sample: Sample, heatmap: Plane, mask: Picture, not_good: Cells, shown: tuple[slice, slice]) -> None:
        row = self._rows.setdefault(sample.group, len(self._rows)) % ROWS
        heat = np.clip(heatmap.astype(np.float64), 1e-9, 1 - 1e-9)
        steps = (np.log(heat / (1 - heat)) + EXTREME) * (LEVELS / (2 * EXTREME))
        levels = np.clip(steps.astype(np.int64), 0, LEVELS - 1)
        cells, shares = region_cells(mask, heatmap.shape)
        self._cells[0, row] += np.bincount(levels[shown][~not_good[shown]], minlength=LEVELS)
        self._cells[1, row] += np.bincount(levels[cells_of(mask, heatmap.shape)], minlength=LEVELS)
        self._cells[2, row] += np.bincount(levels.ravel()[cells], shares, minlength=LEVELS)

    def _wrong_place(self, sample: Sample, size: tuple[int, int], heatmap: Plane, place: Cells) -> WrongPlace | None:
        if is_localised(heatmap, place):
            return None
        cell = self.spec.height / heatmap.shape[0], self.spec.width / heatmap.shape[1]
        distances = np.asarray(distance_transform_edt(~place, sampling=cell))
        side = max(letterbox_placement(*size, self.spec)[2:])
        peak = heatmap.max()
        return WrongPlace(
            sample.path, sample.part, sample.defect_type, float(distances[heatmap == peak].max() / side), float(peak)
        )


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

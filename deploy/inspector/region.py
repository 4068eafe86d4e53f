"""A region of a camera's picture: a rectangle or a polygon in which parts are looked for, and nothing outside it counts."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from deploy.inspector.locate import Box, Sighting
from deploy.preprocess import Picture


class Region:
    """The whole picture, a `roi` of it, or what a `polygon` of x, y corners encloses; all in pixels of the frame."""

    def __init__(self, name: str = "", roi: Box | None = None, polygon: Sequence[tuple[int, int]] | None = None) -> None:
        self.name = name
        self._box = roi
        self._mask: Picture | None = None
        self._blank: Picture | None = None
        if polygon is not None:
            corners = np.asarray(polygon, np.int32)
            box = self._box = Box(*cv2.boundingRect(corners))
            self._mask = cv2.fillPoly(np.zeros((box.height, box.width), np.uint8), [corners - (box.left, box.top)], 255).astype(
                np.uint8
            )

    def misfit(self, picture: Picture) -> str | None:
        """Why it cannot be cut from this picture; None when it can."""
        height, width = picture.shape[:2]
        box = self._box
        if box is None or (box.left + box.width <= width and box.top + box.height <= height):
            return None
        return (
            f"the region {self.name} reaches to {box.left + box.width}, {box.top + box.height}, but the picture has {width} x "
            f"{height} pixels; correct the region in station.yaml, or the camera's resolution"
        )

    def cut(self, picture: Picture, outside: tuple[int, int, int]) -> Picture:
        """Its pixels, H x W x 3 BGR, with those outside its polygon in the colour `outside`; not a copy where it has none."""
        box = self._box
        if box is None:
            return picture
        inner = picture[box.top : box.top + box.height, box.left : box.left + box.width]
        if self._mask is None:
            return inner
        blank = self._blank  # two threads may cut, for judges that want different colours
        if blank is None or tuple(blank[0, 0]) != outside:
            blank = self._blank = np.full(inner.shape, outside, np.uint8)
        masked: Picture = blank.copy()  # to fill it anew with three colours would take ten times as long
        cv2.copyTo(inner, self._mask, masked)
        return masked

    def in_frame(self, sighting: Sighting) -> Sighting:
        """A sighting in its pixels, as one in the frame's."""
        if self._box is None:
            return sighting
        return replace(sighting, box=self._moved(sighting.box), window=self._moved(sighting.window))

    def _moved(self, box: Box) -> Box:
        assert self._box is not None
        return Box(box.left + self._box.left, box.top + self._box.top, box.width, box.height)

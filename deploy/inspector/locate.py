"""Where are the parts? Every frame is one part, or parts travel through the picture on a belt."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from deploy.preprocess import Picture


class Box(NamedTuple):
    """A rectangle in frame pixels; it may reach beyond the frame."""

    left: int
    top: int
    width: int
    height: int

    @property
    def centre(self) -> tuple[float, float]:
        """X and y of the middle."""
        return self.left + self.width / 2, self.top + self.height / 2


@dataclass(frozen=True)
class Sighting:
    """One part in one frame."""

    box: Box
    """The part itself."""
    window: Box
    """What the model looks at."""
    whole: bool
    """Nothing of it is cut off by the picture's border."""

    @property
    def fits(self) -> bool:
        """Is all of the part inside the window?"""
        return self.box.width <= self.window.width and self.box.height <= self.window.height


class Locator(Protocol):
    """Finds the parts of a frame."""

    def find(self, picture: Picture) -> list[Sighting]:
        """Every part in H x W x 3 BGR, whole or cut off by the border."""


def cut(picture: Picture, window: Box) -> Picture:
    """The window's pixels; beyond the frame its border pixels are repeated, so that no edge appears which the part has not."""
    height, width = picture.shape[:2]
    right, bottom = window.left + window.width, window.top + window.height
    inner = picture[max(0, window.top) : min(height, bottom), max(0, window.left) : min(width, right)]
    beyond = (max(0, -window.top), max(0, bottom - height), max(0, -window.left), max(0, right - width))
    return np.asarray(cv2.copyMakeBorder(inner, *beyond, cv2.BORDER_REPLICATE), np.uint8) if any(beyond) else inner


class WholePicture:
    """Every frame is one part."""

    def find(self, picture: Picture) -> list[Sighting]:
        """See `Locator.find`."""
        box = Box(0, 0, picture.shape[1], picture.shape[0])
        return [Sighting(box, box, whole=True)]


class Belt:
    """Parts are what differs from the belt they lie on; each is looked at through a square of `crop` pixels.

    The belt must fill more than half of the picture.
    """

    MIN_CONTRAST = 25
    """Grey levels a part must differ by, however quiet the belt is."""

    def __init__(self, crop: int) -> None:
        self._crop = crop
        self._belt: npt.NDArray[np.float32] | None = None
        self._noise = 0.0
        # Glare and print split a part into pieces: gaps up to a 24th of the crop are bridged, neighbours lie further apart.
        side = max(3, crop // 24) | 1
        self._bridge = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))

    def find(self, picture: Picture) -> list[Sighting]:
        """See `Locator.find`."""
        if self._belt is None or len(self._belt) != len(picture):
            self._belt = self._learn(picture)
        part = self._is_part(self._difference(picture, self._belt))
        # Most of the picture changed at once: that is the lamp or the exposure, not parts.
        if part.mean() > 255 * 0.6:
            self._belt = self._learn(picture)
            part = self._is_part(self._difference(picture, self._belt))
        self._adapt(picture, self._belt, part, rate=0.1)
        found, _, stats, _ = cv2.connectedComponentsWithStats(part, connectivity=8)
        smallest = (self._crop / 8) ** 2
        boxes = [Box(*map(int, stats[i, :4])) for i in range(1, found) if stats[i, cv2.CC_STAT_AREA] >= smallest]
        return [self._sighting(box, picture.shape[1], picture.shape[0]) for box in boxes]

    def _sighting(self, box: Box, width: int, height: int) -> Sighting:
        whole = box.left > 0 and box.top > 0 and box.left + box.width < width and box.top + box.height < height
        x, y = box.centre
        return Sighting(box, Box(round(x - self._crop / 2), round(y - self._crop / 2), self._crop, self._crop), whole)

    def _learn(self, picture: Picture) -> npt.NDArray[np.float32]:
        belt = np.tile(np.median(picture[::4, ::4], axis=(0, 1)).astype(np.float32), (len(picture), 1))
        self._noise = float(np.median(self._difference(picture, belt)[::4, ::4]))
        for _ in range(3):  # from the colour of the whole belt to that of each row
            self._adapt(picture, belt, self._is_part(self._difference(picture, belt)), rate=1.0)
        return belt

    def _adapt(self, picture: Picture, belt: npt.NDArray[np.float32], part: Picture, rate: float) -> None:
        # The belt's colour is kept per row, because lamps light a belt unevenly across but evenly along it, as a mean of the
        # pixels just judged to be belt, so that no part is ever mixed in, and as a running one that follows a lamp's drift
        # within some ten frames. A row with hardly any belt in sight keeps what it knew.
        sample = picture[:, ::4]
        is_belt = cv2.dilate(part, np.ones((9, 9), np.uint8))[:, ::4] == 0
        count = is_belt.sum(axis=1)
        mean = (sample * is_belt[..., None]).sum(axis=1) / np.maximum(count, 1)[:, None]
        seen = count >= 0.1 * is_belt.shape[1]
        belt[seen] += rate * (mean[seen] - belt[seen])
        off = np.abs(sample[::4] - belt[::4, None]).max(axis=2)[is_belt[::4]]
        if off.size:
            self._noise += rate * (float(np.median(off)) - self._noise)

    def _difference(self, picture: Picture, belt: npt.NDArray[np.float32]) -> Picture:
        """H x W, grey levels."""
        plain = cv2.repeat(np.rint(belt).astype(np.uint8)[:, None], 1, picture.shape[1])
        # cv2.max instead of numpy's, which takes ten times as long over three channels.
        blue, green, red = cv2.split(cv2.absdiff(picture, plain))
        return np.asarray(cv2.medianBlur(cv2.max(cv2.max(blue, green), red), 5), np.uint8)

    def _is_part(self, difference: Picture) -> Picture:
        """H x W, 255 where the picture is no belt."""
        # A coarse or dirty belt differs more from its own mean than a clean one: six times its median difference is no belt.
        level = max(self.MIN_CONTRAST, 6 * self._noise)
        return np.asarray(cv2.morphologyEx((difference > level).astype(np.uint8) * 255, cv2.MORPH_CLOSE, self._bridge), np.uint8)

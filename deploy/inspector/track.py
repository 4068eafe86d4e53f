"""Which sighting is which part: each physical part gets one number, and is counted once when it has left."""

import math
from dataclasses import dataclass
from typing import Protocol

from deploy.inspector.locate import Sighting
from deploy.preprocess import Picture

MAX_MISSED = 5
"""Frames in a row in which a part may not be found before it is taken to have left."""


@dataclass(frozen=True)
class Left:
    """A part that is out of sight for good."""

    part: int
    counts: bool
    """False for what was only ever a piece at the border: a part that was leaving as we began, or a shadow."""


@dataclass(frozen=True)
class Followed:
    """What one frame showed."""

    parts: list[int]
    """The part of each sighting, in the order of the sightings."""
    left: list[Left]


class Tracker(Protocol):
    """Gives parts their numbers."""

    def follow(self, sequence: int, picture: Picture, sightings: list[Sighting]) -> Followed:
        """Take in one frame. `sequence` may jump where frames were dropped."""

    def unseen(self) -> int | None:
        """The number of the part behind a frame that could not be read; None if that frame stood for no one part."""

    def end(self) -> list[Left]:
        """Watching ends: everything still in sight has left."""


class EveryFrame:
    """Every frame is another part."""

    def __init__(self) -> None:
        self._last = 0

    def follow(self, sequence: int, picture: Picture, sightings: list[Sighting]) -> Followed:
        """See `Tracker.follow`."""
        parts = [self.unseen() for _ in sightings]
        return Followed(parts, [Left(part, counts=True) for part in parts])

    def unseen(self) -> int:
        """See `Tracker.unseen`."""
        self._last += 1
        return self._last

    def end(self) -> list[Left]:
        """See `Tracker.end`."""
        return []


@dataclass
class _Track:
    part: int
    born: tuple[float, float]
    last: Sighting
    sequence: int
    whole: bool
    missed: int = 0


class OnBelt:
    """Parts ride the same belt: one speed for all of them, and none overtakes another."""

    def __init__(self) -> None:
        self._tracks: list[_Track] = []
        self._last = 0
        self._speed: tuple[float, float] | None = None
        """Pixels per frame of the camera, learnt from parts that were whole in both frames: a cut-off part's centre lags."""
        self._extent = (0, 0)

    def follow(self, sequence: int, picture: Picture, sightings: list[Sighting]) -> Followed:
        """See `Tracker.follow`."""
        self._extent = (picture.shape[1], picture.shape[0])
        matched = self._match(sequence, sightings)
        self._learn_speed(sequence, sightings, matched)
        for track in self._tracks:
            track.missed += 1
        for i, sighting in enumerate(sightings):
            if i not in matched:
                self._last += 1
                matched[i] = _Track(self._last, sighting.box.centre, sighting, sequence, whole=False)
                self._tracks.append(matched[i])
            track = matched[i]
            track.last, track.sequence, track.missed = sighting, sequence, 0
            track.whole = track.whole or sighting.whole
        gone = [track for track in self._tracks if self._is_gone(track, sequence)]
        self._tracks = [track for track in self._tracks if track not in gone]
        return Followed([matched[i].part for i in range(len(sightings))], [self._left(track) for track in gone])

    def unseen(self) -> None:
        """See `Tracker.unseen`."""
        return None

    def end(self) -> list[Left]:
        """See `Tracker.end`. The belt may start again at another speed."""
        left = [self._left(track) for track in self._tracks]
        self._tracks, self._speed = [], None
        return left

    def _match(self, sequence: int, sightings: list[Sighting]) -> dict[int, _Track]:
        """Nearest pairs of expectation and sighting first; each track and each sighting is used once.

        What was whole is looked for among what is whole first: while the belt's speed is unknown, the next part just coming in
        may be nearer to where a part was than the part itself.
        """
        pairs = []
        for t, track in enumerate(self._tracks):
            for i, sighting in enumerate(sightings):
                distance = math.dist(self._expected(track, sequence), sighting.box.centre)
                if distance <= self._reach(track, sighting, sequence) and not self._is_behind(track, sighting):
                    pairs.append((track.last.whole and not sighting.whole, distance, t, i))
        matched: dict[int, _Track] = {}
        taken: set[int] = set()
        for _, _, t, i in sorted(pairs):
            if t not in taken and i not in matched:
                taken.add(t)
                matched[i] = self._tracks[t]
        return matched

    def _expected(self, track: _Track, sequence: int) -> tuple[float, float]:
        x, y = track.last.box.centre
        steps = sequence - track.sequence
        return (x, y) if self._speed is None else (x + self._speed[0] * steps, y + self._speed[1] * steps)

    def _reach(self, track: _Track, sighting: Sighting, sequence: int) -> float:
        """How far from its expected place a part may be found, in pixels. The next part is further away than a part is long."""
        size = _size(track, sighting)
        if self._speed is None:
            return size
        # Half a step more, because the visible centre of a part that the border cuts off moves at half the belt's speed.
        return size / 2 + math.hypot(*self._speed) * (sequence - track.sequence) / 2

    def _is_behind(self, track: _Track, sighting: Sighting) -> bool:
        """Belts do not run backwards: what lies behind the place where a part was last seen is the next part."""
        if self._speed is None or (speed := math.hypot(*self._speed)) < 1:
            return False
        was, now = track.last.box.centre, sighting.box.centre
        onward = ((now[0] - was[0]) * self._speed[0] + (now[1] - was[1]) * self._speed[1]) / speed
        return onward < -_size(track, sighting) / 4

    def _learn_speed(self, sequence: int, sightings: list[Sighting], matched: dict[int, _Track]) -> None:
        for i, track in matched.items():
            if not (sightings[i].whole and track.last.whole):
                continue
            steps = sequence - track.sequence
            was, now = track.last.box.centre, sightings[i].box.centre
            speed = ((now[0] - was[0]) / steps, (now[1] - was[1]) / steps)
            before = self._speed or speed
            self._speed = ((before[0] + speed[0]) / 2, (before[1] + speed[1]) / 2)

    def _is_gone(self, track: _Track, sequence: int) -> bool:
        if track.missed == 0:
            return False
        x, y = self._expected(track, sequence)
        return track.missed > MAX_MISSED or not (0 <= x < self._extent[0] and 0 <= y < self._extent[1])

    def _left(self, track: _Track) -> Left:
        x, y = track.last.box.centre
        crossed = max(abs(x - track.born[0]) / self._extent[0], abs(y - track.born[1]) / self._extent[1])
        return Left(track.part, counts=track.whole or crossed > 1 / 3)


def _size(track: _Track, sighting: Sighting) -> int:
    return max(*track.last.box[2:], *sighting.box[2:])

"""The demo conveyor: parts travel left to right under the camera at a slightly uneven speed, with gaps that vary."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deploy.preprocess import Picture
from pipeline.data.demo.camera import STILL, Light, Patch, belt_at, draw_light, expose, lay, light_part
from pipeline.data.demo.parts import half_width
from pipeline.data.demo.stills import MAX_TILT, PASSING, LotPart, made_part, stream

WIDTH, HEIGHT = 640, 360
"""Size of a frame in pixels."""
FPS = 25
_LEAD = 170  # pixels of empty belt before the first part and after the last
_MARGIN = 1.5  # pixels: edges are soft


@dataclass(frozen=True)
class Passage:
    """One part on its way through the picture."""

    part: LotPart
    angle: float
    """Radians."""
    start: int
    """Where its centre is when the belt has not moved yet, pixels from the picture's left edge (negative)."""
    row: int
    """Height of its centre in the picture, pixels."""
    first_frame: int
    """First and last frame with the whole part inside the picture."""
    last_frame: int


@dataclass(frozen=True)
class Conveyor:
    """Everything that will happen, decided before a frame is rendered."""

    seed: int
    passages: tuple[Passage, ...]
    travel: npt.NDArray[np.int64]
    """How far the belt has moved at each frame, whole pixels."""


def plan_conveyor(lot: Sequence[LotPart], seed: int) -> Conveyor:
    """Decide gaps, positions and speed for a lot of parts, in order of arrival."""
    rng = stream(seed, 0, PASSING)
    starts: list[int] = []
    angles = rng.uniform(-MAX_TILT, MAX_TILT, len(lot))
    edge = float(-_LEAD)  # everything from here to the left is still empty
    for index, angle in enumerate(angles):
        half = half_width(angle) + _MARGIN
        starts.append(int(np.floor(edge - half)))
        edge = starts[-1] - half - _gap(rng, index)
    length = WIDTH - starts[-1] + half_width(angles[-1]) + _LEAD
    speed = 14 + 1.4 * np.sin(np.arange(int(length / 12) + 2) / 27 + rng.uniform(0, 6))
    speed = np.clip(speed + rng.normal(0, 0.2, len(speed)), 12.5, 15.5)  # whole pixels per frame stay within 12..16
    moved = np.rint(np.cumsum(speed) - speed[0]).astype(np.int64)
    travel = moved[: int(np.searchsorted(moved, length)) + 1]

    passages = []
    for part, angle, start in zip(lot, angles, starts, strict=True):
        half = half_width(angle) + _MARGIN
        inside = np.flatnonzero((start + travel - half >= 0) & (start + travel + half <= WIDTH))
        row = HEIGHT // 2 + int(rng.integers(-14, 15))
        passages.append(Passage(part, float(angle), start, row, int(inside[0]), int(inside[-1])))
    return Conveyor(seed, tuple(passages), travel)


def render_frames(conveyor: Conveyor) -> Iterator[Picture]:
    """Every frame in order, HEIGHT x WIDTH x 3; a part is drawn when it comes and forgotten when it has left."""
    noise = stream(conveyor.seed, 1, PASSING)
    lamp = draw_light(stream(conveyor.seed, 2, PASSING), drift=0.0)
    patches: dict[int, Patch] = {}
    for frame, travel in enumerate(conveyor.travel):
        # The lamp is fixed for all parts in view, and only its power drifts: a step between parts would give them away.
        light = Light(lamp.azimuth, 1 + 0.06 * float(np.sin(frame / 90)), 0.5 * lamp.gradient, lamp.cast)
        scene = belt_at(int(travel), 80, WIDTH, HEIGHT)
        for index, passage in enumerate(conveyor.passages):
            left = passage.start + int(travel) - STILL // 2
            if not -STILL < left < WIDTH:
                patches.pop(index, None)
                continue
            if index not in patches:
                part, mask = made_part(conveyor.seed, passage.part)
                patches[index] = light_part(part, mask, lamp, passage.angle, (0.0, 0.0))
            lay(scene, patches[index], left, passage.row - STILL // 2)
        yield expose(scene, light, noise)


def _gap(rng: np.random.Generator, index: int) -> float:
    """Pixels of belt behind a part: mostly loose, now and then two parts close together, or long enough to see only belt."""
    if index % 7 == 2:
        return float(rng.uniform(42, 58))
    if index % 9 == 4:
        return float(rng.uniform(WIDTH + 40, WIDTH + 140))
    return float(rng.uniform(105, 235))

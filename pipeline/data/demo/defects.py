"""What can be wrong with a demo part. Each defect draws how hard it is to see, 0..1, and returns the part with its mask.

The hardest defects still stand out from dust, tool marks and shade: subtle, never invisible.
"""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.data.demo.parts import CANVAS, CHAMFER, HOLE, HOLES, RADIUS, RECESS, RIM, SCALE, Part, Plane, X, Y, smooth_noise

DEFECT_TYPES = ("scratch", "crack", "dent", "stain", "chipped_edge", "missing_hole")

_Points = npt.NDArray[np.float64]
"""N x 2, or one point: x, y in pixels from the part's centre."""
_TRIES = 24


def spoil(part: Part, defect_type: str, rng: np.random.Generator) -> tuple[Part, Plane]:
    """Give the part one defect; returns it with the mask, 1 where the defect is."""
    return _MAKERS[defect_type](part, rng, float(rng.uniform(0, 1)))


def _scratch(part: Part, rng: np.random.Generator, hard: float) -> tuple[Part, Plane]:
    """A long, slightly bent streak across the finish: bright where metal is bare, dark along one side."""
    best: _Points = np.empty((0, 2))
    most = 0
    for _ in range(_TRIES):
        length = _between(78, 38, hard) * rng.uniform(0.85, 1.15)
        heading = rng.uniform(0.45, np.pi - 0.45) + (part.brushed or 0.0)  # never along the brushing
        along, bend = np.linspace(-0.5, 0.5, 24), rng.uniform(-0.07, 0.07)
        line = np.stack([along, bend * (1 - 4 * along**2)], axis=1) * length
        path = _pick(rng, part.land > 8) + line @ np.array(
            [[np.cos(heading), np.sin(heading)], [-np.sin(heading), np.cos(heading)]]
        )
        path = path[_at(part.land, path) > 3.5]
        plain = len(path) - 2 * np.count_nonzero(np.abs(_at(RADIUS, path) - RECESS) < 2)  # not hidden along the recess's step
        if plain > most:
            best, most = path, plain
    core = _stroke(best, 3)
    flank = np.clip(_stroke(best + np.array([1.0, 0.7]), 2) - core, 0, 1)
    core, flank = (line * (1 + 0.22 * np.clip(smooth_noise(rng, 6), -1, 1)) for line in (core, flank))  # the tool skipped
    light = _between(0.44, 0.30, hard) * core - _between(0.42, 0.32, hard) * flank
    albedo = np.clip(part.albedo * (1 + light[..., None]), 0, 1)
    return replace(part, albedo=albedo), _grown(core + flank, 1.2) * part.metal


def _crack(part: Part, rng: np.random.Generator, hard: float) -> tuple[Part, Plane]:
    """A thin dark jagged line that starts at an edge and wanders inwards, sometimes with a branch."""
    slope_x, slope_y = np.gradient(cv2.GaussianBlur(part.land, (0, 0), 6))[::-1]
    best: _Points = np.empty((0, 2))
    for _ in range(_TRIES):
        point = _pick(rng, np.abs(part.land - 1) < 0.5)
        heading = np.arctan2(_at(slope_y, point[None])[0], _at(slope_x, point[None])[0])
        path = _wander(part, rng, point, heading, round(_between(17, 10, hard)))
        if len(path) > len(best):
            best = path
    drawn = _tapered(best, 4 if hard < 0.6 else 3)
    if hard < 0.7 and len(best) > 5:
        fork = len(best) // 2
        away = best[fork] - best[fork - 1]
        turned = np.arctan2(away[1], away[0]) + rng.choice((-1.0, 1.0)) * rng.uniform(0.6, 1.0)
        drawn = np.maximum(drawn, _tapered(_wander(part, rng, best[fork], turned, 5), 3))
    depth = _between(0.8, 0.58, hard) * drawn
    return replace(part, albedo=part.albedo * (1 - depth[..., None])), _grown(drawn, 1.2) * part.metal


def _dent(part: Part, rng: np.random.Generator, hard: float) -> tuple[Part, Plane]:
    """A smooth hollow: a shadow on the light's side, a highlight across from it."""
    size = _between(15, 9, hard)
    x, y = _pick(rng, part.land > size * 0.55)
    turn, oval = rng.uniform(0, np.pi), rng.uniform(0.75, 1.0)
    along, across = (X - x) * np.cos(turn) + (Y - y) * np.sin(turn), (Y - y) * np.cos(turn) - (X - x) * np.sin(turn)
    hollow = np.maximum(0, 1 - (along**2 + (across / oval) ** 2) / size**2)
    depth = size * _between(0.50, 0.34, hard)
    relief = part.relief - depth * hollow**2.5
    polished = 1 - 0.06 * np.sqrt(hollow)  # the finish is pressed flat and a little darker
    changed = replace(part, relief=relief.astype(np.float32), albedo=(part.albedo * polished[..., None]).astype(np.float32))
    return changed, (hollow > 0.12).astype(np.float32) * part.metal


def _stain(part: Part, rng: np.random.Generator, hard: float) -> tuple[Part, Plane]:
    """An irregular discoloured patch with a darker rim where it dried: oil, coolant, rust or heat."""
    colour = np.array(((0.45, 0.60, 0.76), (0.36, 0.55, 0.82), (0.58, 0.58, 0.58), (0.86, 0.66, 0.56))[rng.integers(4)])
    size = _between(21, 11, hard)
    x, y = _pick(rng, part.land > size * 0.4)
    away = np.hypot(X - x, (Y - y) * rng.uniform(0.8, 1.3)) / size
    inside = 1 - away + 0.22 * smooth_noise(rng, 5) + 0.05 * smooth_noise(rng, 1.5)
    patch = np.clip(inside * 6, 0, 1) * (away < 1.7)
    strength = _between(0.85, 0.62, hard) * patch * (0.85 + 0.3 * np.exp(-((inside - 0.12) ** 2) / 0.008))
    albedo = part.albedo * (1 - strength[..., None] * (1 - colour))
    return replace(part, albedo=albedo.astype(np.float32)), (patch > 0.4).astype(np.float32) * part.metal


def _chipped_edge(part: Part, rng: np.random.Generator, hard: float) -> tuple[Part, Plane]:
    """A bite out of the outline: the belt shows, and the break is rough and bright."""
    size = _between(16, 10, hard)
    centre = _pick(rng, np.abs(RIM) < 0.6)
    corners = np.linspace(0, 2 * np.pi, 13)[:-1] + rng.uniform(-0.15, 0.15, 12)
    jagged = size * rng.uniform(0.78, 1.15, 12)
    outline = centre + np.stack([np.cos(corners), np.sin(corners)], axis=1) * jagged[:, None]
    bite = np.zeros((CANVAS, CANVAS), np.uint8)
    cv2.fillPoly(bite, [_pixels(outline)], 255, cv2.LINE_AA, 4)
    gone = _unit(bite)
    facet = np.clip(_grown(gone, _between(5.5, 4.2, hard)) - gone, 0, 1)
    cells = cv2.resize(rng.uniform(0.7, 1.65, (70, 70)).astype(np.float32), (CANVAS, CANVAS), interpolation=cv2.INTER_NEAREST)
    albedo = part.albedo * (1 + facet * (cells - 1))[..., None]
    broken = replace(part, metal=part.metal * (1 - gone), albedo=np.clip(albedo, 0, 1).astype(np.float32))
    return broken, np.clip(gone + facet, 0, 1) * part.metal


def _missing_hole(part: Part, rng: np.random.Generator, hard: float) -> tuple[Part, Plane]:
    """A bolt hole that was never drilled; the harder ones were at least spotted with a countersink."""
    x, y = HOLES[rng.integers(len(HOLES))]
    off = np.hypot(X - x, Y - y)
    place = (off < HOLE + CHAMFER + 1).astype(np.float32)
    # Outside the hole's chamfer the spot face is level: carry that level, and the finish, across the place of the hole.
    level = np.float32(part.relief[np.abs(off - HOLE - CHAMFER - 2) < 0.5].mean())
    sunk = np.clip(HOLE * 0.8 - off, 0, 3) * (0.5 if hard > 0.5 else 0.0) + np.clip(2 - off, 0, 2) * 0.6
    relief = np.where(place > 0, level - sunk, part.relief).astype(np.float32)
    solid = np.maximum(part.metal, place)
    return replace(part, metal=solid, outline=np.maximum(part.outline, place), relief=relief), place


_MAKERS: dict[str, Callable[[Part, np.random.Generator, float], tuple[Part, Plane]]] = {
    "scratch": _scratch,
    "crack": _crack,
    "dent": _dent,
    "stain": _stain,
    "chipped_edge": _chipped_edge,
    "missing_hole": _missing_hole,
}


def _between(easy: float, difficult: float, hard: float) -> float:
    return easy + (difficult - easy) * hard


def _pick(rng: np.random.Generator, allowed: npt.NDArray[np.bool_]) -> _Points:
    """A random place (x, y) where `allowed` holds."""
    places = np.flatnonzero(allowed)
    place = int(places[rng.integers(len(places))])
    return np.array([X.flat[place], Y.flat[place]], np.float64)


def _at(plane: npt.NDArray[np.floating], points: _Points) -> npt.NDArray[np.float64]:
    """The plane's values at the points."""
    index = np.clip(np.rint(points * SCALE + (CANVAS - 1) / 2), 0, CANVAS - 1).astype(np.intp)
    return np.asarray(plane[index[:, 1], index[:, 0]], np.float64)


def _pixels(points: _Points) -> npt.NDArray[np.int32]:
    """Canvas coordinates with the four fractional bits that cv2's drawing takes."""
    return np.rint((points * SCALE + (CANVAS - 1) / 2) * 16).astype(np.int32)


def _stroke(points: _Points, thickness: int) -> Plane:
    """A line `thickness` samples wide, 0..1."""
    drawn = np.zeros((CANVAS, CANVAS), np.uint8)
    cv2.polylines(drawn, [_pixels(points)], False, 255, thickness, cv2.LINE_AA, 4)
    return _unit(drawn)


def _unit(drawn: npt.NDArray[np.uint8]) -> Plane:
    """0..255 to 0..1."""
    return np.asarray(drawn / 255, np.float32)


def _tapered(points: _Points, thickness: int) -> Plane:
    """A stroke whose second half is thinner."""
    half = len(points) // 2 + 1
    return np.maximum(_stroke(points[:half], thickness), _stroke(points[half - 1 :], thickness - 1))


def _wander(part: Part, rng: np.random.Generator, start: _Points, heading: float, steps: int) -> _Points:
    """A jagged path on the metal, from `start` until it meets an edge or has taken its steps of about 4 pixels."""
    path = [start]
    for _ in range(steps):
        bearing = heading + rng.uniform(-0.85, 0.85)
        heading += rng.uniform(-0.2, 0.2)
        point = path[-1] + rng.uniform(2.5, 5.5) * np.array([np.cos(bearing), np.sin(bearing)])
        if _at(part.land, point[None])[0] < 1.5 and len(path) > 1:
            break
        path.append(point)
    return np.array(path)


def _grown(plane: Plane, pixels: float) -> Plane:
    """Dilate by `pixels` on every side."""
    reach = 2 * round(pixels * SCALE) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    return np.asarray(np.clip(cv2.dilate(plane, disc), 0, 1), np.float32)

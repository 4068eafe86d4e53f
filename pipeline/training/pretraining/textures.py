"""What a surface looks like, by formula: a texture's kind fixes its formula and parameters, a picture's dice do the rest.

Telling such kinds apart teaches a network to see, without a single real picture: Kataoka et al., Pre-training without Natural
Images, ACCV 2020 (iterated function systems, `fractal`); Baradad et al., Learning to See by Looking at Noise, NeurIPS 2021
(spectra and dead leaves, `noise`, `leaves`). The other formulas are what machines leave on parts: grinding, turning, weaving.
"""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]
"""SIDE x SIDE, or SIDE x SIDE x 3 in BGR."""
Dice = np.random.Generator

SIDE = 96
"""Height and width of every picture, in pixels."""
KINDS = 192
_TICKS = np.arange(SIDE, dtype=np.float32) - SIDE / 2
_X, _Y = np.meshgrid(_TICKS, _TICKS)
_FX, _FY = np.meshgrid(np.fft.rfftfreq(SIDE).astype(np.float32), np.fft.fftfreq(SIDE).astype(np.float32))


def draw_texture(kind: int, dice: Dice) -> Plane:
    """A picture of one of the KINDS textures: -1..1, mean about 0. Direction, size (by a fifth) and place are the dice's."""
    formula = FORMULAS[kind % len(FORMULAS)]
    plane = formula(np.random.default_rng([20, kind]), dice)
    if formula is plain:
        return plane
    centred = plane - plane.mean()
    return np.asarray(np.clip(centred / (2.5 * centred.std() + 1e-6), -1, 1), np.float32)


def soft_noise(dice: Dice, wavelength: float) -> Plane:
    """Isotropic noise whose features are about `wavelength` pixels wide; unit variance."""
    return _filtered(dice, np.exp(-0.5 * (np.hypot(_FX, _FY) * wavelength) ** 2))


def smooth_step(plane: Plane, width: float) -> Plane:
    """0 below, 1 above zero, over about `width` units."""
    return np.asarray(np.clip(plane / max(width, 1e-6) + 0.5, 0, 1), np.float32)


def noise(fixed: Dice, dice: Dice) -> Plane:
    """Power-law spectrum, from grit to clouds; stretched, it is a brushed or ground face."""
    slope, stretch = fixed.uniform(0.4, 2.2), np.exp(fixed.choice([0.0, 1.0]) * fixed.uniform(0.7, 3.5))
    fx, fy = _turned(_FX, _FY, dice.uniform(0, np.pi))
    return _filtered(dice, (np.hypot(fx * stretch, fy) + 0.01) ** -slope)


def peel(fixed: Dice, dice: Dice) -> Plane:
    """One band of wavelengths: orange peel, hammered and shot-peened metal."""
    wavelength, width, stretch = _size(fixed, dice, 4, 30), fixed.uniform(0.15, 0.5), np.exp(fixed.uniform(0, 1.2))
    fx, fy = _turned(_FX, _FY, dice.uniform(0, np.pi))
    octaves = np.log2(np.hypot(fx * stretch, fy) * wavelength + 1e-6)
    return _filtered(dice, np.exp(-0.5 * (octaves / width) ** 2))


def spots(fixed: Dice, dice: Dice) -> Plane:
    """Noise cut at a level: islands, terrazzo, corrosion."""
    wavelength, level, width = _size(fixed, dice, 5, 28), fixed.uniform(-1.2, 1.2), fixed.uniform(0.05, 0.6)
    return smooth_step(soft_noise(dice, wavelength) - np.float32(level), width)


def waves(fixed: Dice, dice: Dice) -> Plane:
    """One to three crossing gratings: sine, square or saw."""
    x, y = _grid(dice)
    total = np.zeros_like(x)
    for _ in range(fixed.integers(1, 4)):
        u, _ = _turned(x, y, fixed.uniform(0, np.pi))
        phase = u / _size(fixed, dice, 4, 30) + dice.uniform()
        total += (np.sin(2 * np.pi * phase), np.sign(np.sin(2 * np.pi * phase)), phase % 1 - 0.5)[fixed.integers(3)]
    return np.asarray(total, np.float32)


def weave(fixed: Dice, dice: Dice) -> Plane:
    """Threads over and under each other; `twill` shifts the pattern from row to row."""
    x, y = _grid(dice)
    pitch, over, twill = _size(fixed, dice, 5, 18), int(fixed.integers(1, 4)), int(fixed.integers(1, 3))
    column, row = np.floor(x / pitch), np.floor(y / pitch)
    on_top = (column + twill * row) % (over + 1) < over
    return np.asarray(np.where(on_top, np.sin(np.pi * (x / pitch % 1)), 0.75 * np.sin(np.pi * (y / pitch % 1))), np.float32)


def fractal(fixed: Dice, dice: Dice) -> Plane:
    """Attractor of an iterated function system, as in FractalDB."""
    count = int(fixed.integers(2, 6))
    maps = fixed.uniform(-1, 1, (count, 2, 2))
    maps *= (fixed.uniform(0.65, 0.98, count) / np.linalg.norm(maps, 2, axis=(1, 2)))[:, None, None]
    moves = fixed.uniform(-1, 1, (count, 2))
    points, path = np.zeros((256, 2)), []
    for step in range(40):
        chosen = dice.integers(count, size=len(points))
        points = np.einsum("nij,nj->ni", maps[chosen], points) + moves[chosen]
        if step >= 8:
            path.append(points)
    x, y = np.concatenate(path).astype(np.float32).T
    x, y = _turned(x, y, dice.uniform(0, 2 * np.pi))
    reach = SIDE * np.exp(dice.uniform(-0.5, 0))
    cells = [np.clip(reach * ((u - u.min()) / (np.ptp(u) + 1e-6) - 0.5) + SIDE / 2, 0, SIDE - 1).astype(int) for u in (y, x)]
    hits = np.bincount(cells[0] * SIDE + cells[1], minlength=SIDE**2)
    return np.asarray(cv2.GaussianBlur(np.sqrt(hits.reshape(SIDE, SIDE)).astype(np.float32), (0, 0), 0.8), np.float32)


def grains(fixed: Dice, dice: Dice) -> Plane:
    """Voronoi cells: crystal grains with lighter or darker borders, cobbles, leather."""
    spacing, border, relief = _size(fixed, dice, 7, 30), fixed.uniform(-1, 1), fixed.uniform(0, 1)
    seeds = np.full((SIDE, SIDE), 255, np.uint8)
    seeds.flat[dice.integers(SIDE**2, size=max(4, int((SIDE / spacing) ** 2)))] = 0
    away, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5)
    shade = dice.uniform(-1, 1, labels.max() + 1).astype(np.float32)[labels]
    edge = cv2.morphologyEx(labels.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8)) > 0
    dome = np.float32(2 * relief / spacing) * away
    return np.asarray(shade * np.float32(1 - relief) - dome + np.float32(border) * edge, np.float32)


def lattice(fixed: Dice, dice: Dice) -> Plane:
    """Holes or studs in rows, square or staggered: perforated sheet, chequer plate."""
    x, y = _grid(dice)
    pitch, share, skew, oval = _size(fixed, dice, 8, 32), fixed.uniform(0.2, 0.42), fixed.choice([0, 0.5]), fixed.uniform(1, 2)
    row = np.floor(y / pitch)
    u, v = (x / pitch + skew * row) % 1 - 0.5, y / pitch % 1 - 0.5
    return smooth_step((share - np.hypot(u, v * oval)).astype(np.float32), fixed.uniform(0.05, 0.5))


def veins(fixed: Dice, dice: Dice) -> Plane:
    """Stripes bent by noise: wood, marble, flow lines."""
    x, _ = _grid(dice)
    bent = x / _size(fixed, dice, 5, 30) + fixed.uniform(0.1, 1.2) * soft_noise(dice, _size(fixed, dice, 40, 120))
    return np.asarray(np.abs(np.sin(np.pi * bent)) ** np.float32(fixed.uniform(0.3, 2)), np.float32)


def rings(fixed: Dice, dice: Dice) -> Plane:
    """Turning and facing marks: rings or a spiral about a centre that may lie outside."""
    middle = dice.uniform(-1, 1, 2) * fixed.choice([10, 120])
    x, y = _X - np.float32(middle[0]), _Y - np.float32(middle[1])
    phase = np.hypot(x, y) / _size(fixed, dice, 3, 20) + fixed.integers(0, 3) * np.arctan2(y, x) / (2 * np.pi)
    wander = fixed.uniform(0, 0.4) * soft_noise(dice, 40)
    return np.asarray(
        np.sin(2 * np.pi * (phase + wander)) * (1 + np.float32(fixed.uniform(0, 1)) * np.sin(phase * 1.7)), np.float32
    )


def strokes(fixed: Dice, dice: Dice) -> Plane:
    """Straight marks around one direction, or around all: ground faces, fibres, chopped strands."""
    count, spread, length = int(fixed.integers(40, 240)), fixed.choice([0.08, 0.5, 3.2]), fixed.uniform(10, 120)
    canvas = np.zeros((SIDE, SIDE), np.float32)
    start, angle = dice.uniform(-20, SIDE + 20, (count, 2)), dice.uniform(0, np.pi) + dice.uniform(-spread, spread, count)
    end = start + length * np.stack([np.cos(angle), np.sin(angle)], 1)
    lines = np.rint(16 * np.stack([start, end], 1)).astype(np.int32)
    for shade, part in zip((1.0, -1.0), np.array_split(lines, 2), strict=True):
        cv2.polylines(canvas, list(part), False, shade, 1, cv2.LINE_8, 4)
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), fixed.uniform(0.5, 1.2)), np.float32)


def leaves(fixed: Dice, dice: Dice) -> Plane:
    """Dead leaves: discs, boxes or polygons of power-law sizes that cover each other."""
    corners, smallest = int(fixed.choice([3, 4, 6, 24])), fixed.uniform(2, 8)
    canvas = np.full((SIDE, SIDE), 0.5, np.float32)
    count = 150
    radius = np.minimum(smallest / np.sqrt(dice.uniform(0.002, 1, count)), 70)
    turns = dice.uniform(0, 2 * np.pi, (count, 1)) + np.linspace(0, 2 * np.pi, corners, endpoint=False)
    shapes = dice.uniform(0, SIDE, (count, 1, 2)) + radius[:, None, None] * np.stack([np.cos(turns), np.sin(turns)], 2)
    for shape, shade in zip(np.rint(shapes).astype(np.int32), dice.uniform(0, 1, count), strict=True):
        cv2.fillConvexPoly(canvas, shape, float(shade))
    return canvas


def pimples(fixed: Dice, dice: Dice) -> Plane:
    """Sparse soft dots of one size: spatter, powder coating, sand casting."""
    size, share = _size(fixed, dice, 0.9, 4), fixed.uniform(0.02, 0.2)
    dots = np.zeros((SIDE, SIDE), np.float32)
    where = dice.integers(SIDE**2, size=max(3, int(share * (SIDE / size / 2) ** 2)))
    dots.flat[where] = dice.uniform(0.5, 1, len(where)) * np.sign(dice.uniform(fixed.uniform(-1, 0), 1, len(where)))
    return np.asarray(cv2.GaussianBlur(dots, (0, 0), size), np.float32)


def ripples(fixed: Dice, dice: Dice) -> Plane:
    """Circular waves from some sources: chatter, milling by a fly cutter."""
    total = np.zeros_like(_X)
    wavelength = _size(fixed, dice, 5, 24)
    for x, y in dice.uniform(-SIDE, SIDE, (int(fixed.integers(2, 5)), 2)).astype(np.float32):
        total += np.sin(2 * np.pi * np.hypot(_X - x, _Y - y) / np.float32(wavelength))
    return np.asarray(total, np.float32)


def bricks(fixed: Dice, dice: Dice) -> Plane:
    """Tiles with joints, each of its own shade: bricks, parquet, checkers."""
    x, y = _grid(dice)
    height, ratio, joint = _size(fixed, dice, 8, 30), fixed.choice([1, 2, 3]), fixed.uniform(0.04, 0.2)
    row = np.floor(y / height)
    column = np.floor(x / (height * ratio) + row * fixed.choice([0, 0.5]))
    shade = np.modf(np.abs(np.sin(column * 12.9898 + row * 78.233 + dice.uniform())) * 43758.5)[0]
    in_joint = (y / height % 1 < joint) | ((x / (height * ratio) + row * 0.5 * (ratio > 1)) % 1 < joint / ratio)
    return np.asarray(np.where(in_joint, fixed.choice([-1.5, 2.5]), shade * fixed.uniform(0, 1)), np.float32)


def plain(fixed: Dice, dice: Dice) -> Plane:
    """Nearly nothing: a painted or polished face, where every speck counts."""
    wavelength, amplitude = fixed.uniform(2, 60), fixed.uniform(0, 0.12)
    return np.asarray(np.clip(amplitude * soft_noise(dice, wavelength), -1, 1), np.float32)


FORMULAS: tuple[Callable[[Dice, Dice], Plane], ...] = (
    noise, peel, spots, waves, weave, fractal, grains, lattice, veins, rings, strokes, leaves, pimples, ripples, bricks, plain,
)  # fmt: skip


def _size(fixed: Dice, dice: Dice, low: float, high: float) -> float:
    """A length of the kind's, log-uniform in low..high, that varies by a fifth between pictures."""
    return float(np.exp(fixed.uniform(np.log(low), np.log(high)) + dice.uniform(-0.2, 0.2)))


def _grid(dice: Dice) -> tuple[Plane, Plane]:
    x, y = _turned(_X, _Y, dice.uniform(0, np.pi))
    return x + np.float32(dice.uniform(0, 200)), y + np.float32(dice.uniform(0, 200))


def _turned(x: Plane, y: Plane, angle: float) -> tuple[Plane, Plane]:
    cosine, sine = x.dtype.type(np.cos(angle)), x.dtype.type(np.sin(angle))
    return x * cosine - y * sine, x * sine + y * cosine


def _filtered(dice: Dice, gain: Plane) -> Plane:
    white = dice.standard_normal((SIDE, SIDE), np.float32)
    plane = np.fft.irfft2(np.fft.rfft2(white) * gain, (SIDE, SIDE))
    return np.asarray(plane / (plane.std() + 1e-6), np.float32)

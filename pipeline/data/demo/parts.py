"""The demo line's part: a machined flange plate, its finish, and the harmless variation that is NOT a defect.

All planes are CANVAS x CANVAS at SCALE samples per picture pixel, in the part's own frame; lengths are picture pixels.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]
"""H x W, or H x W x 3 in BGR."""

SCALE = 2
"""Samples per picture pixel: edges and hairlines are drawn fine and averaged down, as a lens does."""
CANVAS = 200 * SCALE
PLATE = (172.0, 148.0)
"""Width and height of the plate."""
CORNER = 28.0
BORE = 25.0
RECESS = 44.0
HOLE = 9.0
SPOT_FACE = 16.0
HOLES = ((-60.0, -48.0), (60.0, -48.0), (60.0, 48.0), (-60.0, 48.0))
"""Where the four bolt holes belong."""
CHAMFER = 2.6

_ticks = (np.arange(CANVAS, dtype=np.float32) - (CANVAS - 1) / 2) / SCALE
X, Y = np.meshgrid(_ticks, _ticks)
RADIUS = np.hypot(X, Y)
_plate_x, _plate_y = np.abs(X) - (PLATE[0] / 2 - CORNER), np.abs(Y) - (PLATE[1] / 2 - CORNER)
RIM: Plane = (
    CORNER - np.hypot(np.maximum(_plate_x, 0), np.maximum(_plate_y, 0)) - np.minimum(np.maximum(_plate_x, _plate_y), 0)
).astype(np.float32)
"""Distance to the plate's outer edge, positive inside."""
_KEYWAY = np.maximum(np.abs(X) - 4.5, np.maximum(-Y - 31, Y))
_OFF_BORE = np.minimum(RADIUS - BORE, _KEYWAY)


@dataclass(frozen=True)
class Part:
    """One part, before light falls on it."""

    metal: Plane
    """1 where there is metal, 0 where the belt shows, in between on edges."""
    outline: Plane
    """`metal` as it was meant to be: what casts the shadow, chipped or not."""
    land: Plane
    """Distance to the nearest edge of the metal (rim, hole, bore), positive on the metal."""
    relief: Plane
    """Height of the machined shape: chamfers, recess, spot faces."""
    grain: Plane
    """Height of the finish, everywhere, so that a hole that was never drilled has it too."""
    albedo: Plane
    """H x W x 3, BGR: how much light comes back, 0..1."""
    turned: Plane
    """1 where the face was turned in circles around `centre_*`: it shows a bow-tie highlight."""
    swirl: Plane
    """Direction of the turning radius, radians."""
    brushed: float | None
    """Direction of the brushing, radians; None for a cast finish."""


def half_width(angle: float) -> float:
    """Half of the plate's extent along the belt when it lies turned by `angle` radians, in pixels."""
    straight = (PLATE[0] / 2 - CORNER) * abs(np.cos(angle)) + (PLATE[1] / 2 - CORNER) * abs(np.sin(angle))
    return float(straight + CORNER)


def draw_part(rng: np.random.Generator) -> Part:
    """A good part: fixed design, its own tolerances, finish, tool marks, shade and dust."""
    hole = HOLE + rng.uniform(-0.4, 0.4)
    off_holes = [np.hypot(X - x, Y - y) for x, y in HOLES]
    nearest = np.minimum.reduce(off_holes)
    land = np.minimum(np.minimum(RIM, _OFF_BORE), nearest - hole)
    metal = _edge(land)

    relief = -0.8 * np.maximum(0, CHAMFER - land)
    relief -= 0.9 * _edge(RECESS + rng.uniform(-0.6, 0.6) - RADIUS, 1.2)
    relief -= 0.5 * _edge(SPOT_FACE - nearest, 1.0)

    turned = np.maximum(_edge(RECESS - 1 - RADIUS), _edge(SPOT_FACE - 1 - nearest))
    swirl = np.arctan2(Y, X)
    for (x, y), off in zip(HOLES, off_holes, strict=True):
        swirl = np.where(off < SPOT_FACE, np.arctan2(Y - y, X - x), swirl)

    brushed = rng.uniform(-0.15, 0.15) if rng.random() < 0.6 else None
    grain, finish = _cast(rng) if brushed is None else _brushed(rng, brushed)
    reflectance = rng.uniform(0.58, 0.68) * (1 + finish * (1 - 0.7 * turned))
    reflectance *= 1 + turned * 0.018 * _turning(rng, np.where(RADIUS < SPOT_FACE + RECESS / 2 + 8, RADIUS, nearest))
    reflectance *= 1 + _tool_marks(rng) * (1 - turned)
    reflectance *= 1 + 0.045 * _clouds(rng, 45) + _dust(rng)
    tint = 1 + rng.uniform(-0.02, 0.02) * np.array([-1, 0, 1]) + (np.array([-0.02, 0, 0.01]) if brushed is None else 0)
    albedo = np.clip(reflectance, 0, 1)[..., None] * tint
    return Part(
        metal,
        metal,
        land.astype(np.float32),
        relief.astype(np.float32),
        (grain * (1 - 0.8 * turned)).astype(np.float32),
        albedo.astype(np.float32),
        turned,
        swirl.astype(np.float32),
        brushed,
    )


def smooth_noise(rng: np.random.Generator, sigma: float) -> Plane:
    """Noise without detail finer than `sigma` pixels, mean 0, standard deviation 1."""
    # Drawn coarse and enlarged: a blur as wide as the plate costs more than everything else together.
    coarse = max(4, min(CANVAS, round(CANVAS / (sigma * SCALE) * 2)))
    noise = cv2.GaussianBlur(rng.standard_normal((coarse, coarse), np.float32), (0, 0), 1.0)
    noise = cv2.resize(noise, (CANVAS, CANVAS), interpolation=cv2.INTER_CUBIC)
    return np.asarray((noise - noise.mean()) / noise.std(), np.float32)


def _edge(distance: npt.NDArray[np.floating], width: float = 1 / SCALE) -> Plane:
    """0 outside, 1 inside, a ramp `width` pixels wide where the distance changes sign."""
    return np.asarray(np.clip(distance / width + 0.5, 0, 1), np.float32)


def _clouds(rng: np.random.Generator, sigma: float) -> Plane:
    """Soft shade: batches, oil film, uneven blasting. Never as sharp or as strong as a stain."""
    return np.asarray(np.clip(smooth_noise(rng, sigma), -1.8, 1.8), np.float32)


def _brushed(rng: np.random.Generator, direction: float) -> tuple[Plane, Plane]:
    """Height and reflectance of long fine lines along `direction`."""
    lines = cv2.GaussianBlur(rng.standard_normal((CANVAS, CANVAS), np.float32), (0, 0), sigmaX=45, sigmaY=0.9)
    turn = cv2.getRotationMatrix2D((CANVAS / 2, CANVAS / 2), -np.degrees(direction), 1.0)
    lines = cv2.warpAffine(lines, turn, (CANVAS, CANVAS), borderMode=cv2.BORDER_REFLECT)
    lines = np.asarray(lines / lines.std(), np.float32)
    return np.float32(0.012) * lines, np.float32(rng.uniform(0.022, 0.042)) * np.clip(lines, -2.5, 2.5)


def _cast(rng: np.random.Generator) -> tuple[Plane, Plane]:
    """Height and reflectance of a blasted casting: grain without a direction."""
    fine, coarse = smooth_noise(rng, 1.0), smooth_noise(rng, 2.6)
    return (0.035 * fine + 0.07 * coarse).astype(np.float32), (rng.uniform(0.012, 0.022) * fine).astype(np.float32)


def _turning(rng: np.random.Generator, radius: npt.NDArray[np.floating]) -> Plane:
    """Rings left by a turning tool, as a function of the radius."""
    profile = cv2.GaussianBlur(rng.standard_normal((1, 512), np.float32), (0, 0), 1.3)[0]
    return np.asarray(np.interp(radius * 4, np.arange(512), profile / profile.std()), np.float32)


def _tool_marks(rng: np.random.Generator) -> Plane:
    """Faint arcs of a face mill that crossed the plate: they differ between parts and mean nothing."""
    bearing, reach = rng.uniform(0, 2 * np.pi), rng.uniform(140, 260)
    radius = np.hypot(X - reach * np.cos(bearing), Y - reach * np.sin(bearing))
    waves = np.cos(2 * np.pi * radius / rng.uniform(7, 12) + rng.uniform(0, 6)) ** 3
    return np.asarray(rng.uniform(0.005, 0.022) * waves, np.float32)


def _dust(rng: np.random.Generator) -> Plane:
    """Specks and a lint or two, bright or dark, small and weak."""
    dust = np.zeros((CANVAS, CANVAS), np.float32)
    for _ in range(rng.integers(6, 28)):
        speck = np.zeros_like(dust[:16, :16])
        cv2.circle(speck, (8, 8), int(rng.integers(1, 3)), 1.0, -1)
        x, y = (int(place) for place in rng.integers(0, CANVAS - 16, 2))
        dust[y : y + 16, x : x + 16] += speck * rng.choice((-1.0, 1.0)) * np.float32(rng.uniform(0.10, 0.24))
    for _ in range(rng.integers(0, 3)):
        centre, axes = rng.integers(60, CANVAS - 60, 2), rng.integers(8, 20, 2)
        start, tilt = rng.uniform(0, 360, 2)
        lint = np.zeros_like(dust)
        cv2.ellipse(lint, centre.tolist(), axes.tolist(), tilt, start, start + rng.uniform(50, 110), 1.0, 1)
        dust += lint * np.float32(rng.uniform(0.06, 0.12))
    return np.asarray(cv2.GaussianBlur(dust, (0, 0), 0.9), np.float32)

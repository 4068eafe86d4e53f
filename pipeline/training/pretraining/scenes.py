"""A part with a texture, and how light and camera show it."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.training.pretraining.textures import SIDE, Dice, Plane, draw_texture, smooth_step, soft_noise

Picture = npt.NDArray[np.uint8]
"""SIDE x SIDE x 3, BGR."""
_SPAN = np.linspace(-1, 1, SIDE, dtype=np.float32)
_RADIUS = _SPAN**2 + _SPAN[:, None] ** 2


@dataclass(frozen=True)
class Scene:
    """What lies before the camera."""

    albedo: Plane
    """SIDE x SIDE x 3: how much light comes back, about 0..1."""
    height: Plane
    """SIDE x SIDE, in pixels; its slopes are what the light shows."""
    part: Plane
    """SIDE x SIDE: 1 on the part, 0 on what lies around it."""
    around: Plane
    """SIDE x SIDE x 3: the albedo of what lies around it, everywhere."""


@dataclass(frozen=True)
class View:
    """Light and camera of one picture."""

    light: tuple[float, float]
    """Slope of the light in x and y."""
    shine: float
    field: Plane
    """SIDE x SIDE x 1: illumination."""
    blur: float
    grain: Plane
    """SIDE x SIDE x 1: sensor noise, in grey levels."""


def draw_scene(kind: int, dice: Dice) -> Scene:
    """A surface of a kind that fills the picture or, more often than not, a part of that surface with its edges and holes."""
    texture = draw_texture(kind, dice)
    albedo = _coloured(texture, dice)
    height = np.float32(dice.uniform(0, 1.2)) * texture * np.float32(dice.choice([0, 1]))
    around = _coloured(0.15 * soft_noise(dice, dice.uniform(2, 40)), dice)
    part = np.ones((SIDE, SIDE), np.float32)
    if dice.uniform() < 0.55:
        part = _shape(dice)
        albedo = around + part[..., None] * (albedo - around)
        inside = cv2.distanceTransform((part > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
        bevel = np.float32(dice.uniform(1, 6))
        height = part * height + np.minimum(inside, bevel) * np.float32(dice.uniform(-0.3, 1))
    return Scene(albedo, np.asarray(height, np.float32), part, around)


def draw_view(dice: Dice) -> View:
    """Any light and camera."""
    angle, slope = dice.uniform(0, 2 * np.pi), dice.uniform(0.2, 1.2)
    ramp_x, ramp_y, round_off = dice.uniform(-0.35, 0.35, 3) * dice.uniform(0, 1)
    field = dice.uniform(0.7, 1.2) * np.clip(1 + ramp_x * _SPAN + ramp_y * _SPAN[:, None] - round_off * _RADIUS, 0.3, 1.7)
    grain = dice.standard_normal((SIDE, SIDE, 1), np.float32) * np.float32(dice.uniform(0, 6))
    light = (float(slope * np.cos(angle)), float(slope * np.sin(angle)))
    return View(light, dice.uniform(0, 0.5) * dice.integers(2), field[..., None].astype(np.float32), dice.uniform(0, 1.1), grain)


def show(scene: Scene, view: View) -> Picture:
    """The picture of a scene: Lambert's shading, a highlight where the slope faces the light, blur, noise."""
    slope_x = cv2.Sobel(scene.height, cv2.CV_32F, 1, 0, ksize=3, scale=0.125)
    slope_y = cv2.Sobel(scene.height, cv2.CV_32F, 0, 1, ksize=3, scale=0.125)
    facing = (1 - view.light[0] * slope_x - view.light[1] * slope_y) / np.sqrt(1 + slope_x**2 + slope_y**2)
    shade = np.clip(facing, 0.1, 2.5)[..., None]
    lit = scene.albedo * shade * view.field + np.float32(view.shine) * np.clip(shade - 1, 0, 1)
    if view.blur > 0.4:
        lit = cv2.GaussianBlur(lit, (0, 0), view.blur)
    return np.asarray(np.clip(255 * lit + view.grain, 0, 255), np.uint8)


def _coloured(texture: Plane, dice: Dice) -> Plane:
    """Shades of grey for every other surface, else the way from one colour to another."""
    middle, contrast = dice.uniform(0.15, 0.8), np.exp(dice.uniform(np.log(0.04), np.log(0.45))) * dice.choice([-1, 1])
    tint, swing = np.zeros(3), np.zeros(3)
    if dice.uniform() < 0.5:
        tint, swing = dice.normal(0, 0.1, 3), contrast * dice.normal(0, 0.5, 3)
    base, way = (middle + tint).astype(np.float32), (contrast + swing).astype(np.float32)
    return np.asarray(np.clip(base + texture[..., None] * way, 0.02, 1.1), np.float32)


def _shape(dice: Dice) -> Plane:
    """A part's outline, 0..1: a disc, box, star or gear with holes, or a straight or wavy border."""
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    if dice.uniform() < 0.25:  # the border of something larger than the picture
        slant = dice.uniform(0, 2 * np.pi)
        plane = np.cos(slant) * _SPAN + np.sin(slant) * _SPAN[:, None] + dice.uniform(-0.1, 0.7)
        return smooth_step(plane.astype(np.float32) + np.float32(dice.choice([0, 0.05])) * soft_noise(dice, 20), 2.5 / SIDE)
    middle, radius = dice.uniform(0.3, 0.7, 2) * SIDE, dice.uniform(0.25, 0.7) * SIDE
    count = int(dice.choice([3, 4, 4, 4, 6, 8, 96, 96, 96]))
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False) + dice.uniform(0, 2 * np.pi)
    reach = np.full(count, radius)
    if count == 96:
        reach *= 1 + dice.choice([0, 0, 0.08, 0.2]) * np.clip(3 * np.sin(dice.integers(3, 20) * angle), -1, 1)
    stretch = dice.uniform(0.5, 1, 2)
    _fill(canvas, middle + (reach * np.stack([np.cos(angle), np.sin(angle)]) * stretch[:, None]).T, 255)
    circle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    holes = int(dice.integers(0, 7))
    for turn in 2 * np.pi * np.arange(holes) / max(1, holes):
        centre = middle + 0.55 * radius * stretch * [np.cos(turn), np.sin(turn)] * (holes > 1)
        _fill(canvas, centre + radius * (0.1 if holes > 1 else 0.35) * np.stack([np.cos(circle), np.sin(circle)], 1), 0)
    return np.asarray(canvas / 255, np.float32)


def _fill(canvas: Picture, points: npt.NDArray[np.float64], shade: int) -> None:
    cv2.fillPoly(canvas, [np.rint(16 * points).astype(np.int32)], shade, cv2.LINE_AA, 4)

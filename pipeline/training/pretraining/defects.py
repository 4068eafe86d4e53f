"""Procedural defects: what can go wrong with a surface, drawn into a scene before light falls on it.

A strange texture in a blob of noise is from Zavrtanik, Kristan, Skocaj: DRAEM, ICCV 2021; a patch of the same picture in the
wrong place from Li et al.: CutPaste, CVPR 2021. The others are scratches, pits, cracks, dents, stains, wear and chipped edges.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.training.pretraining.scenes import Picture, Scene, View, show
from pipeline.training.pretraining.textures import KINDS, SIDE, Dice, Plane, draw_texture, smooth_step, soft_noise

VISIBLE = 6
"""Grey levels by which a pixel must differ from the faultless part's to belong to the defect."""
FEWEST = 8
"""Pixels; a defect of fewer is drawn again."""
TRIES = 4
_ROWS, _COLUMNS = np.indices((SIDE, SIDE), np.float32)


def show_defect(scene: Scene, view: View, dice: Dice) -> tuple[Picture, npt.NDArray[np.bool_]]:
    """The picture of a defective scene and its mask, SIDE x SIDE; outside the mask it is the faultless part's picture.

    The mask is empty, and the picture faultless, where TRIES defects could not be seen: dark on dark, or flat under flat light.
    """
    good = show(scene, view)
    for _ in range(TRIES):
        defect = DEFECTS[dice.integers(len(DEFECTS))]
        bad = show(defect(scene, dice), view)
        mask = cv2.absdiff(good, bad).max(axis=2) >= VISIBLE
        if mask.sum() >= FEWEST:
            return np.where(mask[..., None], bad, good), mask
    return good, np.zeros((SIDE, SIDE), np.bool_)


def scratch(scene: Scene, dice: Dice) -> Scene:
    """One to three bent grooves or hairs, thin and long."""
    place = np.zeros((SIDE, SIDE), np.float32)
    heading = dice.uniform(0, 2 * np.pi)
    for _ in range(dice.integers(1, 4)):
        steps = np.linspace(0, dice.uniform(12, 90), 24)
        angle = heading + dice.uniform(-0.3, 0.3) + steps * dice.normal(0, 0.012)
        place = np.maximum(place, _line(_walk(_spot(scene, dice), angle, steps[1]), int(dice.integers(1, 4))))
    return _marked(scene, _softened(place, dice), dice, relief=1.0)


def crack(scene: Scene, dice: Dice) -> Scene:
    """A jagged dark line with branches."""
    start, heading = _spot(scene, dice), dice.uniform(0, 2 * np.pi)
    place = np.zeros((SIDE, SIDE), np.float32)
    for thickness in (int(dice.integers(1, 3)), 1, 1)[: dice.integers(1, 4)]:
        angle = heading + np.cumsum(dice.normal(0, 0.25, 20)) + dice.normal(0, 0.5, 20)
        path = _walk(start, angle, dice.uniform(1.5, 5))
        place = np.maximum(place, _line(path, thickness))
        start, heading = path[dice.integers(3, 15)], heading + dice.choice([-0.8, 0.8])
    return _marked(scene, _softened(place, dice), dice, relief=-1.0, shade=-dice.uniform(0.3, 0.9))


def pits(scene: Scene, dice: Dice) -> Scene:
    """Blowholes, pores, spatter: one to six small spots, mostly dark."""
    place = np.zeros((SIDE, SIDE), np.float32)
    middle, spread = _spot(scene, dice), dice.uniform(0, 25)
    for _ in range(dice.integers(1, 7)):
        place = np.maximum(place, _oval(middle + dice.normal(0, spread, 2), dice.uniform(1.2, 6), dice, edge=1.2))
    shade = dice.uniform(0.25, 0.9) * dice.choice([-1, -1, -1, 1])
    return _marked(scene, place, dice, relief=dice.uniform(-3, 1), shade=shade)


def dent(scene: Scene, dice: Dice) -> Scene:
    """A soft hollow or bump without a colour of its own: only its shading shows."""
    radius = dice.uniform(4, 22)
    hill = _oval(_spot(scene, dice), radius, dice, edge=1.5 * radius)
    hill = hill * hill * (3 - 2 * hill)
    return replace(
        scene, height=scene.height + hill * scene.part * np.float32(radius * dice.uniform(0.25, 0.8) * dice.choice([-1, 1]))
    )


def stain(scene: Scene, dice: Dice) -> Scene:
    """Oil, rust, water marks: a soft-edged blob of another shade and, often, colour."""
    return _marked(scene, _blob(scene, dice, dice.uniform(0.3, 1.5)), dice, relief=0)


def strange(scene: Scene, dice: Dice) -> Scene:
    """Another surface's texture in a blob."""
    texture = draw_texture(int(dice.integers(KINDS)), dice)
    place = _blob(scene, dice, dice.uniform(0.1, 0.4))
    colour = scene.albedo.mean(axis=(0, 1)) + dice.uniform(-0.3, 0.3) * dice.integers(2)
    other = np.clip(colour + texture[..., None] * dice.uniform(0.15, 0.5), 0.02, 1.1).astype(np.float32)
    return _replaced(scene, other, scene.height + texture * np.float32(dice.uniform(0, 1)), place)


def worn(scene: Scene, dice: Dice) -> Scene:
    """The texture is gone from a blob: worn, smeared, or never made."""
    place = _blob(scene, dice, dice.uniform(0.1, 0.6))
    width = dice.uniform(4, 12)
    return _replaced(scene, cv2.GaussianBlur(scene.albedo, (0, 0), width), cv2.GaussianBlur(scene.height, (0, 0), width), place)


def misplaced(scene: Scene, dice: Dice) -> Scene:
    """A turned patch of the same part in the wrong place."""
    away = np.column_stack([np.zeros((2, 2)), dice.uniform(-40, 40, 2)])
    turn = cv2.getRotationMatrix2D(_spot(scene, dice).tolist(), dice.uniform(20, 340), 1) + away
    albedo = cv2.warpAffine(scene.albedo, turn, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)
    height = cv2.warpAffine(scene.height, turn, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)
    corners = cv2.boxPoints((_spot(scene, dice).tolist(), dice.uniform(6, 45, 2).tolist(), dice.uniform(0, 90)))
    place = np.zeros((SIDE, SIDE), np.float32)
    cv2.fillPoly(place, [np.rint(corners).astype(np.int32)], 1.0)
    return _replaced(scene, albedo, height, place)


def chip(scene: Scene, dice: Dice) -> Scene:
    """A bite out of the part's edge; on a part that fills the picture, a hole."""
    border = np.argwhere(cv2.morphologyEx((scene.part > 0.5).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)))
    middle = border[dice.integers(len(border))][::-1] if len(border) else _spot(scene, dice)
    radius = dice.uniform(3, 18)
    ragged = radius - np.hypot(_COLUMNS - middle[0], _ROWS - middle[1]) + 0.25 * radius * soft_noise(dice, dice.uniform(6, 15))
    place = smooth_step(ragged.astype(np.float32), 1.5) * (scene.part if len(border) else 1)
    torn = scene.around if dice.uniform() < 0.7 else scene.around * np.float32(dice.uniform(0.2, 2))
    return _replaced(scene, torn, np.zeros_like(scene.height), place)


DEFECTS: tuple[Callable[[Scene, Dice], Scene], ...] = (scratch, crack, pits, dent, stain, strange, worn, misplaced, chip)


def _spot(scene: Scene, dice: Dice) -> npt.NDArray[np.float64]:
    """A place on the part, x and y."""
    on = np.flatnonzero(scene.part > 0.5)
    row, column = divmod(int(on[dice.integers(len(on))]) if len(on) else SIDE * SIDE // 2, SIDE)
    return np.array([column, row], np.float64)


def _marked(scene: Scene, place: Plane, dice: Dice, relief: float, shade: float | None = None) -> Scene:
    """Darken or lighten `place` on the part by a share, sometimes with a colour, and move it by `relief` pixels."""
    place = place * scene.part
    share = np.full(3, dice.uniform(0.15, 0.8) * dice.choice([-1, 1]) if shade is None else shade)
    if dice.uniform() < 0.3:
        share += dice.uniform(-0.3, 0.3, 3)
    target = np.where(share < 0, scene.albedo * (1 + share), scene.albedo + share * (1 - scene.albedo)).astype(np.float32)
    return _replaced(scene, np.clip(target, 0.01, 1.1), scene.height + np.float32(relief), place)


def _replaced(scene: Scene, albedo: Any, height: Any, place: Plane) -> Scene:
    """The scene with another albedo and height where `place` is 1."""
    return replace(
        scene,
        albedo=np.asarray(scene.albedo + place[..., None] * (albedo - scene.albedo), np.float32),
        height=np.asarray(scene.height + place * (height - scene.height), np.float32),
    )


def _blob(scene: Scene, dice: Dice, edge: float) -> Plane:
    """An irregular patch of the part, 0..1, up to a third of the picture."""
    x, y = _spot(scene, dice)
    radius = np.exp(dice.uniform(np.log(4), np.log(36)))
    hill = 1 - np.hypot(_COLUMNS - np.float32(x), _ROWS - np.float32(y)) / np.float32(radius)
    ragged = hill + np.float32(dice.uniform(0, 0.4)) * soft_noise(dice, dice.uniform(0.4, 1.5) * radius)
    return np.asarray(smooth_step(ragged, edge) * scene.part, np.float32)


def _oval(middle: npt.NDArray[np.float64], radius: float, dice: Dice, edge: float) -> Plane:
    angle, squash = dice.uniform(0, np.pi), dice.uniform(0.4, 1)
    x, y = _COLUMNS - np.float32(middle[0]), _ROWS - np.float32(middle[1])
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u, v = x * cosine + y * sine, y * cosine - x * sine
    return smooth_step(np.float32(radius) - np.hypot(u, v / np.float32(squash)), edge)


def _walk(start: npt.NDArray[np.float64], angle: npt.NDArray[np.float64], step: float) -> npt.NDArray[np.float64]:
    """The points of a path that starts at `start` and takes steps in the given directions."""
    return start + step * np.cumsum(np.stack([np.cos(angle), np.sin(angle)], 1), axis=0)


def _line(points: npt.NDArray[np.float64], thickness: int) -> Plane:
    drawn = np.zeros((SIDE, SIDE), np.uint8)
    cv2.polylines(drawn, [np.rint(16 * points).astype(np.int32)], False, 255, thickness, cv2.LINE_AA, 4)
    return np.asarray(drawn / 255, np.float32)


def _softened(place: Plane, dice: Dice) -> Plane:
    width = dice.uniform(0, 1)
    return np.asarray(cv2.GaussianBlur(place, (0, 0), width), np.float32) if width > 0.4 else place

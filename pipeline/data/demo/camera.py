"""The demo line's light, belt and camera: from a part to pixels. Stills and the conveyor video go through the same steps."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from deploy.preprocess import Picture
from pipeline.data.demo.parts import CANVAS, SCALE, Part, Plane

STILL = 256
"""Side of a still, and of the patch a part is placed with, in pixels."""
_BELT_WIDTH, _BELT_HEIGHT = 1536, 512
_AMBIENT, _LOW = 0.35, 0.62  # share of light from everywhere; the lamp's tilt away from the camera's axis, as a sine


@dataclass(frozen=True)
class Light:
    """How the lamp stood while one picture was taken."""

    azimuth: float
    """Radians, where the light comes from in the picture."""
    gain: float
    gradient: float
    """Relative change of brightness over STILL pixels towards the lamp."""
    cast: tuple[float, float, float]
    """Gain of blue, green and red."""


@dataclass(frozen=True)
class Patch:
    """A lit part, STILL x STILL, ready to be laid on the belt."""

    colour: Plane
    """H x W x 3, BGR, 0..255, multiplied by `cover`."""
    cover: Plane
    """0..1: 1 where metal hides the belt."""
    shade: Plane
    """What the part's shadow leaves of the belt's light, 0..1."""
    mask: Picture
    """H x W, 255 where the defect is."""


def draw_light(rng: np.random.Generator, drift: float) -> Light:
    """A lamp up and left that was bumped, has aged, and follows the hall's daylight: `drift` is a slow phase in radians."""
    azimuth = np.radians(-125) + 0.35 * np.sin(drift) + rng.uniform(-0.6, 0.6)
    gain = 1 + 0.05 * np.sin(0.7 * drift + 1) + rng.uniform(-0.07, 0.07)
    blue, green, red = (float(value) for value in 1 + rng.uniform(-0.008, 0.008, 3))
    return Light(float(azimuth), float(gain), float(rng.uniform(0.02, 0.14)), (blue, green, red))


def light_part(part: Part, mask: Plane, light: Light, angle: float, shift: tuple[float, float]) -> Patch:
    """Light the part and lay it down turned by `angle` radians, its centre `shift` pixels from the patch's centre."""
    turn = cv2.getRotationMatrix2D(((CANVAS - 1) / 2, (CANVAS - 1) / 2), np.degrees(angle), 1.0)
    lamp = np.array([np.cos(light.azimuth), np.sin(light.azimuth)])
    lit = _lit(part, turn[:, :2].T @ lamp)
    side = STILL * SCALE
    turn[:, 2] = turn[:, 2] + (side - CANVAS) / 2 + SCALE * np.array(shift)
    flags = cv2.INTER_LINEAR
    placed = cv2.warpAffine(np.dstack([lit * part.metal[..., None] * 255, part.metal]), turn, (side, side), flags=flags)
    placed = cv2.resize(placed, (STILL, STILL), interpolation=cv2.INTER_AREA)
    flat = cv2.warpAffine(np.dstack([part.outline, mask]), turn, (side, side), flags=flags)
    flat = cv2.resize(flat, (STILL, STILL), interpolation=cv2.INTER_AREA)
    away = np.array([[1, 0, -4.5 * lamp[0]], [0, 1, -4.5 * lamp[1]]])
    shadow = cv2.GaussianBlur(cv2.warpAffine(np.ascontiguousarray(flat[..., 0]), away, (STILL, STILL)), (0, 0), 3)
    return Patch(
        np.asarray(placed[..., :3], np.float32),
        np.asarray(placed[..., 3], np.float32),
        np.asarray(1 - 0.45 * shadow, np.float32),
        np.where(flat[..., 1] > 0.35, 255, 0).astype(np.uint8),
    )


def lay(scene: Plane, patch: Patch, left: int, top: int) -> None:
    """Lay a patch on the scene (H x W x 3, changed in place); what lies outside is cut off."""
    height, width = scene.shape[:2]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + STILL, width), min(top + STILL, height)
    if x0 >= x1 or y0 >= y1:
        return
    cut = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    belt = scene[y0:y1, x0:x1]
    belt[:] = belt * (patch.shade[cut] * (1 - patch.cover[cut]))[..., None] + patch.colour[cut]


def belt_at(travel: int, top: int, width: int, height: int) -> Plane:
    """The stretch of belt in view after it moved `travel` pixels to the right: height x width x 3, a copy."""
    columns = np.arange(width) - travel
    return _belt()[top : top + height].take(columns, axis=1, mode="wrap")


def expose(scene: Plane, light: Light, rng: np.random.Generator) -> Picture:
    """What the sensor makes of the scene: a little motion blur, uneven light, colour cast, noise, 8 bit."""
    height, width = scene.shape[:2]
    blurred = cv2.sepFilter2D(scene, cv2.CV_32F, np.array([0.22, 0.56, 0.22]), np.array([0.1, 0.8, 0.1]))
    x = (np.arange(width, dtype=np.float32) - width / 2) / STILL * np.cos(light.azimuth)
    y = (np.arange(height, dtype=np.float32) - height / 2) / STILL * np.sin(light.azimuth)
    uneven = light.gain * (1 + light.gradient * (x + y[:, None]))
    seen = blurred * uneven.astype(np.float32)[..., None] * np.array(light.cast, np.float32)
    seen += rng.standard_normal(seen.shape, np.float32) * (1.1 + 0.006 * seen)  # read noise and shot noise
    return np.asarray(cv2.convertScaleAbs(np.clip(seen, 0, 255)), np.uint8)


def _lit(part: Part, lamp: npt.NDArray[np.float64]) -> Plane:
    """The part's face under a lamp in direction `lamp` (x, y in the part's own frame): H x W x 3, 0..1."""
    height = part.relief + part.grain
    along = -SCALE / 8 * cv2.Sobel(height, cv2.CV_32F, 1, 0)
    across = -SCALE / 8 * cv2.Sobel(height, cv2.CV_32F, 0, 1)
    high = float(np.sqrt(1 - _LOW**2))
    facing = (along * lamp[0] + across * lamp[1]) * _LOW + high
    steep = np.sqrt(1 + along**2 + across**2)
    # Halfway between lamp and camera: where the normal points there, bare metal glints.
    glint = ((along * lamp[0] + across * lamp[1]) * _LOW + high + 1) / (steep * np.sqrt(2 + 2 * high))
    tone = _AMBIENT + (1 - _AMBIENT) * facing / (steep * high) + 0.5 * (np.maximum(glint, 0) ** 40 - 0.085)
    bearing = float(np.arctan2(lamp[1], lamp[0]))
    # Fine lines send light across themselves: a bow tie on turned faces, a sheen on brushed ones.
    tone += part.turned * (0.34 * np.abs(np.cos(part.swirl - bearing)) ** 6 - 0.09)
    if part.brushed is not None:
        tone += (1 - part.turned) * 0.10 * (abs(np.sin(bearing - part.brushed)) - 0.6)
    return np.asarray(part.albedo * np.clip(tone, 0.5, 1.7)[..., None], np.float32)


@lru_cache(maxsize=1)
def _belt() -> Plane:
    """Dark ribbed rubber, _BELT_HEIGHT x _BELT_WIDTH x 3, without a seam from right to left."""
    rng = np.random.default_rng(20)
    size, pad = (_BELT_HEIGHT, _BELT_WIDTH), 64

    def seamless(sigma_x: float, sigma_y: float) -> Plane:
        wide = np.pad(rng.standard_normal(size, np.float32), ((pad, pad), (pad, pad)), "wrap")
        soft = cv2.GaussianBlur(wide, (0, 0), sigmaX=sigma_x, sigmaY=sigma_y)[pad:-pad, pad:-pad]
        return np.asarray(soft / soft.std(), np.float32)

    x, y = np.arange(_BELT_WIDTH) * (2 * np.pi / 6), np.arange(_BELT_HEIGHT)[:, None] * (2 * np.pi / 6)
    weave = np.sin(x + y) * np.sin(x - y)
    grey = 37 + 1.6 * seamless(0.9, 0.9) + 1.2 * seamless(6, 6) + 1.0 * seamless(18, 1.5) + 1.3 * weave
    return np.asarray(grey[..., None] * np.array([1.03, 1.0, 0.97]), np.float32)

"""What a line does to a picture: dim or uneven light, defocus, noise, compression, a bumped camera, dust, covered corners.

Each works on the whole picture as the camera gives it, before the letterbox. In the spirit of common corruptions (Hendrycks and
Dietterich, ICLR 2019), but in units that an engineer can set a limit in.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

import cv2
import numpy as np
import numpy.typing as npt

from deploy.preprocess import Picture

Change = Callable[[Picture, float, np.random.Generator], Picture]

READ_NOISE = 0.25
"""Noise in the dark, as a share of that at white: that of training's `camera_noise`."""
DUST_SIZE = (0.0025, 0.005)
"""Smallest and largest radius of a dust spot, as shares of the longer side."""
DUST_DEPTH = (0.5, 0.85)
"""How much of the brightness a dust spot takes at its middle."""


@dataclass(frozen=True)
class Condition:
    """One thing that happens on a line, at several strengths."""

    name: str
    unit: str
    """Of the levels."""
    plain: str
    """What happens, for the report."""
    words: str
    """How one level is named in a sentence."""
    levels: tuple[float, ...]
    """From mild to grave; where there are two ways to go, first all of one, then all of the other."""
    apply: Change
    """H x W x 3 BGR uint8 picture, level, random numbers -> the changed picture, of the same shape; the one given stays."""

    def named(self, level: float) -> str:
        """The level in words: "10 spots", "-0.5 stops", "1 spot"."""
        text = self.words.format(level)
        return text.removesuffix("s") if abs(level) == 1 else text


def change(picture: Picture, condition: Condition, level: float, picture_sha256: str) -> Picture:
    """The picture under a condition. All levels draw the same random numbers, so that only the strength differs."""
    seed = sha256(f"{picture_sha256} {condition.name}".encode()).digest()[:8]
    return condition.apply(picture, level, np.random.default_rng(int.from_bytes(seed, "big")))


def _decoded() -> npt.NDArray[np.float32]:
    """256, the linear light 0..1 of each grey level (sRGB, IEC 61966-2-1)."""
    value = np.arange(256) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _encoded() -> Picture:
    """65536, the grey level of each amount of light: fine enough not to lose one in the dark."""
    light = np.arange(65536) / 65535
    value = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(value * 255).astype(np.uint8)


LIGHT, GREY = _decoded(), _encoded()


def _seen(light: npt.NDArray[np.float32]) -> Picture:
    """What a camera makes of linear light: it clips at white."""
    return np.asarray(GREY[np.round(np.minimum(light, 1) * 65535).astype(np.uint16)], np.uint8)


def expose(picture: Picture, stops: float, random: np.random.Generator) -> Picture:
    """Scale the linear light by 2 ** stops."""
    return np.asarray(_seen(LIGHT * np.float32(2**stops))[picture], np.uint8)


def defocus(picture: Picture, per_mille: float, random: np.random.Generator) -> Picture:
    """Spread each pixel over a disc with a radius of so many per mille of the longer side."""
    radius = per_mille / 1000 * max(picture.shape[:2])
    reach = int(np.ceil(radius))
    across = np.arange(-reach, reach + 1)
    disc = np.clip(radius + 0.5 - np.hypot(across[:, None], across), 0, 1)  # its rim covers pixels in part
    return np.asarray(cv2.filter2D(picture, -1, disc / disc.sum(), borderType=cv2.BORDER_REPLICATE), np.uint8)


def add_noise(picture: Picture, strength: float, random: np.random.Generator) -> Picture:
    """Add shot and read noise with a standard deviation of `strength` grey levels at white (linear model of EMVA 1288).

    A grey picture stays grey: a monochrome camera has one sensor.
    """
    grey = (picture == picture[..., :1]).all()
    drawn = random.standard_normal((*picture.shape[:2], 1 if grey else 3), np.float32)
    deviation = strength * np.sqrt(np.arange(256) / 255 * (1 - READ_NOISE**2) + READ_NOISE**2)
    noise = drawn * cv2.LUT(picture, deviation.astype(np.float32))
    return np.asarray(cv2.add(picture, noise, dtype=cv2.CV_8U), np.uint8)  # rounds, and clips at black and white


def compress(picture: Picture, quality: float, random: np.random.Generator) -> Picture:
    """Save as JPEG and read again."""
    saved = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1]
    return np.asarray(cv2.imdecode(saved, cv2.IMREAD_COLOR), np.uint8)


def tilt(picture: Picture, degrees: float, random: np.random.Generator) -> Picture:
    """Turn about the middle, anticlockwise; what comes into sight repeats the edge."""
    height, width = picture.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    return np.asarray(cv2.warpAffine(picture, turn, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def shift(picture: Picture, percent: float, random: np.random.Generator) -> Picture:
    """Move by so much of the width to the left or to the right; what comes into sight repeats the edge."""
    width = picture.shape[1]
    pixels = round(width * percent / 100) * (1 if random.random() < 0.5 else -1)
    return np.asarray(picture[:, np.clip(np.arange(width) - pixels, 0, width - 1)], np.uint8)


def dust(picture: Picture, spots: float, random: np.random.Generator) -> Picture:
    """Lay small, dark, soft spots on it: more spots are the fewer and others."""
    height, width = picture.shape[:2]
    dusty: Picture = picture.copy()
    for down, right, size, depth in random.random((int(spots), 4)):
        y, x = down * height, right * width
        radius = max(0.75, np.interp(size, (0, 1), DUST_SIZE) * max(height, width))
        top, left = max(0, int(y - 2 * radius)), max(0, int(x - 2 * radius))
        near = np.s_[top : int(y + 2 * radius) + 1, left : int(x + 2 * radius) + 1]
        rows, columns = np.ogrid[: dusty[near].shape[0], : dusty[near].shape[1]]
        off = np.hypot(rows + 0.5 + top - y, columns + 0.5 + left - x) / radius
        passes = 1 - np.interp(depth, (0, 1), DUST_DEPTH) * np.exp(-(off**3))  # flat in the middle, soft at the rim
        dusty[near] = np.round(dusty[near] * passes[..., None])
    return dusty


def dim_one_side(picture: Picture, percent: float, random: np.random.Generator) -> Picture:
    """Take light away evenly towards one side, where so much of it is missing."""
    sideways, flipped = random.random(2) < 0.5
    steps = np.linspace(1, 1 - percent / 100, picture.shape[1 if sideways else 0], dtype=np.float32)
    falls = steps[::-1] if flipped else steps
    return _seen(LIGHT[picture] * (falls[None, :, None] if sideways else falls[:, None, None]))


def cover_corners(picture: Picture, percent: float, random: np.random.Generator) -> Picture:
    """Cover all four corners, each by so much of the sides, with the picture's own mean grey: the least that can be seen."""
    height, width = picture.shape[:2]
    high, wide = round(height * percent / 100), round(width * percent / 100)
    covered: Picture = picture.copy()
    grey = round(float(picture.mean()))
    for rows in (np.s_[:high], np.s_[height - high :]):
        for columns in (np.s_[:wide], np.s_[width - wide :]):
            covered[rows, columns] = grey
    return covered


CORNER = "corner"
CONDITIONS = (
    Condition(
        "exposure",
        "stops",
        "The lamp or the exposure time is off; one stop is half or twice the light.",
        "{:+g} stops",
        (-0.5, -1, 0.5, 1),
        expose,
    ),
    Condition(
        "blur",
        "per mille of the longer side",
        "The lens is out of focus; the level is the radius of a point's disc.",
        "a blur of {:g} per mille",
        (1, 2, 4, 8),
        defocus,
    ),
    Condition(
        "noise",
        "grey levels at white",
        "The camera has too little light and turns its gain up.",
        "{:g} grey levels of noise",
        (4, 8, 16, 32),
        add_noise,
    ),
    Condition(
        "jpeg", "JPEG quality", "Pictures are compressed on their way.", "JPEG quality {:g}", (90, 70, 50, 30, 10), compress
    ),
    Condition("tilt", "degrees", "The camera was bumped, or parts lie askew.", "{:+g} degrees", (-1, -2, -5, 1, 2, 5), tilt),
    Condition(
        "shift",
        "% of the width",
        "The camera was bumped, or the trigger comes early or late.",
        "{:g} % of the width",
        (2, 5, 10),
        shift,
    ),
    Condition("dust", "spots", "Dust lies on the lens' window or on the part.", "{:g} spots", (1, 3, 10, 30), dust),
    Condition(
        "lamp",
        "% less light at one side",
        "One lamp of several ages or was turned away: one side darkens.",
        "{:g} % less light at one side",
        (20, 40, 60, 80),
        dim_one_side,
    ),
    Condition(
        CORNER,
        "% of the sides",
        "A label, a finger or a shadow hides the corners: a model that reads a stamp or a date there is found out.",
        "{:g} % of the sides covered",
        (10, 15, 20),
        cover_corners,
    ),
)
"""What the card tries."""

"""Small planes of a picture that stay the same when the light changes: what look-alikes are recognised by.

All take the logarithm of the grey values, subtract the blurred picture and divide by the local contrast: light that is brighter,
comes from another side or falls off over the part cancels out, what is left is the part's own structure.
"""

import cv2
import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image

from deploy.preprocess import Picture

PLANE_SIDE = 48
RADII, ANGLES = 32, 96
HASH_SIDE = 16
SCALE = 40
"""Local contrast units -> int8."""
PLANE_BLUR = 2.25
"""Standard deviation of the blur that is subtracted, in pixels of the plane: coarser structure counts as light."""
POLAR_SIDE = 102
"""Side of the square that is unrolled, in pixels: 1.6 for each radius."""


def high_pass_plane(grey: Picture) -> npt.NDArray[np.int8]:
    """H x W grey -> PLANE_SIDE x PLANE_SIDE high-pass plane; the aspect ratio is given up, so that crops of one part compare."""
    small = cv2.resize(grey, (PLANE_SIDE, PLANE_SIDE), interpolation=cv2.INTER_AREA)
    return _quantised(_high_pass(small, PLANE_BLUR))


def polar_plane(grey: Picture) -> npt.NDArray[np.int8]:
    """H x W grey -> ANGLES x RADII high-pass plane around the centre: turning the picture by any angle shifts its rows."""
    height, width = grey.shape
    side = min(height, width)  # no more than the inscribed circle is looked at
    square = grey[(height - side) // 2 :, (width - side) // 2 :][:side, :side]
    small = cv2.resize(square, (POLAR_SIDE, POLAR_SIDE), interpolation=cv2.INTER_AREA if side > POLAR_SIDE else cv2.INTER_LINEAR)
    centre = ((POLAR_SIDE - 1) / 2, (POLAR_SIDE - 1) / 2)
    polar = cv2.warpPolar(small, (RADII, ANGLES), centre, POLAR_SIDE / 2 - 0.5, cv2.WARP_POLAR_LINEAR | cv2.INTER_LINEAR)
    turn = ANGLES // 8  # the first and the last angle are neighbours
    wrapped = np.vstack([polar[-turn:], polar, polar[:turn]])
    return _quantised(_high_pass(wrapped, PLANE_BLUR)[turn:-turn])


def difference_hash(grey: Picture) -> npt.NDArray[np.uint8]:
    """32 bytes that hardly change when the same picture is saved again in another format or quality."""
    return np.packbits(imagehash.dhash(Image.fromarray(grey), HASH_SIDE).hash.ravel())


def _high_pass(grey: npt.NDArray[np.generic], blur: float) -> npt.NDArray[np.float32]:
    logarithm = np.log1p(grey.astype(np.float32))
    detail = logarithm - cv2.GaussianBlur(logarithm, (0, 0), blur, borderType=cv2.BORDER_REFLECT)
    contrast = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), 2 * blur, borderType=cv2.BORDER_REFLECT))
    return np.asarray(detail / (contrast + 0.02), np.float32)  # the floor keeps sensor noise of flat areas from being blown up


def _quantised(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.int8]:
    return np.clip(np.round(plane * SCALE), -127, 127).astype(np.int8)

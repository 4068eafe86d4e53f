"""How sharp a picture is, in one number to compare with others of the same scene: at the line and in the audit alike."""

import cv2

from deploy.preprocess import Picture

LONGER_SIDE = 512
"""Pixels of the longer side at which it is measured: a larger picture is not a blurred one, nor is its noise detail."""


def sharpness(picture: Picture) -> float:
    """Variance of the Laplacian of the grey values, in squared grey steps: falls as the picture blurs.

    Takes H x W (grey) or H x W x 3 (BGR); where the longer side exceeds LONGER_SIDE it is reduced to that. The number also
    depends on what is in the picture, so a limit holds for one camera over one kind of part.
    """
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) if picture.ndim == 3 else picture
    height, width = grey.shape[:2]
    scale = LONGER_SIDE / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())

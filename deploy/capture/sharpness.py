"""How sharp a picture is, in one number to compare with others of the same scene."""

import cv2

from deploy.preprocess import Picture


def sharpness(picture: Picture) -> float:
    """Variance of the Laplacian of an H x W x 3 picture's grey values, in squared grey steps: falls as it blurs.

    It also depends on what is in the picture and on its resolution, so a limit holds for one camera over one kind of part.
    """
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())

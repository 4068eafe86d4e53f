"""A picture as training holds it: decoded, letterboxed by the edge's own code, with what is known of each of its pixels."""

from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from deploy.preprocess import Picture, Preprocessing, letterbox, letterbox_placement, read_picture
from pipeline.data.masks import INSIDE, read_shades
from pipeline.data.sample import Sample

GOOD, DEFECT, UNKNOWN = 0, 1, 2
"""Truth of a pixel. One plane of codes moves with its picture at half the cost of a mask and a map of what is known."""


class Example(NamedTuple):
    """One picture at input size."""

    picture: Tensor
    """3 x H x W, RGB, uint8."""
    truth: Tensor
    """H x W, uint8: GOOD, DEFECT or UNKNOWN."""
    defective: bool
    content: tuple[int, int, int, int]
    """Where the picture lies between the letterbox bars: top, left, height, width."""


def read_example(sample: Sample, spec: Preprocessing) -> Example:
    """Decode a sample at input size. Raises DatasetError for a picture or a mask that cannot be read."""
    picture = read_picture(sample.file)
    size = picture.shape[0], picture.shape[1]
    rgb = letterbox(picture, spec)[..., ::-1].transpose(2, 0, 1)
    return Example(
        torch.from_numpy(np.ascontiguousarray(rgb)),
        torch.from_numpy(read_truth(sample, size, spec)),
        sample.label == "defective",
        letterbox_placement(*size, spec),
    )


def read_truth(sample: Sample, size: tuple[int, int], spec: Preprocessing) -> Picture:
    """What is known of each pixel of a sample's picture of `size` (height, width), letterboxed as it is: H x W of codes.

    A box tells where no defect is, but not which of its own pixels are one: they are UNKNOWN, as every pixel is of a defective
    picture without a mask, or with an empty one. After Bozic, Tabernik, Skocaj: Mixed supervision for surface-defect detection,
    Computers in Industry 129, 2021, where coarse labels weigh less in the pixel loss.
    """
    truth = np.full((spec.height, spec.width), GOOD, np.uint8)
    if sample.label == "good":
        return truth
    exact, boxed = read_shades(sample, size)
    truth[_framed(boxed, spec) > 0] = UNKNOWN
    truth[_framed(exact, spec) > INSIDE] = DEFECT
    return truth if truth.any() else np.full_like(truth, UNKNOWN)


def _framed(shades: Picture, spec: Preprocessing) -> Picture:
    if min(spec.height / shades.shape[0], spec.width / shades.shape[1]) < 1:
        shades = np.asarray(cv2.dilate(shades, np.ones((3, 3), np.uint8)), np.uint8)  # thin cracks must survive the shrinking
    return letterbox(shades, spec.model_copy(update={"pad_bgr": (0, 0, 0)}))[..., 0]

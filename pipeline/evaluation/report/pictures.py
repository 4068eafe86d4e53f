"""Pictures of parts for a page: as taken on the left; on the right with the heatmap over it and the defect's outline."""

import base64

import cv2
import numpy as np
import numpy.typing as npt

from deploy.preprocess import Picture, Preprocessing, letterbox, read_picture, unletterbox
from pipeline.data.masks import read_place
from pipeline.data.sample import Sample
from pipeline.evaluation.predict import Infer

SIDE = 230
"""Longest side of one picture, in pixels."""
BYTES = 38_000
"""A JPEG is made so small: 48 of them, as text, keep a report below 3 MB."""
QUALITIES = (85, 75, 65, 50, 35, 20)
HOT = 0.5
"""The heatmap is outlined at this heat."""
GAP = 4
HEAT, RIM, PLACE, WHITE = (0, 110, 255), (0, 60, 225), (255, 190, 0), (255, 255, 255)
"""Colours, BGR: orange heat with a red-orange rim, the defect's outline in blue; told apart by the colour-blind too."""


def illustrate(sample: Sample, *models: tuple[Preprocessing, Infer], peak: bool = False) -> str:
    """A data: URL of a sample as taken, then once for each model under its heatmap; `peak` marks where that is hottest.

    Raises DatasetError for a picture or a mask that cannot be read.
    """
    picture = read_picture(sample.file)
    height, width = picture.shape[:2]
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    bare = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR), np.uint8)
    place = None
    if sample.mask:
        inside = cv2.resize(read_place(sample, (height, width)) * np.uint8(255), size, interpolation=cv2.INTER_AREA)
        place = np.asarray(inside > 64)
    pieces = [bare]
    for spec, infer in models:
        heatmap = infer(letterbox(picture, spec)[None]).heatmap[0]
        shown = overlay(bare, np.asarray(cv2.resize(unletterbox(heatmap, height, width, spec), size)), place, peak)
        pieces += [np.full((size[1], GAP, 3), 255, np.uint8), shown]
    return data_url(np.hstack(pieces))


def overlay(
    picture: Picture, heat: npt.NDArray[np.float32], place: npt.NDArray[np.bool_] | None = None, peak: bool = False
) -> Picture:
    """Lay the heat, H x W in 0..1, over an H x W x 3 picture: the hotter, the less it shows through; outline it and the place."""
    alpha = (0.65 * np.clip(heat, 0, 1) ** 2)[..., None]  # squared, so that a lukewarm part keeps its own look
    shown = np.asarray(np.round(picture * (1 - alpha) + np.array(HEAT) * alpha), np.uint8)
    _outline(shown, np.asarray(heat > HOT), RIM)
    if place is not None:
        _outline(shown, place, PLACE)
    if peak:
        row, column = np.unravel_index(int(np.argmax(heat)), heat.shape)
        for colour, thickness in ((RIM, 4), (WHITE, 2)):
            cv2.drawMarker(shown, (int(column), int(row)), colour, cv2.MARKER_CROSS, 15, thickness)
    return shown


def data_url(picture: Picture) -> str:
    """As a JPEG of at most BYTES, unless the coarsest is larger."""
    encoded = b""
    for quality in QUALITIES:
        encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(encoded) <= BYTES:
            break
    return "data:image/jpeg;base64," + base64.b64encode(encoded).decode()


def _outline(picture: Picture, where: npt.NDArray[np.bool_], colour: tuple[int, int, int]) -> None:
    contours, _ = cv2.findContours(where.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, colour, 1, cv2.LINE_AA)

"""What was decided and why, drawn on a copy of the frame."""

from collections.abc import Sequence

import cv2
import numpy as np

from deploy.inspector.locate import Box
from deploy.inspector.step import Seen
from deploy.inspector.tally import Tally
from deploy.preprocess import Picture, Preprocessing, unletterbox
from deploy.verdict import Verdict

COLOURS = {  # BGR
    Verdict.GOOD: (80, 160, 40),
    Verdict.DEFECTIVE: (50, 45, 215),
    Verdict.REVIEW: (0, 140, 235),
    Verdict.FAULT: (150, 40, 150),
}
UNDECIDED = (150, 150, 150)
HEAT = (0, 235, 255)
WHITE = (255, 255, 255)
DARK = (35, 35, 35)
FONT = cv2.FONT_HERSHEY_SIMPLEX
LEGIBLE = 360
"""Pictures with a shorter side are enlarged before anything is written on them."""


def annotate(picture: Picture, seen: Sequence[Seen], tally: Tally, preprocessing: Preprocessing) -> Picture:
    """Boxes, verdicts, probabilities, the outline of where the heatmap exceeds 0.5, and above the picture the running counts."""
    zoom = max(1, -(-LEGIBLE // min(picture.shape[:2])))
    drawn: Picture = picture.copy()
    if zoom > 1:
        drawn = np.asarray(cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC), np.uint8)
    scale = max(0.5, min(drawn.shape[:2]) / 1100)
    for one in seen:
        _outline_heat(drawn, one, zoom, scale, preprocessing)
    for one in seen:
        _label(drawn, one, zoom, scale)
    return np.concatenate([_counts(drawn.shape[1], tally, scale), drawn])


def not_ready(tally: Tally) -> Picture:
    """What is shown while a camera is lost, in place of the last verdict."""
    notice = np.full((LEGIBLE, 2 * LEGIBLE, 3), DARK, np.uint8)
    _strip(notice, "NOT READY: camera lost", 40, LEGIBLE // 2, COLOURS[Verdict.FAULT], 1.0)
    return np.concatenate([_counts(notice.shape[1], tally, 0.5), notice])


def _outline_heat(drawn: Picture, one: Seen, zoom: int, scale: float, preprocessing: Preprocessing) -> None:
    if one.heatmap is None:
        return
    window = one.sighting.window
    heat = unletterbox(one.heatmap, window.height, window.width, preprocessing)
    outlines, _ = cv2.findContours((heat > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    moved = [(outline + np.array((window.left, window.top))) * zoom for outline in outlines]
    cv2.drawContours(drawn, moved, -1, HEAT, _line(scale), cv2.LINE_AA)


def _label(drawn: Picture, one: Seen, zoom: int, scale: float) -> None:
    box = Box(*(value * zoom for value in one.sighting.box))
    result = one.so_far
    is_decided = result.views + result.faults > 0
    verdict = Verdict.FAULT if one.view.fault is not None else result.verdict  # never the last verdict again
    colour = COLOURS[verdict] if is_decided else UNDECIDED
    line = _line(scale)
    cv2.rectangle(drawn, (box.left, box.top), (box.left + box.width - 1, box.top + box.height - 1), colour, 2 * line, cv2.LINE_AA)
    if not is_decided:
        return
    shows_probability = result.probability is not None and verdict is not Verdict.FAULT
    text = f"{verdict.value} {result.probability:.2f}" if shows_probability else verdict.value
    (_, text_height), _ = cv2.getTextSize(text, FONT, scale, line)
    height = round(text_height * 1.9)
    top = box.top - height if box.top >= height else box.top  # inside the part where the picture ends above it
    _strip(drawn, text, box.left, top, colour, scale)


def _counts(width: int, tally: Tally, scale: float) -> Picture:
    strip = np.full((2 * round(22 * scale), width, 3), DARK, np.uint8)
    texts = {f"parts {tally.parts}": DARK}
    texts |= {f"{verdict.value} {count}": COLOURS[verdict] if count else DARK for verdict, count in tally.verdicts.items()}
    fitting = scale * min(1.0, width / sum(_text_width(text, scale) for text in texts))
    left = 0
    for text, colour in texts.items():
        _strip(strip, text, left, 0, colour, fitting, len(strip))
        left += _text_width(text, fitting)
    return strip


def _strip(
    drawn: Picture, text: str, left: int, top: int, colour: tuple[int, int, int], scale: float, height: int | None = None
) -> None:
    line = _line(scale)
    (_, text_height), _ = cv2.getTextSize(text, FONT, scale, line)
    height = height or round(text_height * 1.9)
    width = _text_width(text, scale)
    left = max(0, min(left, drawn.shape[1] - width))
    cv2.rectangle(drawn, (left, top), (left + width, top + height), colour, cv2.FILLED)
    origin = (left + round(text_height * 0.6), top + (height + text_height) // 2)
    cv2.putText(drawn, text, origin, FONT, scale, WHITE, line, cv2.LINE_AA)


def _text_width(text: str, scale: float) -> int:
    (width, height), _ = cv2.getTextSize(text, FONT, scale, _line(scale))
    return int(width + round(height * 1.2))


def _line(scale: float) -> int:
    return max(1, round(scale * 1.6))

"""Rows of pictures with captions and outlined defects, as one PNG."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave

from deploy.preprocess import Picture
from pipeline.data.example import DEFECT, UNKNOWN, Example

MAKER = "pipeline augment-preview"
"""Stands in the PNG's metadata."""
LONGER = 240
"""Pixels of a tile's longer side."""
GAP, CAPTION, TITLE, HEAD = 8, 20, 48, 64
"""Pixels between tiles, and of the text: below a tile, above a row, above everything."""
RED, YELLOW = (230, 30, 60), (250, 200, 0)
DPI = 100


class Row(NamedTuple):
    """A title, what it means, and examples with a caption each."""

    title: str
    meaning: str
    tiles: tuple[tuple[str, Example], ...]


def draw_sheet(rows: Sequence[Row], heading: str) -> bytes:
    """The sheet as a PNG; short rows share a line."""
    height, width = rows[0].tiles[0][1].truth.shape
    scale = LONGER / max(height, width)
    high, wide = round(height * scale), round(width * scale)
    pitch = TITLE + high + CAPTION + GAP
    places = _places([len(row.tiles) for row in rows])
    lines, columns = 1 + places[-1][0], max(len(row.tiles) for row in rows)
    full_height, full_width = HEAD + pitch * lines + GAP, GAP + columns * (wide + GAP)
    figure = Figure(figsize=(full_width / DPI, full_height / DPI), dpi=DPI)
    canvas = FigureCanvasAgg(figure)
    tiles: list[tuple[int, int, Picture]] = []

    def write(text: str, x: int, y: int, size: float, weight: str = "normal", color: str = "black") -> None:
        plain = text.replace("$", r"\$")  # which would begin a formula
        figure.text(x / full_width, 1 - y / full_height, plain, fontsize=size, va="top", weight=weight, color=color)

    with matplotlib.rc_context({"font.family": "sans-serif"}):
        write(heading, GAP, 8, 13, "bold")
        write("outlined in red: a defect; in yellow: it is somewhere inside. Caption in red: counts as defective", GAP, 40, 10)
        for row, (line, start) in zip(rows, places, strict=True):
            top = HEAD + line * pitch
            write(row.title, GAP + start * (wide + GAP), top + 6, 11, "bold")
            write(row.meaning, GAP + start * (wide + GAP), top + 26, 9)
            for column, (caption, example) in enumerate(row.tiles, start):
                left = GAP + column * (wide + GAP)
                tiles.append((top + TITLE, left, _tile(example, wide, high)))
                write(caption, left, top + TITLE + high + 3, 9, color="#b00020" if example.defective else "black")
        canvas.draw()  # type: ignore[no-untyped-call]
    sheet = np.array(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    sheet = np.ascontiguousarray(sheet[..., :3])
    for top, left, tile in tiles:  # drawn by matplotlib they would take seconds
        sheet[top : top + high, left : left + wide] = tile
    stream = io.BytesIO()
    imsave(stream, sheet, format="png", metadata={"Software": MAKER}, pil_kwargs={"compress_level": 3})
    return stream.getvalue()


def _places(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Line and first column of each row, in order, as many to a line as fit into the longest row's columns."""
    places, line, column = [], 0, 0
    for length in lengths:
        if column + length > max(lengths):
            line, column = line + 1, 0
        places.append((line, column))
        column += length
    return places


def _tile(example: Example, wide: int, high: int) -> Picture:
    picture = np.ascontiguousarray(example.picture.permute(1, 2, 0).numpy())
    shrinks = high < picture.shape[0]
    tile = cv2.resize(picture, (wide, high), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST)
    truth = example.truth.numpy()
    for code, colour in ((UNKNOWN, YELLOW), (DEFECT, RED)):
        if code == UNKNOWN and (truth == UNKNOWN).mean() > 0.5:
            continue  # nothing is known of the place
        marked = cv2.resize((truth == code).astype(np.uint8), (wide, high), interpolation=cv2.INTER_NEAREST)
        around = cv2.dilate(marked, np.ones((9, 9), np.uint8))  # beside the defect, not on it
        outlines, _ = cv2.findContours(around, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(tile, outlines, -1, colour, 1)
    return np.asarray(tile, np.uint8)

"""LabelMe: one JSON beside each picture: `shapes` (label, points, shape_type), `flags`, `imageWidth` and `imageHeight`."""

import math
from pathlib import Path, PurePosixPath
from typing import Any

from deploy.errors import DatasetError
from pipeline.data.annotations.annotated import Annotated
from pipeline.data.annotations.fields import brief, entry, listed, load_json, name, points, side
from pipeline.data.annotations.shapes import Box, Line, Mark, Outline, Point, Shape, Stencil, area_of

_CORNERS = 64  # of the polygon that stands for a circle


def read_labelme(file: Path) -> Annotated:
    """What one LabelMe file says of its picture. Raises DatasetError for a file that is none."""
    content = entry(load_json(file), str(file))
    marks = tuple(
        _mark(entry(shape, f"{file} shape {number}"), f"{file} shape {number}")
        for number, shape in enumerate(listed(content, "shapes", str(file)), start=1)
    )
    path = content.get("imagePath")
    picture = PurePosixPath(path.replace("\\", "/")).name if isinstance(path, str) else ""
    return Annotated(picture, side(content.get("imageWidth")), side(content.get("imageHeight")), marks, _flags(content, file))


def _flags(content: dict[str, Any], file: Path) -> tuple[str, ...]:
    """The flags of the picture that are true; those of single shapes say nothing of its label."""
    flags = entry(content.get("flags") or {}, f"{file}, flags")
    for flag, value in flags.items():
        if not isinstance(value, bool):
            raise DatasetError(f"{file}, flag {brief(flag)}: found {brief(value)}, expected true or false; set it again")
    return tuple(name(flag, f"{file}, flags") for flag, value in flags.items() if value)


def _mark(shape: dict[str, Any], where: str) -> Mark:
    drawn = _shape(shape, points(shape.get("points"), where), where)
    return Mark(name(shape.get("label"), f"{where}, label"), drawn, area_of(drawn))


def _shape(shape: dict[str, Any], drawn: tuple[Point, ...], where: str) -> Shape | None:
    kind = shape.get("shape_type") or "polygon"  # the oldest files hold polygons and do not say so
    needed = {"polygon": 3, "rectangle": 2, "circle": 2, "mask": 2}.get(kind, 1) if isinstance(kind, str) else 1
    if len(drawn) < needed:
        raise DatasetError(f"{where}: a {kind} of {len(drawn)} points, expected {needed}; draw the shape again")
    columns, rows = sorted(x for x, _ in drawn), sorted(y for _, y in drawn)
    match kind:
        case "polygon":
            return Outline((drawn,))
        case "rectangle":
            return Box(columns[0], rows[0], columns[-1], rows[-1])
        case "circle":
            (x, y), radius = drawn[0], math.dist(drawn[0], drawn[1])
            turns = [2 * math.pi * corner / _CORNERS for corner in range(_CORNERS)]
            return Outline((tuple((x + radius * math.cos(turn), y + radius * math.sin(turn)) for turn in turns),))
        case "line" | "linestrip" | "point":
            return Line(drawn)
        case "points":
            return None  # hints for an AI tool, which cover nothing
        case "mask":
            png = shape.get("mask")
            if not isinstance(png, str):
                raise DatasetError(f"{where}: a mask without its picture ({brief(png)}); draw the shape again")
            return Stencil(round(columns[0]), round(rows[0]), round(columns[-1]) + 1, round(rows[-1]) + 1, png)
        case _:
            raise DatasetError(
                f"{where}: shape_type is {brief(kind)}; "
                "expected polygon, rectangle, circle, line, linestrip, point, points or mask"
            )

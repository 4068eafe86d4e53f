"""COCO: one JSON of `images`, `annotations` (polygons, run lengths or boxes) and `categories`."""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from deploy.errors import DatasetError
from pipeline.data.annotations.fields import brief, entry, listed, load_json, name, numbers, relative, side
from pipeline.data.annotations.shapes import Box, Mark, Outline, Runs, Shape, area_of, unpack_runs


@dataclass(frozen=True)
class CocoImage:
    """One picture of a COCO file."""

    file_name: str
    width: int
    """0 where the file does not tell."""
    height: int
    annotations: tuple[dict[str, Any], ...]
    """As they stand in the file."""


@dataclass(frozen=True)
class Coco:
    """A parsed COCO file."""

    file: Path
    images: Mapping[str, CocoImage]
    """By image id, in the file's order."""
    categories: Mapping[Any, str]
    strays: int
    """Annotations of pictures that are not listed."""


def read_coco(file: Path) -> Coco:
    """Parse a COCO file, once as long as it does not change. Raises DatasetError for a file that is none."""
    try:
        about = file.stat()
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read ({error.strerror}); put it back, or correct its permissions") from error
    return _read(file, about.st_mtime_ns, about.st_size)


def marks_of(coco: Coco, image_id: str) -> tuple[Mark, ...]:
    """What is marked in one picture. Raises DatasetError for an annotation that is none."""
    return tuple(
        _mark(coco, annotation, f"{coco.file} image {image_id} annotation {number}")
        for number, annotation in enumerate(coco.images[image_id].annotations, start=1)
    )


def canonical(coco: Coco, image_id: str) -> str:
    """The annotations of one picture as one text that stays the same when a tool numbers or orders them anew."""
    rows = [
        json.dumps(
            {
                "category": coco.categories.get(_key(annotation.get("category_id")), ""),
                "bbox": annotation.get("bbox"),
                "segmentation": annotation.get("segmentation"),
            },
            sort_keys=True,
        )
        for annotation in coco.images[image_id].annotations
    ]
    return "\n".join(sorted(rows))


@lru_cache(maxsize=4)
def _read(file: Path, changed: int, size: int) -> Coco:
    content = entry(load_json(file), str(file))
    categories = {}
    for number, category in enumerate(listed(content, "categories", str(file)), start=1):
        where = f"{file} category {number}"
        category_id = _key(entry(category, where).get("id"))
        categories[category_id] = name(category.get("name"), f"{where}, name")
    by_image: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for number, annotation in enumerate(listed(content, "annotations", str(file)), start=1):
        by_image[_key(entry(annotation, f"{file} annotation {number}").get("image_id"))].append(annotation)
    images: dict[str, CocoImage] = {}
    for number, image in enumerate(listed(content, "images", str(file)), start=1):
        where = f"{file} image {number}"
        image_id = _key(entry(image, where).get("id"))
        if not image_id:
            raise DatasetError(f"{where}: its id is {brief(image.get('id'))}, expected a number; export the annotations again")
        if image_id in images:
            raise DatasetError(f"{where}: the id {image_id} is taken by another picture; export the annotations again")
        file_name = relative(image.get("file_name"), f"{where}, file_name")
        images[image_id] = CocoImage(
            file_name, side(image.get("width")), side(image.get("height")), tuple(by_image.pop(image_id, ()))
        )
    return Coco(file, images, categories, sum(len(strays) for strays in by_image.values()))


def _key(value: Any) -> str:
    """An id as text, empty where it is none: some tools write numbers, others text."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int) or (isinstance(value, str) and value.isprintable()) else ""


def _mark(coco: Coco, annotation: dict[str, Any], where: str) -> Mark:
    category = coco.categories.get(_key(annotation.get("category_id")))
    if category is None:
        raise DatasetError(
            f"{where}: its category_id is {brief(annotation.get('category_id'))}, which `categories` does not name; "
            "export the annotations again"
        )
    shape = _shape(annotation, where)
    return Mark(category, shape, area_of(shape))


def _shape(annotation: dict[str, Any], where: str) -> Shape | None:
    outlined = annotation.get("segmentation")
    if isinstance(outlined, dict):
        return _runs(outlined, f"{where}, segmentation")
    if outlined:
        if not isinstance(outlined, list):
            raise DatasetError(f"{where}: segmentation is {brief(outlined)}; expected polygons or run lengths")
        return Outline(tuple(_polygon(one, f"{where}, segmentation") for one in outlined))
    if annotation.get("bbox"):
        corners = numbers(annotation["bbox"], f"{where}, bbox")
        if len(corners) != 4:
            raise DatasetError(f"{where}: bbox has {len(corners)} numbers; expected [x, y, width, height]")
        x, y, width, height = corners
        return Box(x, y, x + max(width, 0), y + max(height, 0))
    return None


def _polygon(value: Any, where: str) -> tuple[tuple[float, float], ...]:
    flat = numbers(value, where)
    if len(flat) < 6 or len(flat) % 2:
        raise DatasetError(f"{where}: a polygon of {len(flat)} numbers; expected x, y of at least three points")
    return tuple(zip(flat[::2], flat[1::2], strict=True))


def _runs(value: dict[str, Any], where: str) -> Runs:
    size = numbers(value.get("size"), f"{where}, size")
    counts = value.get("counts")
    try:
        if isinstance(counts, str):
            lengths = unpack_runs(counts)
        elif isinstance(counts, list) and all(isinstance(one, int) for one in counts):
            lengths = tuple(counts)
        else:
            raise ValueError(f"counts is {brief(counts)}, expected whole numbers or text")
        if len(size) != 2 or min(lengths, default=0) < 0 or sum(lengths) != size[0] * size[1]:
            raise ValueError("run lengths that do not fill their size")
    except ValueError as error:
        raise DatasetError(f"{where}: {error}; export the annotations again") from error
    return Runs(int(size[0]), int(size[1]), lengths)

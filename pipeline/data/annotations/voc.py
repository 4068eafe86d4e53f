"""Pascal VOC: one XML for each picture, `<annotation>` with `<filename>`, `<size>` and an `<object>` for each box."""

from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from deploy.errors import DatasetError
from pipeline.data.annotations.annotated import Annotated
from pipeline.data.annotations.fields import name, numbers, side
from pipeline.data.annotations.shapes import Box, Mark, area_of


def read_voc(file: Path) -> Annotated:
    """What one VOC file says of its picture. Raises DatasetError for a file that is none."""
    root = _parse(file)
    if root.tag != "annotation":
        raise DatasetError(f"{file}: its outermost tag is <{root.tag}>, expected <annotation> (Pascal VOC)")
    marks = tuple(_mark(found, f"{file} object {number}") for number, found in enumerate(root.iter("object"), start=1))
    picture = PurePosixPath((root.findtext("filename") or "").strip().replace("\\", "/")).name
    return Annotated(picture, side(_number(root.findtext("size/width"))), side(_number(root.findtext("size/height"))), marks)


def _mark(found: ElementTree.Element, where: str) -> Mark:
    called = name(found.findtext("name"), f"{where}, name")
    if found.find("bndbox") is None:
        return Mark(called, None, 0.0)
    corners = [_number(found.findtext(f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax")]
    x0, y0, x1, y1 = numbers(corners, f"{where}, bndbox")
    # The standard counts pixels from 1, and the last one is inside.
    box = Box(min(x0, x1) - 1, min(y0, y1) - 1, max(x0, x1), max(y0, y1))
    return Mark(called, box, area_of(box))


def _number(text: str | None) -> Any:
    try:
        return float(text or "")
    except ValueError:
        return text


def _parse(file: Path) -> ElementTree.Element:
    try:
        data = file.read_bytes()
        return ElementTree.fromstring(data, ElementTree.XMLParser(target=_NoDoctype()))
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read ({error.strerror}); put it back, or correct its permissions") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DatasetError(f"{file} is no XML: {error}; export the annotations again") from error


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses what entities are declared in: a few lines of them grow to gigabytes, and no annotation tool writes any."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("it has a DOCTYPE, which may hide anything")

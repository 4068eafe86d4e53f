"""Whatever stands in a table or an annotation file, it is read or refused in one sentence: never a traceback."""

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.errors import DatasetError
from pipeline.data.layouts import Layout, read_dataset
from pipeline.data.masks import hash_place, read_place

PNG = cv2.imencode(".png", np.zeros((6, 8, 3), np.uint8))[1].tobytes()
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 99)
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["a.png", "ok", "dent"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
NUMBER = st.integers(-5, 20) | st.floats(-5, 20) | ANY
NAME = st.sampled_from(["dent", "ok", "crack", "a.png", "b.png", "x/a.png"]) | ANY


def thing(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A JSON object that may have these keys, or anything else in its place: most are nearly right."""
    return st.fixed_dictionaries({}, optional=fields) | st.fixed_dictionaries(fields) | ANY


POINTS = st.lists(st.lists(NUMBER, min_size=2, max_size=2), max_size=5) | ANY
LABELME = thing(
    shapes=st.lists(
        thing(
            label=NAME,
            points=POINTS,
            shape_type=st.sampled_from(["polygon", "rectangle", "circle", "line", "point", "points", "mask"]) | ANY,
            mask=st.text(max_size=8) | ANY,
        ),
        max_size=3,
    ),
    imageWidth=st.just(8) | ANY,
    imageHeight=st.just(6) | ANY,
    imagePath=NAME,
    flags=st.dictionaries(NAME.filter(lambda name: isinstance(name, str)), st.booleans() | ANY, max_size=2) | ANY,
)
RUNS = thing(size=st.just([6, 8]) | ANY, counts=st.just([40, 8]) | st.text("0123456789:;<=>?@abcno", max_size=9) | ANY)
COCO = thing(
    images=st.lists(
        thing(id=st.integers(0, 2) | ANY, file_name=NAME, width=st.just(8) | ANY, height=st.just(6) | ANY), max_size=3
    ),
    annotations=st.lists(
        thing(
            image_id=st.integers(0, 2) | ANY,
            category_id=st.integers(0, 2) | ANY,
            bbox=st.lists(NUMBER, min_size=4, max_size=4) | ANY,
            segmentation=st.lists(st.lists(NUMBER, min_size=6, max_size=8), max_size=2) | RUNS,
        ),
        max_size=3,
    ),
    categories=st.lists(thing(id=st.integers(0, 2) | ANY, name=NAME), max_size=3),
)
CELL = st.sampled_from(["path", "label", "split", "mask", "time", "a.png", "good", "bad", "train", "2026-03-01", ""]) | st.text(
    max_size=5
)
TABLE = st.lists(st.lists(CELL, max_size=6), max_size=5)


def read_all(files: dict[str, bytes], layout: Layout) -> None:
    """Read a dataset of these files and everything its masks tell; only DatasetError may come of it."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, content in {"a.png": PNG, "b.png": PNG, **files}.items():
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_bytes(content)
        try:
            dataset = read_dataset(root, layout)
            for sample in dataset.samples:
                assert (sample.label == "good") == (sample.defect_type == "")
                hash_place(sample)
                assert read_place(sample, (6, 8)).shape == (6, 8)
        except DatasetError:
            pass


@QUICK
@given(content=LABELME)
def test_labelme(content: Any) -> None:
    good = json.dumps({"shapes": []}).encode()  # so that the folder is taken for one of LabelMe's
    read_all({"a.json": json.dumps(content).encode(), "b.json": good}, "labelme")


@QUICK
@given(content=COCO)
def test_coco(content: Any) -> None:
    read_all({"annotations/instances.json": json.dumps(content).encode()}, "coco")


@QUICK
@given(rows=TABLE, header=st.just(["path", "label"]) | st.lists(CELL, max_size=6), separator=st.sampled_from(",;\t"))
def test_tables(rows: list[list[str]], header: list[str], separator: str) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=separator).writerows([header, *rows])
    content = text.getvalue().encode("utf-8", "surrogatepass")
    read_all({"t.csv": content, "u.csv": b"path,label\na.png,bad\n"}, "csv")
    read_all({"t.csv": content}, "csv")
    read_all({"good/a.png": PNG, "groups.csv": content.replace(b"path", b"file").replace(b"label", b"group")}, "folders")


@QUICK
@given(content=st.binary(max_size=40) | st.text("<annotion>objectame/&;! \n", max_size=60).map(str.encode))
def test_bytes_of_any_kind(content: bytes) -> None:
    read_all({"annotations/a.xml": content}, "voc")
    read_all({"annotations/a.json": content}, "coco")
    read_all({"a.json": content, "b.json": b'{"shapes": []}'}, "labelme")
    read_all({"t.csv": b"path,label\n" + content}, "csv")

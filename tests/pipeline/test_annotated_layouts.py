"""COCO, Pascal VOC and LabelMe read as classification."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.errors import DatasetError
from pipeline.data.layouts import Dataset, Layout, read_dataset
from pipeline.data.prepare import read_samples
from tests.pipeline.conftest import MakeFiles

Told = list[tuple[str, str, str, str]]
SQUARE = [10, 10, 20, 10, 20, 20, 10, 20]
"""In the pictures of 56 x 40 that `write_pictures` makes."""


def coco(*images: tuple[str, list[tuple[str, list[float]]]], **change: Any) -> str:
    """A COCO file of (file name, [(category, bbox)])."""
    names = sorted({name for _, marks in images for name, _ in marks})
    content = {
        "images": [{"id": number, "file_name": name, "width": 56, "height": 40} for number, (name, _) in enumerate(images)],
        "annotations": [
            {"id": 9, "image_id": number, "category_id": names.index(name), "bbox": box}
            for number, (_, marks) in enumerate(images)
            for name, box in marks
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names)],
    }
    return json.dumps({**content, **change})


def voc(name: str, *boxes: tuple[str, tuple[float, float, float, float]]) -> str:
    objects = "".join(
        f"<object><name>{kind}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for kind, (x0, y0, x1, y1) in boxes
    )
    size = "<size><width>56</width><height>40</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}</filename>{size}{objects}</annotation>"


def labelme(*labels: str, **change: Any) -> str:
    """A LabelMe file with one rectangle for each label, each larger than the one before."""
    shapes = [
        {"label": label, "shape_type": "rectangle", "points": [[2, 2], [4 + 4 * number, 6]]}
        for number, label in enumerate(labels)
    ]
    return json.dumps({"shapes": shapes, "imagePath": "..\\a.png", "imageWidth": 56, "imageHeight": 40, **change})


def write(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, encoding="utf-8")


def told(dataset: Dataset) -> Told:
    return [(sample.path, sample.defect_type, sample.split, sample.mask) for sample in dataset.samples]


DENT, TWO = [("dent", [1.0, 1.0, 5.0, 5.0])], [("dent", [1.0, 1.0, 5.0, 5.0]), ("crack", [1.0, 1.0, 50.0, 5.0])]
BOX, WIDE = (2, 2, 6, 6), (2, 2, 40, 6)

LAYOUTS: dict[str, tuple[list[str], dict[str, str], Told]] = {
    "COCO with images/": (
        ["images/a.png", "images/b.png"],
        {"annotations/instances.json": coco(("a.png", TWO), ("b.png", [("OK", [0, 0, 9, 9])]))},
        [("images/a.png", "crack", "", "annotations/instances.json#0"), ("images/b.png", "", "", "")],
    ),
    "COCO from the root": (
        ["x/a.png"],
        {"annotations/all.json": coco(("x\\a.png", DENT))},
        [("x/a.png", "dent", "", "annotations/all.json#0")],
    ),
    "COCO with a split, and equal names": (
        ["train2017/1.png", "val2017/1.png"],
        {
            "annotations/instances_train2017.json": coco(("1.png", DENT)),
            "annotations/instances_val2017.json": coco(("1.png", [])),
            "annotations/captions_val2017.json": "{}",
        },
        [("train2017/1.png", "dent", "train", "annotations/instances_train2017.json#0"), ("val2017/1.png", "", "validation", "")],
    ),
    "Roboflow's COCO": (
        ["train/a.png", "valid/b.png"],
        {"train/_annotations.coco.json": coco(("a.png", DENT)), "valid/_annotations.coco.json": coco(("b.png", []))},
        [("train/a.png", "dent", "train", "train/_annotations.coco.json#0"), ("valid/b.png", "", "validation", "")],
    ),
    "VOC": (
        ["JPEGImages/a.png", "JPEGImages/b.png", "JPEGImages/c.png"],
        {
            "Annotations/a.xml": voc("a.png", ("dent", BOX), ("crack", WIDE)),
            "Annotations/b.xml": voc("b.png"),
            "Annotations/c.xml": voc("c.png", ("good", BOX)),
            "ImageSets/Main/train.txt": "a\nb 1\n",
            "ImageSets/Main/test.txt": "c\n",
            "ImageSets/Main/trainval.txt": "a\nc\n",
        },
        [
            ("JPEGImages/a.png", "crack", "train", "Annotations/a.xml"),
            ("JPEGImages/b.png", "", "train", ""),
            ("JPEGImages/c.png", "", "test", ""),
        ],
    ),
    "VOC beside the pictures": (
        ["train/a.png", "test/b.png"],
        {"train/a.xml": voc("a.png", ("dent", BOX)), "test/b.xml": voc("b.png")},
        [("test/b.png", "", "test", ""), ("train/a.png", "dent", "train", "train/a.xml")],
    ),
    "LabelMe": (
        ["line1/a.png", "line1/b.jpg"],
        {"line1/a.json": labelme("dent", "crack", "ok"), "line1/b.json": labelme("ok"), "settings.json": "[1"},
        [("line1/a.png", "crack", "", "line1/a.json"), ("line1/b.jpg", "", "", "")],
    ),
    "LabelMe with a split": (
        ["train/a.png", "test/a.png"],
        {"train/a.json": labelme("dent"), "test/a.json": labelme()},
        [("test/a.png", "", "test", ""), ("train/a.png", "dent", "train", "train/a.json")],
    ),
    "LabelMe, and two pictures of a name": (
        ["a.png", "a.jpg", "b.png"],
        {"a.json": labelme("dent"), "b.json": labelme("dent", shapes=[])},
        [("a.jpg", "", "", ""), ("a.png", "dent", "", "a.json"), ("b.png", "", "", "")],
    ),
    "LabelMe flags": (
        ["a.png", "b.png", "c.png", "d.png"],
        {
            "a.json": labelme(flags={"defective": True, "dent": False}),
            "b.json": labelme(flags={"OK": True}),
            "c.json": labelme("crack", flags={"dent": True}),
            "d.json": labelme(flags=None),
        },
        [("a.png", "defective", "", ""), ("b.png", "", "", ""), ("c.png", "crack", "", "c.json"), ("d.png", "", "", "")],
    ),
    "class folders win over annotations in them": (
        ["good/a.png", "defective/dent/b.png"],
        {"defective/dent/b.json": labelme("crack"), "annotations/all.json": coco(("good/a.png", DENT))},
        [("defective/dent/b.png", "dent", "", ""), ("good/a.png", "", "", "")],
    ),
    "metadata of a camera is no LabelMe": (
        ["fine/a.png", "dent/b.png"],
        {"fine/a.json": '{"exposure": 3}', "dataset.yaml": "good: [fine]"},
        [("dent/b.png", "dent", "", ""), ("fine/a.png", "", "", "")],
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_are_told_apart_and_read(layout: str, tmp_path: Path, write_pictures: MakeFiles) -> None:
    pictures, files, expected = LAYOUTS[layout]
    write_pictures(tmp_path, pictures)
    write(tmp_path, files)
    dataset = read_dataset(tmp_path)
    assert told(dataset) == expected
    assert all((sample.label == "good") == (sample.defect_type == "") for sample in dataset.samples)


NOTES: dict[str, tuple[list[str], dict[str, str], str]] = {
    "LabelMe, some without": (
        ["a.png", "b.png", "c.png"],
        {"a.json": labelme("dent")},
        r"2 pictures have no annotation file and count as good \(first: b.png\)",
    ),
    "VOC, one without": (
        ["JPEGImages/a.png", "JPEGImages/b.png"],
        {"Annotations/a.xml": voc("a.png")},
        r"1 picture has no annotation file and counts as good \(JPEGImages/b.png\)",
    ),
    "VOC without a picture": (
        ["JPEGImages/a.png"],
        {"Annotations/a.xml": voc("a.png"), "Annotations/z.xml": voc("z.png")},
        r"1 annotation file has no picture \(Annotations/z.xml\)",
    ),
    "VOC lists": (
        ["JPEGImages/a.png", "JPEGImages/b.png"],
        {"Annotations/a.xml": voc("a.png"), "Annotations/b.xml": voc("b.png"), "ImageSets/Main/train.txt": "a\ny\nz\n"},
        r"2 pictures listed in ImageSets/Main are missing \(first: y\).*"
        r"1 picture is in none of the lists in ImageSets/Main and is left out \(JPEGImages/b.png\)",
    ),
    "COCO, some missing": (
        ["images/a.png"],
        {"annotations/a.json": coco(("a.png", DENT), ("b.png", DENT), ("c.png", []))},
        r"2 listed pictures are missing \(first: b.png\)",
    ),
    "COCO, annotations of others": (
        ["images/a.png"],
        {"annotations/a.json": coco(("a.png", []), annotations=[{"image_id": 7}])},
        "1 annotation is of a picture",
    ),
}


@pytest.mark.parametrize("case", NOTES)
def test_what_is_missing_is_said(case: str, tmp_path: Path, write_pictures: MakeFiles) -> None:
    pictures, files, expected = NOTES[case]
    write_pictures(tmp_path, pictures)
    write(tmp_path, files)
    assert re.search(expected, " / ".join(read_dataset(tmp_path).notes))


def test_notes_are_said_aloud(tmp_path: Path, write_pictures: MakeFiles, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path, ["a.png", "b.png"])
    write(tmp_path, {"a.json": labelme("dent")})
    samples, _ = read_samples(tmp_path, layout="labelme")
    assert len(samples) == 2
    assert "no annotation file and counts as good" in " ".join(capsys.readouterr().out.split())


ONE = [("a.png", DENT)]
BAD: dict[str, tuple[dict[str, str], str]] = {
    "COCO that is no JSON": ({"annotations/a.json": "{"}, r"a\.json is no JSON"),
    "COCO nested without end": ({"annotations/a.json": "[" * 100_000}, "is no JSON"),
    "COCO that is a list": ({"annotations/a.json": "[]"}, "a list, expected an object"),
    "COCO without images": (
        {"annotations/a.json": '{"categories": [], "annotations": []}'},
        "`images` is nothing, expected a list",
    ),
    "COCO image without a name": ({"annotations/a.json": coco(*ONE, images=[{"id": 1}])}, "image 1, file_name: found None"),
    "COCO image without an id": ({"annotations/a.json": coco(*ONE, images=[{"file_name": "a.png"}])}, "its id is None"),
    "COCO image twice": ({"annotations/a.json": coco(*ONE, *ONE)}, "lists images/a.png, which is listed before"),
    "COCO id twice": (
        {"annotations/a.json": coco(*ONE, images=[{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}])},
        "the id 1 is taken",
    ),
    "COCO picture outside": ({"annotations/a.json": coco(("../a.png", DENT))}, "leads out of the dataset folder"),
    "COCO picture anywhere": ({"annotations/a.json": coco(("/etc/a.png", DENT))}, "leads out of the dataset folder"),
    "COCO picture on a drive": ({"annotations/a.json": coco(("C:\\a.png", DENT))}, "leads out of the dataset folder"),
    "COCO unknown category": ({"annotations/a.json": coco(*ONE, categories=[])}, "category_id is 0, which `categories`"),
    "COCO short bbox": ({"annotations/a.json": coco(("a.png", [("dent", [1, 2])]))}, "bbox has 2 numbers"),
    "COCO bbox of text": ({"annotations/a.json": coco(("a.png", [("dent", "wide")]))}, "bbox: found 'wide'"),  # type: ignore[list-item]
    "COCO bbox without end": ({"annotations/a.json": coco(("a.png", [("dent", [0, 0, float("inf"), 1])]))}, "bbox: found a list"),
    "COCO run lengths": (
        {
            "annotations/a.json": coco(
                *ONE, annotations=[{"image_id": 0, "category_id": 0, "segmentation": {"size": [40, 56], "counts": [3]}}]
            )
        },
        "do not fill their size",
    ),
    "COCO split of some": ({"annotations/a.json": coco(*ONE), "annotations/val.json": coco()}, "a.json names neither"),
    "VOC that is no XML": ({"Annotations/a.xml": "<annotation>"}, r"a\.xml is no XML"),
    "VOC with entities": (
        {"Annotations/a.xml": '<!DOCTYPE x [<!ENTITY a "aaaa">]><annotation><filename>&a;</filename></annotation>'},
        "it has a DOCTYPE",
    ),
    "VOC of another kind": ({"Annotations/a.xml": "<svg/>"}, "outermost tag is <svg>"),
    "VOC without a name": ({"Annotations/a.xml": "<annotation><object/></annotation>"}, "object 1, name: found None"),
    "VOC box of text": ({"Annotations/a.xml": voc("a.png", ("dent", ("a", 1, 2, 3)))}, "bndbox: found a list"),  # type: ignore[arg-type]
    "VOC in two lists": (
        {"Annotations/a.xml": voc("a.png"), "ImageSets/Main/train.txt": "a", "ImageSets/Main/val.txt": "a"},
        "in the list of another part",
    ),
    "LabelMe that is no JSON": ({"images/a.json": "{", "images/b.json": labelme()}, r"a\.json is no JSON"),
    "LabelMe without shapes": ({"images/a.json": "{}", "images/b.json": labelme()}, "`shapes` is nothing"),
    "LabelMe shape of nothing": ({"images/a.json": labelme(shapes=[7])}, "shape 1: found 7, expected an object"),
    "LabelMe good with a defect": (
        {"images/a.json": labelme("dent", flags={"good": True})},
        r"a\.json has the flag 'good', and 'dent' drawn; a picture is good or defective: clear",
    ),
    "LabelMe good and bad": (
        {"images/a.json": labelme(flags={"dent": True, "good": True})},
        "has the flag 'good', and 'dent' as another one",
    ),
    "LabelMe flag of nothing": ({"images/a.json": labelme(flags={"dent": 1})}, "flag 'dent': found 1, expected true or false"),
    "LabelMe flags that are none": ({"images/a.json": labelme(flags=["dent"])}, "flags: found a list, expected an object"),
    "LabelMe without points": ({"images/a.json": labelme(shapes=[{"label": "x"}])}, "expected points"),
    "LabelMe without a label": ({"images/a.json": labelme(shapes=[{"points": [[1, 1]] * 3}])}, "label: found None"),
    "LabelMe polygon of two": (
        {"images/a.json": labelme(shapes=[{"label": "x", "points": [[1, 1]] * 2}])},
        "a polygon of 2 points",
    ),
    "LabelMe strange shape": (
        {"images/a.json": labelme(shapes=[{"label": "x", "points": [[1, 1]], "shape_type": "star"}])},
        "shape_type is 'star'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_broken_annotations_get_one_clear_sentence(case: str, tmp_path: Path, write_pictures: MakeFiles) -> None:
    files, expected = BAD[case]
    write_pictures(tmp_path, ["images/a.png", "images/b.png"])
    write(tmp_path, files)
    with pytest.raises(DatasetError, match=expected):
        read_dataset(tmp_path)


ASKED: dict[str, tuple[Layout, str]] = {
    "folders": ("folders", r"looked for good/"),
    "csv": ("csv", r"looked for a \.csv with the columns path,label"),
    "coco": ("coco", r"looked for annotations/\*\.json"),
    "voc": ("voc", r"looked for Annotations/X\.xml"),
    "labelme": ("labelme", r"looked for X\.json"),
}


@pytest.mark.parametrize("case", ASKED)
def test_a_layout_that_does_not_fit_is_refused(case: str, tmp_path: Path, write_pictures: MakeFiles) -> None:
    layout, expected = ASKED[case]
    write_pictures(tmp_path, ["a.png"])
    with pytest.raises(DatasetError, match=expected):
        read_dataset(tmp_path, layout)


CHOICES: dict[Layout, Callable[[Path], None]] = {
    "folders": lambda root: None,
    "csv": lambda root: write(root, {"t.csv": "path,label\ngood/a.png,bad\n"}),
    "coco": lambda root: write(root, {"annotations/a.json": coco(("good/a.png", DENT))}),
    "voc": lambda root: write(root, {"good/a.xml": voc("a.png", ("dent", BOX))}),
    "labelme": lambda root: write(root, {"good/a.json": labelme("dent")}),
}


@pytest.mark.parametrize("layout", CHOICES)
def test_a_layout_can_be_asked_for(layout: Layout, tmp_path: Path, write_pictures: MakeFiles) -> None:
    write_pictures(tmp_path, ["good/a.png"])
    for make in CHOICES.values():
        make(tmp_path)
    assert read_dataset(tmp_path).samples[0].label == "good"
    dataset = read_dataset(tmp_path, layout)
    assert dataset.name == tmp_path.name
    assert dataset.samples[0].label == ("good" if layout == "folders" else "defective")


def test_a_file_is_a_table_or_nothing(tmp_path: Path) -> None:
    write(tmp_path, {"t.csv": "path,label\n"})
    with pytest.raises(DatasetError, match="the layout coco is read from a folder"):
        read_dataset(tmp_path / "t.csv", "coco")
    with pytest.raises(DatasetError, match="no layout 'yolo'; expected one of folders, csv, coco, voc, labelme"):
        read_dataset(tmp_path, "yolo")  # type: ignore[arg-type]


def test_a_folder_with_one_table_is_that_table(tmp_path: Path, write_pictures: MakeFiles) -> None:
    write_pictures(tmp_path, ["a.png"])
    write(tmp_path, {"t.csv": "path,label\na.png,bad\n", "other.csv": "x,y\n"})
    assert [sample.path for sample in read_dataset(tmp_path).samples] == ["a.png"]
    write(tmp_path, {"u.csv": "path,label\na.png,good\n"})
    with pytest.raises(DatasetError, match=r"holds 2 tables, t\.csv and u\.csv"):
        read_dataset(tmp_path, "csv")


def test_groups_and_the_card_s_good_names_hold_for_annotations_too(tmp_path: Path, write_pictures: MakeFiles) -> None:
    write_pictures(tmp_path, ["p1_a.png", "p2_a.png"])
    write(tmp_path, {"p1_a.json": labelme("dust"), "p2_a.json": labelme("dent")})
    write(tmp_path, {"dataset.yaml": "good: [Dust]\ngroup_regex: '(p\\d)'\n"})
    assert [(sample.group, sample.label) for sample in read_dataset(tmp_path).samples] == [("p1", "good"), ("p2", "defective")]

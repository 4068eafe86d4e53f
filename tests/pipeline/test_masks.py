"""Where the defect is, read from every kind of file that tells it."""

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from deploy.errors import DatasetError
from deploy.preprocess import Preprocessing
from pipeline.data.annotations.shapes import unpack_runs
from pipeline.data.layouts import read_dataset
from pipeline.data.masks import hash_place, read_place
from pipeline.data.pictures import Pictures
from pipeline.data.sample import Sample

HEIGHT, WIDTH = 40, 56
SIZE = (HEIGHT, WIDTH)
PLACE = np.zeros(SIZE, np.uint8)
PLACE[10:20, 30:50] = 1
RUNS = [30 * HEIGHT + 10, *[10, 30] * 19, 10, 6 * HEIGHT + 20]
PACKED = "jU1:n00000000000000000000000000000000000000V7"
"""PLACE as pycocotools 2.0 encodes it."""
PACKED_DISC = (
    "01T10ZO0U1000kN0U1000kN0U1000kN0U1000kN0K4g06K4YOB:0F`0b02N3J[OEd0?2O0LZOFf0=2O0LXOHh0<000KXOKf0<000IZOMd01\\O2d0:NG^OO`0O@5>="
    "LCF34ML00U1000kN0U1000kN0U1000kN0U1000kN0U1000kN0U1000eN"
)
"""The same of a disc with thin slanting lines."""


def _png(picture: Any) -> str:
    return base64.b64encode(cv2.imencode(".png", picture)[1].tobytes()).decode()


def _labelme(**shape: Any) -> tuple[str, str]:
    shapes = [{"label": "dent", **shape}, {"label": "ok", "points": [[0, 0], [5, 5]], "shape_type": "rectangle"}]
    return "a.json", json.dumps({"shapes": shapes, "imageWidth": WIDTH, "imageHeight": HEIGHT})


def _coco(**annotation: Any) -> tuple[str, str]:
    content = {
        "images": [{"id": 17, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 1, "name": "dent"}, {"id": 2, "name": "Good"}],
        "annotations": [
            {"image_id": 17, "category_id": 1, **annotation},
            {"image_id": 17, "category_id": 2, "bbox": [0, 0, 5, 5]},
        ],
    }
    return "annotations/instances.json", json.dumps(content)


CORNERS = [[30, 10], [50, 10], [50, 20], [30, 20]]
FLAT = [value for corner in CORNERS for value in corner]
TOLD = {
    "LabelMe rectangle": _labelme(points=[[50, 20], [30, 10]], shape_type="rectangle"),
    "LabelMe polygon": _labelme(points=CORNERS, shape_type="polygon"),
    "LabelMe polygon of old": _labelme(points=CORNERS),
    "LabelMe mask": _labelme(points=[[30, 10], [49, 19]], shape_type="mask", mask=_png(np.full((10, 20), 255, np.uint8))),
    "VOC box": (
        "a.xml",
        "<annotation><filename>a.png</filename><object><name>dent</name><bndbox><xmin>31</xmin><ymin>11</ymin>"
        "<xmax>50</xmax><ymax>20</ymax></bndbox></object></annotation>",
    ),
    "COCO box": _coco(bbox=[30, 10, 20, 10], segmentation=[]),
    "COCO polygon": _coco(bbox=[0, 0, 1, 1], segmentation=[FLAT]),
    "COCO two polygons": _coco(segmentation=[[30, 10, 40, 10, 40, 20, 30, 20], [40, 10, 50, 10, 50, 20, 40, 20]]),
    "COCO run lengths": _coco(segmentation={"size": [HEIGHT, WIDTH], "counts": RUNS}),
    "COCO packed run lengths": _coco(segmentation={"size": [HEIGHT, WIDTH], "counts": PACKED}),
}


def _sample(folder: Path, name: str, content: str) -> Sample:
    cv2.imwrite(str(folder / "a.png"), np.zeros((*SIZE, 3), np.uint8))
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(content)
    return read_dataset(folder).samples[0]


@pytest.mark.parametrize("case", TOLD)
def test_the_place_is_read_from_every_kind_of_file(case: str, tmp_path: Path) -> None:
    sample = _sample(tmp_path, *TOLD[case])
    assert sample.defect_type == "dent"
    place = read_place(sample, SIZE)
    assert place.shape == SIZE
    assert place.dtype == np.uint8
    # A polygon's edge runs through pixels, and OpenCV fills those it touches.
    edge = cv2.dilate(PLACE, np.ones((3, 3), np.uint8)) - cv2.erode(PLACE, np.ones((3, 3), np.uint8))
    assert np.array_equal(place[edge == 0], PLACE[edge == 0])
    if "polygon" not in case:
        assert np.array_equal(place, PLACE)


@pytest.mark.parametrize("kind", ["line", "linestrip", "point", "circle"])
def test_thin_shapes_cover_something_where_they_are(kind: str, tmp_path: Path) -> None:
    points = [[30, 15]] if kind == "point" else [[30, 15], [40, 15]]
    place = read_place(_sample(tmp_path, *_labelme(points=points, shape_type=kind)), SIZE)
    assert place[15, 30] == 1
    assert int(place.sum()) == pytest.approx({"point": 10, "circle": 314}.get(kind, 33), rel=0.35)


@pytest.mark.parametrize("case", ["LabelMe mask", "LabelMe polygon", "COCO polygon", "COCO box"])
def test_what_lies_outside_is_cut_off(case: str, tmp_path: Path) -> None:
    name, content = TOLD[case]
    far = content.replace("[30, 10], [49, 19]", "[-5, -5], [14, 4]").replace("[50, 10], [50, 20]", "[500, 10], [500, 20]")
    far = far.replace("30, 10, 50, 10, 50", "-30, 10, 90, 10, 90").replace("[30, 10, 20, 10]", "[-30, -10, 900, 20]")
    place = read_place(_sample(tmp_path, name, far), SIZE)
    assert place.shape == SIZE
    assert place.any()


def test_run_lengths_are_unpacked_as_coco_packs_them(tmp_path: Path) -> None:
    assert unpack_runs(PACKED) == tuple(RUNS)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    disc = ((rows - 20) ** 2 + (columns - 25) ** 2 < 150) | ((columns + rows * 3) % 37 == 0)
    told = _coco(segmentation={"size": [HEIGHT, WIDTH], "counts": PACKED_DISC})
    assert np.array_equal(read_place(_sample(tmp_path, *told), SIZE), disc)


@pytest.mark.parametrize("text", ["~", "!", "o", "ooooooooooooooooooooo0"])
def test_text_that_packs_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="run lengths"):
        unpack_runs(text)


def test_training_knows_the_place(tmp_path: Path) -> None:
    sample = _sample(tmp_path, *TOLD["COCO box"])
    item = Pictures([sample], Preprocessing(height=40, width=56, pad_bgr=(0, 0, 0)))[0]
    assert np.array_equal(item.known.numpy(), 1 - PLACE)  # a box tells where no defect is, not which of its pixels are one
    assert not item.mask.any()


def test_another_size_is_refused(tmp_path: Path) -> None:
    for case in ("COCO box", "LabelMe polygon"):
        folder = tmp_path / case
        folder.mkdir()
        with pytest.raises(DatasetError, match=r"is 56 x 40, its picture a\.png is 40 x 56; annotate the picture as it is"):
            read_place(_sample(folder, *TOLD[case]), (WIDTH, HEIGHT))


def test_a_mask_that_is_no_png_is_refused(tmp_path: Path) -> None:
    broken = _sample(tmp_path, *_labelme(points=[[1, 1], [9, 9]], shape_type="mask", mask="bm9uZQ=="))
    with pytest.raises(DatasetError, match=r"'dent' of a\.png is a mask that is no PNG"):
        read_place(broken, SIZE)


def test_the_hash_follows_what_is_told_of_the_picture(tmp_path: Path) -> None:
    name, content = TOLD["COCO box"]
    sample = _sample(tmp_path, name, content)
    first = hash_place(sample)
    told = json.loads(content)
    told["annotations"].reverse()
    told["annotations"].append({"image_id": 18, "category_id": 1, "bbox": [1, 1, 1, 1]})
    told["images"].append({"id": 18, "file_name": "b.png"})
    told["annotations"][0]["id"] = 99
    (tmp_path / name).write_text(json.dumps(told))
    assert hash_place(sample) == first
    told["annotations"][1]["bbox"] = [30, 10, 20, 11]
    (tmp_path / name).write_text(json.dumps(told))
    assert hash_place(sample) != first
    told["images"] = []
    (tmp_path / name).write_text(json.dumps(told))
    with pytest.raises(DatasetError, match="no longer lists a picture 17"):
        hash_place(sample)
    (tmp_path / name).unlink()
    with pytest.raises(DatasetError, match="cannot be read"):
        hash_place(sample)


def test_the_hash_of_a_file_is_the_file_s(tmp_path: Path) -> None:
    sample = _sample(tmp_path, *TOLD["LabelMe polygon"])
    first = hash_place(sample)
    (tmp_path / "a.json").write_text((tmp_path / "a.json").read_text() + " ")
    assert len(first) == 64
    assert hash_place(sample) != first
    assert hash_place(Sample(str(tmp_path), "a.png", "good")) == ""
    (tmp_path / "a.json").unlink()
    with pytest.raises(DatasetError, match="is gone"):
        hash_place(sample)


def test_without_a_mask_no_place_is_known(tmp_path: Path) -> None:
    assert not read_place(Sample(str(tmp_path), "a.png", "good"), SIZE).any()

from pathlib import Path

import cv2
import lightning
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import pipeline.data.pictures as pictures_module
from deploy.errors import RunError
from deploy.preprocess import Preprocessing, letterbox, read_picture
from pipeline.data.augment.settings import Augmentation
from pipeline.data.example import DEFECT, read_truth
from pipeline.data.layouts import read_dataset
from pipeline.data.pictures import Item, Pictures
from pipeline.data.sample import Sample
from pipeline.data.survey import survey
from tests.pipeline.test_annotated_layouts import coco, labelme, voc

SPEC = Preprocessing(height=64, width=96, pad_bgr=(1, 2, 3))


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    picture = np.random.default_rng(0).integers(0, 255, (120, 100, 3), np.uint8)
    mask = np.zeros((120, 100), np.uint8)
    mask[60:62, 50:52] = 255
    for name, content in (("good.png", picture), ("bad.png", picture), ("mask.png", mask), ("empty.png", mask * 0)):
        cv2.imwrite(str(tmp_path / name), content)
    return [
        Sample(str(tmp_path), "good.png", "good"),
        Sample(str(tmp_path), "bad.png", "defective", "dent", mask="mask.png"),
        Sample(str(tmp_path), "bad.png", "defective", "dent", mask="empty.png"),
        Sample(str(tmp_path), "bad.png", "defective", "dent"),
    ]


def test_training_sees_the_edge_s_pixels_as_rgb(samples: list[Sample]) -> None:
    item = Pictures(samples, SPEC)[0]
    expected = letterbox(read_picture(samples[0].file), SPEC)[..., ::-1]
    assert np.array_equal(item.picture.permute(1, 2, 0).numpy(), expected)


def test_where_the_defect_is_and_whether_that_is_known(samples: list[Sample]) -> None:
    items = [Pictures(samples, SPEC)[index] for index in range(4)]
    assert [float(item.label) for item in items] == [0, 1, 1, 1]
    assert [(int(item.known.min()), int(item.known.max())) for item in items] == [(1, 1), (1, 1), (0, 0), (0, 0)]
    assert [bool(item.mask.any()) for item in items] == [False, True, False, False]
    rows, columns = torch.nonzero(items[1].mask, as_tuple=True)
    assert len(rows) > 0, "a defect of two pixels must survive the shrinking"
    assert abs(float(rows.float().mean()) - 61 * 64 / 120) < 1.5
    assert abs(float(columns.float().mean()) - (21.5 + 51 * 64 / 120)) < 1.5


def test_without_room_in_memory_the_items_are_the_same(samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    cached = Pictures(samples, SPEC)
    monkeypatch.setattr(pictures_module, "CACHE_BYTES", 0)
    decoded = Pictures(samples, SPEC)
    for index in range(len(samples)):
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(decoded[index], cached[index], strict=True))


def test_a_mask_of_another_size_is_told(samples: list[Sample], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "mask.png"), np.zeros((5, 5), np.uint8))
    (bad,) = survey(samples).bad_masks
    assert bad.path == "mask.png"
    assert "mask.png is 5 x 5, its picture bad.png is 100 x 120" in bad.reason


def test_masks_of_zero_and_one_are_masks(samples: list[Sample], tmp_path: Path) -> None:
    mask = np.zeros((120, 100), np.uint8)
    mask[50:70, 40:60] = 1
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    assert Pictures(samples, SPEC)[1].mask.any()


BOXED = {
    "annotations/instances.json": coco(("a.png", [("dent", [20.0, 10.0, 16.0, 12.0])])),
    "a.xml": voc("a.png", ("dent", (21, 11, 36, 22))),
    "a.json": labelme(
        shapes=[{"label": "dent", "shape_type": "rectangle", "points": [[20, 10], [36, 22]]}], imagePath="a.png", imageHeight=40
    ),
}


@pytest.mark.parametrize("name", BOXED)
def test_a_box_tells_where_no_defect_is(name: str, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 56, 3), 90, np.uint8))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(BOXED[name])
    spec = Preprocessing(height=64, width=64, pad_bgr=(0, 0, 0))  # letterbox bars above and below
    (sample,) = read_dataset(tmp_path).samples
    item = Pictures([sample], spec)[0]
    scale, bar = 64 / 56, 9
    assert not item.mask.any()
    assert item.known[: bar + int(10 * scale) - 1].all()
    assert item.known[bar + int(22 * scale) + 2 :].all()
    assert not item.known[bar + int(10 * scale) + 1 : bar + int(22 * scale), int(20 * scale) + 1 : int(36 * scale)].any()
    assert int((item.known == 0).sum()) == pytest.approx(16 * 12 * scale**2, rel=0.25)


def test_an_outline_within_a_box_is_known(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 56, 3), 90, np.uint8))
    shapes = [
        {"label": "dent", "shape_type": "rectangle", "points": [[20, 10], [36, 22]]},
        {"label": "crack", "shape_type": "polygon", "points": [[22, 12], [28, 12], [28, 18], [22, 18]]},
    ]
    (tmp_path / "a.json").write_text(labelme(shapes=shapes))
    item = Pictures(read_dataset(tmp_path).samples, Preprocessing(height=40, width=56, pad_bgr=(0, 0, 0)))[0]
    assert item.mask[13:17, 23:27].all()
    assert item.known[13:17, 23:27].all()
    assert not item.known[19:21, 21:35].any()
    assert int(item.mask.sum()) < 60


def test_the_same_seed_gives_the_same_pictures(samples: list[Sample]) -> None:
    everything = Augmentation(gamma=0.5, saturation=0.5, hue=0.1, blur=1, noise=9, cutout=0.5, cut_paste=0.5)

    def epoch(seed: int, workers: int) -> list[Item]:
        lightning.seed_everything(seed, workers=True, verbose=False)
        return list(DataLoader(Pictures(samples, SPEC, everything), batch_size=2, shuffle=True, num_workers=workers))

    for workers in (0, 2):
        first, again, other = epoch(3, workers), epoch(3, workers), epoch(4, workers)
        for one, two in zip(first, again, strict=True):
            assert all(torch.equal(ours, theirs) for ours, theirs in zip(one, two, strict=True))
        assert any(not torch.equal(one.picture, two.picture) for one, two in zip(first, other, strict=True))


def test_defects_are_pasted_into_good_pictures_only(samples: list[Sample]) -> None:
    torch.manual_seed(0)
    pasting = Augmentation(flip_horizontal=False, flip_vertical=False, rotation=0, shift=0, scale=0, cut_paste=1)
    plain, pasted = Pictures(samples, SPEC), Pictures(samples, SPEC, pasting)
    good = pasted[0]
    assert float(good.label) == 1
    assert good.known.all()
    columns = torch.nonzero(good.mask, as_tuple=True)[1]
    assert 21 <= int(columns.min()) <= int(columns.max()) < 75, "off the letterbox bars"
    for index in (1, 2, 3):
        assert torch.equal(pasted[index].mask, plain[index].mask)
        assert torch.equal(pasted[index].known, plain[index].known)


def test_an_augmentation_that_does_not_fit_is_told_before_anything_is_read() -> None:
    with pytest.raises(RunError, match="right_angles"):
        Pictures([Sample("/nowhere", "a.png", "good")], SPEC, Augmentation(right_angles=True))


@pytest.mark.parametrize("highest", [1, 90, 255])
@pytest.mark.parametrize("side", [40, 200])
def test_mask_pictures_keep_the_shades_of_their_edges_until_they_are_shrunk(highest: int, side: int, tmp_path: Path) -> None:
    drawn = cv2.GaussianBlur(np.random.default_rng(side).integers(0, 2, (side, side), np.uint8) * 255, (0, 0), 2)
    mask = np.round((drawn > 127) * 1.0 if highest == 1 else drawn * (highest / drawn.max())).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    plane = np.dstack([mask * (255 if highest == 1 else 1)] * 3)
    if side > 96:
        plane = cv2.dilate(plane, np.ones((3, 3), np.uint8)).astype(np.uint8)
    expected = letterbox(plane, SPEC.model_copy(update={"pad_bgr": (0, 0, 0)}))[..., 0] > 96
    told = read_truth(Sample(str(tmp_path), "a.png", "defective", "dent", mask="mask.png"), (side, side), SPEC)
    assert np.array_equal(told == DEFECT, expected)

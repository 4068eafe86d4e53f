from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import pipeline.data.pictures as pictures_module
from deploy.preprocess import Preprocessing, letterbox, read_picture
from pipeline.data.augment import augment, build_augmentation
from pipeline.data.pictures import Pictures, read_mask
from pipeline.data.sample import Sample
from pipeline.data.survey import survey
from pipeline.training.recipe import Augmentation

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
    assert [bool(item.mask_known) for item in items] == [True, True, False, False]
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
    assert bool(Pictures(samples, SPEC)[1].mask_known)


def test_the_mask_moves_with_its_picture() -> None:
    torch.manual_seed(0)
    picture = torch.zeros(3, 96, 96, dtype=torch.uint8)
    mask = torch.zeros(96, 96, dtype=torch.uint8)
    picture[:, 20:28, 60:68], mask[20:28, 60:68] = 255, 1
    spec = Preprocessing(height=96, width=96, pad_bgr=(0, 0, 0))
    change = build_augmentation(Augmentation(brightness=0, contrast=0), spec)
    for _ in range(20):
        changed, moved = augment(change, picture, mask)
        bright = changed[0] > 127
        assert (bright & (moved > 0)).sum() >= 0.7 * max(1, int(bright.sum()))


def test_what_is_switched_off_does_not_happen() -> None:
    still = Augmentation(flip_horizontal=False, flip_vertical=False, rotation=0, shift=0, scale=0, brightness=0, contrast=0)
    picture = torch.randint(0, 255, (3, 64, 96), dtype=torch.uint8)
    changed, _ = augment(build_augmentation(still, SPEC), picture, torch.zeros(64, 96, dtype=torch.uint8))
    assert torch.equal(changed, picture)


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
    told = read_mask(Sample(str(tmp_path), "a.png", "defective", "dent", mask="mask.png"), (side, side), SPEC)
    assert np.array_equal(told, expected)

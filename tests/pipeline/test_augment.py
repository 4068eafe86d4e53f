"""What each switch does to a picture, and that what is known of its pixels stays true."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.errors import RunError
from deploy.preprocess import Preprocessing
from pipeline.data.augment import augment, build_augmentation
from pipeline.data.augment.camera import camera_noise
from pipeline.data.augment.cut_paste import cut_defects
from pipeline.data.augment.settings import Augmentation
from pipeline.data.example import DEFECT, GOOD, UNKNOWN, Example

SIDE = 64
SPEC = Preprocessing(height=SIDE, width=SIDE, pad_bgr=(10, 20, 30))
OFF: dict[str, Any] = {
    "flip_horizontal": False,
    "flip_vertical": False,
    "rotation": 0,
    "shift": 0,
    "scale": 0,
    "brightness": 0,
    "contrast": 0,
}
ON = {
    "flip_horizontal": True,
    "flip_vertical": True,
    "right_angles": True,
    "rotation": 20,
    "shift": 0.2,
    "scale": 0.3,
    "brightness": 0.4,
    "contrast": 0.4,
    "gamma": 0.5,
    "saturation": 0.4,
    "hue": 0.2,
    "blur": 2.0,
    "noise": 10,
    "cutout": 1.0,
    "cut_paste": 1.0,
}
MOVES = ("flip_horizontal", "flip_vertical", "right_angles", "rotation", "shift", "scale")


def noisy(seed: int = 0) -> Example:
    """A good part of noise that fills the input."""
    picture = np.random.default_rng(seed).integers(60, 200, (3, SIDE, SIDE), np.uint8)
    return Example(torch.from_numpy(picture), torch.full((SIDE, SIDE), GOOD, dtype=torch.uint8), False, (0, 0, SIDE, SIDE))


def marked(top: int = 20, left: int = 12, side: int = 10) -> Example:
    """A dark part with a bright square defect."""
    picture, truth = torch.full((3, SIDE, SIDE), 40, dtype=torch.uint8), torch.full((SIDE, SIDE), GOOD, dtype=torch.uint8)
    picture[:, top : top + side, left : left + side] = 250
    truth[top : top + side, left : left + side] = DEFECT
    return Example(picture, truth, True, (0, 0, SIDE, SIDE))


def test_what_is_switched_off_does_not_happen() -> None:
    example = marked()
    varied = augment(build_augmentation(Augmentation(**OFF), SPEC), example)
    assert torch.equal(varied.picture, example.picture)
    assert torch.equal(varied.truth, example.truth)


def test_new_switches_are_off_by_default() -> None:
    assert {name for name in ON if not getattr(Augmentation(), name)} == set(ON) - set(OFF)
    assert set(ON) == set(Augmentation.model_fields)


@pytest.mark.parametrize("switch", ON)
def test_each_switch_does_what_it_says_and_nothing_else(switch: str) -> None:
    torch.manual_seed(0)
    changes = build_augmentation(Augmentation(**OFF | {switch: ON[switch]}), SPEC, cut_defects([marked()]))
    good = noisy()
    untouched = good.picture.clone()
    varied = [augment(changes, good) for _ in range(8)]
    assert any(not torch.equal(one.picture, good.picture) for one in varied)
    assert all(one.picture.dtype == torch.uint8 and one.picture.shape == good.picture.shape for one in varied)
    assert all(type(one.picture) is torch.Tensor and type(one.truth) is torch.Tensor for one in varied)
    assert torch.equal(good.picture, untouched), "the cached picture stays as it is"
    assert {one.defective for one in varied} == {switch == "cut_paste"}
    truth = marked().truth
    places = [augment(changes, marked()).truth for _ in range(8)]
    assert any(not torch.equal(place == DEFECT, truth == DEFECT) for place in places) == (switch in MOVES)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    top=st.integers(0, SIDE - 10),
    left=st.integers(0, SIDE - 10),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    rotation=st.floats(0, 180),
    shift=st.floats(0, 0.5),
    scale=st.floats(0, 0.6),
)
def test_a_defect_and_its_mask_move_together_and_stay_in_sight(
    seed: int, top: int, left: int, flips: tuple[bool, bool, bool], rotation: float, shift: float, scale: float
) -> None:
    torch.manual_seed(seed)
    horizontal, vertical, turned = flips
    moves = {"flip_horizontal": horizontal, "flip_vertical": vertical, "right_angles": turned}
    told = Augmentation(**OFF | moves | {"rotation": rotation, "shift": shift, "scale": scale})
    varied = augment(build_augmentation(told, SPEC), marked(top, left))
    defect = varied.truth == DEFECT
    bright = varied.picture[0] > 145
    assert defect.any(), "a picture that counts as defective shows its defect"
    grown = torch.nn.functional.max_pool2d(defect[None].float(), 3, 1, 1)[0] > 0
    shrunk = -torch.nn.functional.max_pool2d(-defect[None].float(), 3, 1, 1)[0] > 0
    assert not (bright & ~grown).any()
    assert not (shrunk & ~bright).any()


def test_what_moves_in_has_the_bars_colour_and_is_known_good() -> None:
    torch.manual_seed(1)
    nowhere_known = marked()._replace(truth=torch.full((SIDE, SIDE), UNKNOWN, dtype=torch.uint8))
    bright = nowhere_known._replace(picture=torch.full((3, SIDE, SIDE), 200, dtype=torch.uint8))
    changes = build_augmentation(Augmentation(**OFF | {"rotation": 20, "shift": 0.3}), SPEC)
    varied = augment(changes, bright)
    moved_in = varied.truth == GOOD
    assert 10 < int(moved_in.sum()) < SIDE * SIDE / 2
    inner = -torch.nn.functional.max_pool2d(-moved_in[None].float(), 3, 1, 1)[0] > 0
    assert bool((varied.picture[:, inner] == torch.tensor([[30], [20], [10]])).all())
    # No dark line where the picture ends: every pixel lies between the two colours.
    assert bool((varied.picture >= torch.tensor([30, 20, 10]).view(3, 1, 1)).all())


def test_right_angles_need_a_square() -> None:
    wide = Preprocessing(height=64, width=96, pad_bgr=(0, 0, 0))
    with pytest.raises(RunError, match="right_angles is on, but the input is 96 x 64"):
        build_augmentation(Augmentation(right_angles=True), wide)


def test_right_angles_lose_no_pixel() -> None:
    torch.manual_seed(0)
    example = noisy()
    changes = build_augmentation(Augmentation(**OFF | {"right_angles": True}), SPEC)
    expected = {tuple(torch.rot90(example.picture, turns, (1, 2)).flatten().tolist()) for turns in range(4)}
    assert {tuple(augment(changes, example).picture.flatten().tolist()) for _ in range(30)} == expected


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), side=st.integers(2, 40))
def test_cutout_hides_no_known_defect(seed: int, side: int) -> None:
    torch.manual_seed(seed)
    changes = build_augmentation(Augmentation(**OFF | {"cutout": 1.0}), SPEC)
    example = marked(8, 8, side)
    varied = augment(changes, example)
    hidden = (varied.picture != example.picture).any(dim=0)
    defect = example.truth == DEFECT
    assert int((hidden & defect).sum()) <= 0.1 * int(defect.sum())
    assert torch.equal(varied.truth == UNKNOWN, hidden & defect), "what is erased is no defect to learn"


def test_cutout_leaves_alone_where_a_defect_may_be() -> None:
    changes = build_augmentation(Augmentation(**OFF | {"cutout": 1.0}), SPEC)
    somewhere = noisy()._replace(truth=torch.full((SIDE, SIDE), UNKNOWN, dtype=torch.uint8), defective=True)
    boxed = somewhere._replace(truth=somewhere.truth.clone())
    boxed.truth[:, :40] = GOOD
    outside = 0
    for seed in range(20):
        torch.manual_seed(seed)
        assert torch.equal(augment(changes, somewhere).picture, somewhere.picture)
        erased = (augment(changes, boxed).picture != boxed.picture).any(dim=0)
        assert not erased[:, 40:].any()
        outside += int(erased.any())
    assert outside > 3


def test_camera_noise_grows_with_brightness() -> None:
    torch.manual_seed(0)
    levels = (0, 60, 240)
    spread = [float((camera_noise(torch.full((3, 90, 90), level), 8.0).float() - level).std()) for level in levels]
    assert spread[0] < spread[1] < spread[2]
    assert spread[2] == pytest.approx(8 * (240 / 255) ** 0.5, rel=0.1)
    assert spread[1] == pytest.approx(8 * (60 / 255 * (1 - 1 / 16) + 1 / 16) ** 0.5, rel=0.1)

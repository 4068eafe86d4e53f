"""Mixup and CutMix of pictures, their masks and what is known of them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.training.batch import Batch, build_mixup, mix
from pipeline.training.recipe import Recipe


def batch(count: int = 4, side: int = 16) -> Batch:
    """Odd pictures are white, defective all over, and known; even ones black, good, and known."""
    defective = torch.arange(count) % 2
    planes = defective.view(-1, 1, 1).expand(count, side, side)
    picture = (255 * planes).unsqueeze(1).expand(count, 3, side, side).contiguous().to(torch.uint8)
    return Batch(picture, defective.float(), planes.to(torch.uint8), torch.ones(count, side, side, dtype=torch.uint8))


def test_nothing_is_mixed_unless_asked() -> None:
    assert build_mixup(Recipe()) is None


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.sampled_from([{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}]))
def test_a_defect_moves_with_its_picture(seed: int, alphas: dict[str, float]) -> None:
    np.random.seed(seed)
    mixup = build_mixup(Recipe(**alphas))
    assert mixup is not None
    one = batch()
    mixed = mix(one, mixup)
    assert isinstance(mixed.picture, torch.Tensor)
    # White is defective: shade, mask and label tell the same story, whatever was mixed.
    torch.testing.assert_close(mixed.picture.mean(dim=1) / 255, mixed.mask, atol=1e-5, rtol=0)
    torch.testing.assert_close(mixed.mask.mean(dim=(1, 2)), mixed.label, atol=1e-2, rtol=0)
    assert (mixed.known == 1).all()


def test_what_is_mixed_with_the_unknown_is_unknown() -> None:
    np.random.seed(0)
    mixup = build_mixup(Recipe(mixup=1.0))
    assert mixup is not None
    one = batch()
    one = one._replace(known=one.known * torch.tensor([1, 1, 1, 0], dtype=torch.uint8).view(-1, 1, 1))
    for _ in range(20):
        mixed = mix(one, mixup)
        if 0 < float(mixed.label[0]) < 1:
            break
    assert mixed.known.mean(dim=(1, 2)).tolist() == [0, 1, 1, 0]


def test_an_odd_batch_stays_as_it_is() -> None:
    mixup = build_mixup(Recipe(mixup=1.0))
    assert mixup is not None
    one = batch(3)
    assert mix(one, mixup) is one


@pytest.mark.parametrize("key", ["mixup", "cutmix"])
def test_features_cannot_be_mixed(key: str) -> None:
    with pytest.raises(ValueError, match="feature_extraction sees no pictures"):
        Recipe(strategy="feature_extraction", **{key: 0.2})

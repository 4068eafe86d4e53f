"""What export tells a station of the good pictures."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from deploy.preprocess import Preprocessing
from deploy.reference import STEPS, Distribution, GoodPictures
from deploy.verdict import Thresholds
from pipeline.data.sample import Sample
from pipeline.evaluation.thresholds import Derived
from pipeline.export.gate import Reference
from pipeline.export.good_pictures import LEAST, good_pictures

SPEC = Preprocessing(height=64, width=64, pad_bgr=(255, 255, 255))


def split(folder: Path, good: int, defective: int, grey: int, per_group: int = 1) -> Reference:
    """Good pictures of one grey, with a score of 0.1; defective ones are white, with 0.9. `per_group` of them are alike."""
    folder.mkdir()
    samples, scores = [], []
    for number in range(good + defective):
        is_good = number < good
        picture = np.full((40, 160, 3), grey if is_good else 255, np.uint8)
        assert cv2.imwrite(str(folder / f"{number}.png"), picture)
        group = f"{folder.name}-{number // per_group}"
        samples.append(Sample(str(folder), f"{number}.png", "good" if is_good else "defective", group=group))
        scores.append(0.1 if is_good else 0.9)
    return Reference(samples, np.array(scores), Derived(Thresholds(accept=0.3, reject=0.6), ()), 1.0, None, 0.1)


def test_good_pictures_of_both_held_out_splits(tmp_path: Path) -> None:
    held_out = split(tmp_path / "validation", 18, 10, grey=90), split(tmp_path / "test", 18, 10, grey=110)
    found = good_pictures(held_out, SPEC)
    assert found is not None
    assert found.brightness.number == found.sharpness.number == 36
    assert found.brightness.quantiles[0] == pytest.approx(90)
    assert found.brightness.quantiles[-1] == pytest.approx(110), "neither defective pictures nor bars"
    assert found.brightness.quartiles == pytest.approx((90, 100, 110))
    assert found.sharpness.quantiles[-1] == 0
    assert GoodPictures.model_validate_json(found.model_dump_json()) == found


def test_too_few_good_pictures_are_no_reference(tmp_path: Path) -> None:
    assert good_pictures([split(tmp_path / "test", LEAST - 1, 40, grey=90)], SPEC) is None


def test_pictures_of_one_group_are_one_witness(tmp_path: Path) -> None:
    assert good_pictures([split(tmp_path / "few", 10 * (LEAST - 1), 0, grey=90, per_group=10)], SPEC) is None
    found = good_pictures([split(tmp_path / "enough", 3 * LEAST, 0, grey=90, per_group=3)], SPEC)
    assert found is not None
    assert found.brightness.number == found.sharpness.number == LEAST


@pytest.mark.parametrize(
    "change",
    [
        {"number": 0},
        {"quantiles": [1.0] * STEPS},
        {"quantiles": [2.0, *[1.0] * STEPS]},
        {"quantiles": [float("nan")] * (STEPS + 1)},
        {"more": 1},
    ],
)
def test_what_is_no_distribution_is_refused(change: dict[str, object]) -> None:
    content = {"number": 5, "quantiles": [1.0] * (STEPS + 1)}
    Distribution.model_validate(content)
    with pytest.raises(ValidationError):
        Distribution.model_validate({**content, **change})


def test_quantiles_are_numpy_s() -> None:
    values = np.random.default_rng(0).normal(size=101)
    found = Distribution.of(values.tolist())
    assert found.quantiles == pytest.approx(np.percentile(values, range(0, 101, 5)))
    assert found.quartiles == pytest.approx(np.percentile(values, (25, 50, 75)))

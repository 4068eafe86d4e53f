"""Heatmaps held against masks: constructed ones, whose figures are known."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from deploy.engines import Answer
from deploy.preprocess import Picture, Preprocessing
from deploy.verdict import Thresholds
from pipeline.data.sample import Sample
from pipeline.evaluation import heatmaps as heatmaps_module
from pipeline.evaluation.evaluate import assess, evaluate_samples, print_evaluation
from pipeline.evaluation.heatmaps import HeatmapQuality, HeatmapTally, Plane, cells_of, is_localised
from pipeline.evaluation.predict import predict
from pipeline.training.run import Decision
from tests.pipeline.test_model import build

SIDE, STRIDE = 64, 8
CELLS = SIDE // STRIDE
SPEC = Preprocessing(height=SIDE, width=SIDE, pad_bgr=(0, 0, 0))
Draw = Callable[[Plane], Plane]


def part(folder: Path, name: str, masked: tuple[int, int] | None = None, size: tuple[int, int] = (SIDE, SIDE)) -> Sample:
    """A picture; a defective one where `masked` names the cell (row, column) that its mask fills."""
    random = np.random.default_rng(len(list(folder.iterdir())))
    cv2.imwrite(str(folder / f"{name}.png"), random.integers(0, 255, (*size, 3), np.uint8))
    if masked is None:
        return Sample(str(folder), f"{name}.png", "good", group=name)
    mask = np.zeros(size, np.uint8)
    row, column = masked
    mask[row * STRIDE : (row + 1) * STRIDE, column * STRIDE : (column + 1) * STRIDE] = 255
    cv2.imwrite(str(folder / f"{name}_mask.png"), mask)
    return Sample(str(folder), f"{name}.png", "defective", "dent", name, mask=f"{name}_mask.png")


def judge(samples: list[Sample], heatmaps: list[Plane], spec: Preprocessing = SPEC) -> HeatmapQuality:
    """What is said of these heatmaps, through `predict`."""
    left = iter(heatmaps)

    def infer(frames: Picture) -> Answer:
        return Answer(np.full((len(frames), 2), 0.5, np.float32), np.stack([next(left) for _ in frames]).astype(np.float32))

    tally = HeatmapTally(spec)
    assert predict(samples, spec, infer, tally.see).tolist() == [0.5] * len(samples)
    return tally.quality()


def spot(row: int, column: int, heat: float = 0.9) -> Plane:
    plane = np.full((CELLS, CELLS), 0.01, np.float32)
    plane[row, column] = heat
    return plane


@pytest.mark.parametrize(
    ("heatmap", "localised", "auroc"),
    [
        (spot(3, 4), 1, 1.0),
        (spot(3, 5), 1, 0.5 * 62 / 63),  # one cell beside it: near enough for a person, and every other cell is level with it
        (spot(4, 5), 1, 0.5 * 62 / 63),
        (spot(3, 6), 0, 0.5 * 62 / 63),
        (spot(7, 0), 0, 0.5 * 62 / 63),
        (1 - spot(3, 4), 0, 0.0),
        (np.full((CELLS, CELLS), 0.3, np.float32), 0, 0.5),  # says nothing of the place
        (np.maximum(spot(3, 4), spot(0, 0)), 0, 1 - 0.5 / 63),  # as hot elsewhere
        (np.maximum(spot(3, 4), spot(0, 0, 0.8)), 1, 1.0),
    ],
)
def test_known_heatmaps_have_known_figures(heatmap: Plane, localised: int, auroc: float, tmp_path: Path) -> None:
    quality = judge([part(tmp_path, "d", (3, 4))], [heatmap])
    assert (quality.localised.count, quality.localised.total) == (localised, 1)
    assert quality.pixel_auroc.value == pytest.approx(auroc)
    assert (quality.masked_pictures, quality.unmasked_pictures) == (1, 0)


def test_random_heatmaps_are_near_chance_and_agree_with_scikit_learn(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    places = [(int(row), int(column)) for row, column in random.integers(0, CELLS, (80, 2))]
    samples = [part(tmp_path, f"d{number}", place) for number, place in enumerate(places)]
    samples += [part(tmp_path, f"g{number}") for number in range(20)]
    heatmaps = [1 / (1 + np.exp(-random.normal(-3, 2, (CELLS, CELLS)))) for _ in samples]
    quality = judge(samples, [plane.astype(np.float32) for plane in heatmaps])
    truth = np.zeros((len(samples), CELLS, CELLS), bool)
    for number, (row, column) in enumerate(places):
        truth[number, row, column] = True
    assert quality.pixel_auroc.value == pytest.approx(roc_auc_score(truth.ravel(), np.ravel(heatmaps)), abs=2e-3)
    assert quality.pixel_average_precision.value == pytest.approx(
        average_precision_score(truth.ravel(), np.ravel(heatmaps)), abs=2e-3
    )
    assert quality.pixel_auroc.value == pytest.approx(0.5, abs=0.1)
    assert quality.pixel_auroc.low is not None
    assert quality.pixel_auroc.high is not None
    assert quality.pixel_auroc.low < (quality.pixel_auroc.value or 0) < quality.pixel_auroc.high
    assert 0.02 < (quality.localised.value or 0) < 0.3  # nine cells of 64, fewer at the border


def test_hot_cells_of_good_pictures_count_against_it(tmp_path: Path) -> None:
    samples = [part(tmp_path, "d", (3, 4)), part(tmp_path, "g")]
    calm = judge(samples, [spot(3, 4), spot(0, 0, 0.8)])
    assert (calm.pixel_auroc.value, calm.pixel_average_precision.value) == (1, 1)
    alarmed = judge(samples, [spot(3, 4, 0.8), spot(0, 0)])
    assert alarmed.pixel_average_precision.value == pytest.approx(0.5)
    assert alarmed.localised.count == 1


def test_a_part_is_judged_once_by_its_most_suspicious_view(tmp_path: Path) -> None:
    views = [replace(part(tmp_path, f"d{number}", (3, 4)), group="one part") for number in range(3)]
    hits_last = judge(views, [spot(0, 0, 0.3), spot(7, 7, 0.4), spot(3, 4, 0.9)])
    misses_last = judge(views, [spot(3, 4, 0.3), spot(3, 4, 0.4), spot(7, 7, 0.9)])
    assert (hits_last.localised.count, hits_last.localised.total) == (1, 1)
    assert (misses_last.localised.count, misses_last.localised.total) == (0, 1)
    assert hits_last.masked_pictures == 3


def test_pictures_without_a_mask_are_left_out_and_counted(tmp_path: Path) -> None:
    known = part(tmp_path, "d", (3, 4))
    nothing = replace(part(tmp_path, "n", (0, 0)), mask="")
    empty = part(tmp_path, "e", (CELLS, CELLS))  # beyond the picture: an empty mask
    alone = judge([known], [spot(3, 4)])
    quality = judge([known, nothing, empty], [spot(3, 4), spot(7, 7), spot(7, 7)])
    assert (quality.masked_pictures, quality.unmasked_pictures) == (1, 2)
    assert replace(quality, unmasked_pictures=0) == alone


def test_no_mask_at_all_is_not_defined(tmp_path: Path) -> None:
    quality = judge([part(tmp_path, "g"), replace(part(tmp_path, "n", (0, 0)), mask="")], [spot(1, 1), spot(2, 2)])
    assert (quality.localised.value, quality.pixel_auroc.value, quality.pixel_average_precision.value) == (None, None, None)
    assert (quality.masked_pictures, quality.unmasked_pictures) == (0, 1)


def test_letterbox_bars_are_neither_easy_nor_hard(tmp_path: Path) -> None:
    """A wide picture fills the middle four rows of cells: what the heatmap says above and below counts for nothing."""
    sample = part(tmp_path, "d", (1, 4), (SIDE // 2, SIDE))
    cold, hot = spot(3, 4), spot(3, 4)
    cold[:2], hot[:2] = 0.001, 0.8
    assert judge([sample], [cold]) == judge([sample], [hot])
    level = spot(0, 0, 0.01)  # all alike: 31 cells beside the one on the mask
    assert judge([sample], [level]).pixel_average_precision.value == pytest.approx(1 / 32)


def test_more_groups_than_rows_share_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [part(tmp_path, f"d{number}", (3, 4)) for number in range(7)]
    heatmaps = [spot(3, 4) if number % 2 else spot(2, 4) for number in range(7)]
    apart = judge(samples, heatmaps)
    monkeypatch.setattr(heatmaps_module, "ROWS", 3)
    together = judge(samples, heatmaps)
    assert together.pixel_auroc.value == apart.pixel_auroc.value
    assert together.localised == apart.localised


@pytest.mark.parametrize("pixel", [(24, 32), (31, 39), (27, 35)])
def test_one_pixel_makes_its_cell_defective(pixel: tuple[int, int]) -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[pixel] = 1
    cells = cells_of(mask, (CELLS, CELLS))
    assert np.argwhere(cells).tolist() == [[3, 4]]
    assert cells_of(mask, (2, 2)).tolist() == [[False, True], [False, False]]
    assert is_localised(spot(3, 4), cells)


def test_the_figures_reach_metrics_table_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, recipe = build("mobilenetv3_small_050", height=SIDE, width=SIDE)
    (tmp_path / "pictures").mkdir()
    samples = [part(tmp_path / "pictures", f"d{number}", (3, 4)) for number in range(3)]
    samples += [part(tmp_path / "pictures", f"g{number}") for number in range(3)]
    samples.append(replace(part(tmp_path / "pictures", "n", (0, 0)), mask=""))
    decision = Decision(temperature=1, thresholds=Thresholds(accept=0.4, reject=0.6))
    evaluation = evaluate_samples(tmp_path, "parts", samples, model, recipe, decision, None)
    figures = json.loads((tmp_path / "metrics.json").read_text())
    quality = evaluation.heatmaps
    assert quality is not None
    assert figures["localised"].keys() == {"count", "total", "value", "low", "high"}
    assert figures["localised"]["total"] == figures["masked_pictures"] == 3
    assert figures["unmasked_pictures"] == 1
    for name in ("pixel_auroc", "pixel_average_precision"):
        assert figures[name].keys() == {"value", "low", "high"}
        assert 0 <= figures[name]["value"] <= 1
    page = (tmp_path / "report.html").read_text()
    for said in (quality.localised, quality.pixel_auroc, quality.pixel_average_precision):
        assert f"<td>{said}</td>" in page
    assert "3 defective pictures have a mask; 1 without one are left out." in page
    capsys.readouterr()
    print_evaluation(evaluation)
    table = capsys.readouterr().out
    assert str(quality.pixel_auroc) in table
    without = assess("parts", samples, evaluation.scores, decision)
    assert "localised" not in without.metrics()
    print_evaluation(without)
    assert "heatmap" not in capsys.readouterr().out

"""Heatmaps held against masks: constructed ones, whose figures are known."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from deploy.engines import Answer
from deploy.preprocess import Picture, Preprocessing
from deploy.verdict import Thresholds
from pipeline.data.sample import Sample
from pipeline.evaluation import heatmaps as heatmaps_module
from pipeline.evaluation.assessment import assess
from pipeline.evaluation.decision import Decision
from pipeline.evaluation.evaluate import evaluate_samples, print_evaluation
from pipeline.evaluation.heatmaps import HeatmapQuality, HeatmapTally, Plane, cells_of, is_localised
from pipeline.evaluation.metrics import Figure, rate
from pipeline.evaluation.overlap import overlap_of_regions, region_cells
from pipeline.evaluation.predict import predict
from pipeline.training.head import heatmap_size
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


def painted(folder: Path, name: str, mask: Picture, group: str = "") -> Sample:
    """A defective picture with this mask."""
    cv2.imwrite(str(folder / f"{name}.png"), np.full((*mask.shape, 3), 90, np.uint8))
    cv2.imwrite(str(folder / f"{name}_mask.png"), (mask > 0).astype(np.uint8) * 255)
    return Sample(str(folder), f"{name}.png", "defective", "dent", group or name, mask=f"{name}_mask.png")


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
    figures = quality.pixel_auroc, quality.pixel_average_precision, quality.region_overlap
    assert (quality.localised.value, *[figure.value for figure in figures]) == (None, None, None, None)
    assert quality.wrong_places == ()
    assert "No defective part has a mask" in quality.sentence()
    assert not quality.looks_elsewhere
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
    decision = Decision(thresholds=Thresholds(accept=0.4, reject=0.6))
    evaluation = evaluate_samples(tmp_path, "parts", samples, model, recipe, decision, None)
    figures = json.loads((tmp_path / "metrics.json").read_text())
    quality = evaluation.heatmaps
    assert quality is not None
    assert figures["localised"].keys() == {"count", "total", "value", "low", "high"}
    assert figures["localised"]["total"] == figures["masked_pictures"] == 3
    assert figures["unmasked_pictures"] == 1
    for name in ("pixel_auroc", "pixel_average_precision", "region_overlap"):
        assert figures[name].keys() == {"value", "low", "high"}
        assert 0 <= figures[name]["value"] <= 1
    assert len(figures["wrong_places"]) == 3 - figures["localised"]["count"]
    assert figures["wrong_places"] == [asdict(place) for place in quality.wrong_places]
    page = (tmp_path / "report.html").read_text()
    for said in (quality.localised, quality.pixel_auroc, quality.pixel_average_precision, quality.region_overlap):
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


def overlap_by_hand(masks: list[Picture], heatmaps: list[Plane]) -> float | None:
    """The PRO score of pictures of SIDE x SIDE, region by region, cell by cell and threshold by threshold."""
    regions: list[list[float]] = []
    good: list[float] = []
    for mask, heatmap in zip(masks, heatmaps, strict=True):
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        blocks = {
            (row, column): set(labels[row * STRIDE : (row + 1) * STRIDE, column * STRIDE : (column + 1) * STRIDE].ravel()) - {0}
            for row in range(CELLS)
            for column in range(CELLS)
        }
        regions += [[heatmap[cell] for cell, held in blocks.items() if number in held] for number in range(1, count + 1)]
        good += [heatmap[cell] for cell, held in blocks.items() if not held]
    if not regions or not good:
        return None
    points = [(0.0, 0.0)]
    for threshold in sorted({float(heat) for heatmap in heatmaps for heat in heatmap.ravel()}, reverse=True):
        alarmed = sum(heat >= threshold for heat in good) / len(good)
        points.append((alarmed, float(np.mean([np.mean(np.array(region) >= threshold) for region in regions]))))
    area = 0.0
    for (left, low), (right, high) in pairwise(points):
        if left < 0.3 < right:
            right, high = 0.3, low + (high - low) * (0.3 - left) / (right - left)
        if right <= 0.3:
            area += (right - left) * (low + high) / 2
    return area / 0.3


@st.composite
def scenes(draw: st.DrawFn) -> tuple[list[Picture], list[Plane]]:
    """Up to four pictures with up to four blots each; heat of eight levels, so that many cells tie."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    masks, heatmaps = [], []
    for _ in range(draw(st.integers(1, 4))):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        for _ in range(draw(st.integers(0, 4))):
            row, column = random.integers(0, SIDE, 2)
            height, width = random.integers(1, 1 + draw(st.sampled_from([1, 4, 30])), 2)
            mask[row : row + height, column : column + width] = 1
        masks.append(mask)
        heatmaps.append((random.integers(1, draw(st.sampled_from([2, 9])), (CELLS, CELLS)) / 10).astype(np.float32))
    return masks, heatmaps


@settings(max_examples=20, deadline=None)
@given(scene=scenes())
def test_region_overlap_is_what_counting_by_hand_gives(
    scene: tuple[list[Picture], list[Plane]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    masks, heatmaps = scene
    folder = tmp_path_factory.mktemp("scene")
    samples = [
        painted(folder, f"d{number}", mask) if mask.any() else Sample(str(folder), f"g{number}.png", "good", group=f"g{number}")
        for number, mask in enumerate(masks)
    ]
    tally = HeatmapTally(SPEC)
    tally.see(samples, [(SIDE, SIDE)] * len(samples), np.stack(heatmaps))
    figure, expected = tally.quality().region_overlap, overlap_by_hand(masks, heatmaps)
    assert figure.value == (expected if expected is None else pytest.approx(expected, abs=1e-9))
    if figure.low is not None and figure.high is not None:
        assert 0 <= figure.low <= figure.high <= 1


def blots(*blocks: tuple[int, int, int, int]) -> Picture:
    """A mask of blocks: top, left, height, width, in pixels."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for top, left, height, width in blocks:
        mask[top : top + height, left : left + width] = 1
    return mask


@pytest.mark.parametrize(
    ("mask", "hot", "overlap"),
    [
        (blots((8, 8, 16, 16)), [(1, 1), (1, 2), (2, 1), (2, 2)], 1.0),  # all of it before any good cell
        (blots((8, 8, 16, 16)), [(1, 1), (1, 2)], 0.5 + 0.5 * 0.15),  # half of it, and the rest as luck has it
        (blots((8, 8, 16, 16)), [], 0.15),  # all alike: as many good cells as of the region, from 0 to 0.3
        (blots((8, 8, 16, 16), (40, 40, 1, 1)), [(5, 5)], 0.5 + 0.5 * 0.15),  # one pixel weighs what the large one does
        (blots((8, 8, 16, 16), (40, 40, 1, 1)), [(1, 1), (1, 2), (2, 1), (2, 2)], 0.5 + 0.5 * 0.15),
        (blots((8, 8, 8, 8), (16, 16, 8, 8), (40, 40, 8, 8)), [(1, 1), (2, 2)], 0.5 + 0.5 * 0.15),  # touching corners are one
        (blots((8, 8, 2, 2), (12, 12, 2, 2)), [(1, 1)], 1.0),  # two regions of one cell
        (blots((7, 7, 2, 2)), [(0, 0)], 0.25 + 0.75 * 0.15),  # a small one of four cells
    ],
)
def test_known_overlaps(mask: Picture, hot: list[tuple[int, int]], overlap: float, tmp_path: Path) -> None:
    heatmap = np.full((CELLS, CELLS), 0.1, np.float32)
    for cell in hot:
        heatmap[cell] = 0.9
    figure = judge([painted(tmp_path, "d", mask)], [heatmap]).region_overlap
    assert figure.value == pytest.approx(overlap)
    assert figure.low is None


def test_hot_good_cells_end_the_overlap() -> None:
    """Curves of which the area is known: a region found after a third of the good cells is found too late."""
    region = np.array([0.0, 1.0, 0.0])
    assert overlap_of_regions(region, np.array([0.3, 0.0, 0.7])) == 0
    assert overlap_of_regions(region, np.array([0.15, 0.0, 0.85])) == pytest.approx(0.5)
    assert overlap_of_regions(region, np.array([0.0, 0.6, 0.4])) == pytest.approx(0.25)  # half of the ramp, up to its middle
    assert overlap_of_regions(np.array([2.0, 0, 0]), np.array([0, 3.0, 1])) == 1
    stacked = overlap_of_regions(np.stack([region, region]), np.array([[0.3, 0, 0.7], [0.15, 0, 0.85]]))
    assert stacked == pytest.approx([0, 0.5])


def test_a_mean_over_regions_not_over_pictures_and_its_interval_over_groups(tmp_path: Path) -> None:
    """A picture with three regions, all found, and others with one, all missed: 3 of 7, and which groups there are decides."""
    three = painted(tmp_path, "three", blots((0, 0, 8, 8), (0, 32, 8, 8), (32, 0, 8, 8)))
    found = np.full((CELLS, CELLS), 0.1, np.float32)
    found[[0, 0, 4], [0, 4, 0]] = 0.9
    others = [painted(tmp_path, f"one{number}", blots((32, 32, 8, 8))) for number in range(4)]
    missed = np.full((CELLS, CELLS), 0.1, np.float32)
    missed[4, 4] = 0.01
    good = [part(tmp_path, f"g{number}") for number in range(3)]
    figure = judge([three, *others, *good], [found, *[missed] * 4, *[np.full_like(missed, 0.1)] * 3]).region_overlap
    assert figure.value == pytest.approx(3 / 7)
    assert figure.low == 0
    assert figure.high is not None
    assert 3 / 7 < figure.high < 1


@pytest.mark.parametrize("cells", [1, 2, 8, 16, 64])
def test_shares_of_a_region_sum_to_one_at_any_stride(cells: int) -> None:
    mask = blots((3, 3, 20, 5), (30, 30, 1, 1), (50, 2, 9, 40))
    found, shares = region_cells(mask, (cells, cells))
    assert shares.sum() == pytest.approx(3)
    place = np.zeros((cells, cells), bool)
    place.ravel()[found] = True
    assert (place == cells_of(mask, (cells, cells))).all()
    assert [part.size for part in region_cells(np.zeros((SIDE, SIDE), np.uint8), (cells, cells))] == [0, 0]


def test_wrong_places_are_told_the_farthest_first(tmp_path: Path) -> None:
    samples = [part(tmp_path, f"d{number}", (3, 4)) for number in range(4)]
    quality = judge(samples, [spot(3, 4), spot(3, 6, 0.5), spot(7, 4, 0.6), spot(2, 5)])
    far, near = quality.wrong_places
    assert (far.path, far.part, far.defect_type) == ("d2.png", "d2|defective", "dent")
    assert [far.distance, far.peak] == pytest.approx([4 * STRIDE / SIDE, 0.6])
    assert near.path == "d1.png"
    assert [near.distance, near.peak] == pytest.approx([2 * STRIDE / SIDE, 0.5])
    assert quality.localised.count == 2


def test_distance_is_to_the_nearest_cell_of_the_mask_in_longer_sides_of_the_picture(tmp_path: Path) -> None:
    """A tall picture of 128 x 64 is 64 x 32 of the input: what counts is the picture, not the bars, nor its own pixels."""
    mask = np.zeros((2 * SIDE, SIDE), np.uint8)
    mask[:16, :16] = mask[-16:, :16] = 1  # the cells (0, 2) and (7, 2)
    quality = judge([painted(tmp_path, "d", mask)], [spot(3, 5)])
    assert quality.wrong_places[0].distance == pytest.approx(np.hypot(2, 3) * STRIDE / SIDE)  # dilated: (1, 3) is near enough
    wide = judge([painted(tmp_path, "w", np.ascontiguousarray(mask.T))], [np.ascontiguousarray(spot(3, 5).T)])
    assert wide.wrong_places[0].distance == quality.wrong_places[0].distance


def test_a_part_is_wrong_by_its_most_suspicious_view_alone(tmp_path: Path) -> None:
    views = [replace(part(tmp_path, f"d{number}", (3, 4)), group="one part") for number in range(3)]
    (place,) = judge(views, [spot(0, 0, 0.3), spot(7, 7, 0.9), spot(3, 4, 0.4)]).wrong_places
    assert (place.path, place.part) == ("d1.png", "one part|defective")
    assert judge(views, [spot(0, 0, 0.3), spot(7, 7, 0.4), spot(3, 4, 0.9)]).wrong_places == ()


def test_of_several_peaks_the_farthest_is_told(tmp_path: Path) -> None:
    (place,) = judge([part(tmp_path, "d", (3, 4))], [np.maximum(spot(3, 4), spot(3, 0))]).wrong_places
    assert place.distance == pytest.approx(4 * STRIDE / SIDE)
    (level,) = judge([part(tmp_path, "e", (0, 0))], [np.full((CELLS, CELLS), 0.3, np.float32)]).wrong_places
    assert level.distance == pytest.approx(np.hypot(7, 7) * STRIDE / SIDE)


def test_what_may_be_a_defect_counts_for_nothing(tmp_path: Path) -> None:
    """One defect is outlined, another only boxed: a hot box is no false alarm, and a peak in it no wrong place."""
    cv2.imwrite(str(tmp_path / "a.png"), np.full((SIDE, SIDE, 3), 90, np.uint8))
    shapes = [
        {"label": "dent", "shape_type": "polygon", "points": [[32, 24], [39, 24], [39, 31], [32, 31]]},
        {"label": "dent", "shape_type": "rectangle", "points": [[0, 48], [7, 55]]},
    ]
    (tmp_path / "a.json").write_text(
        json.dumps({"shapes": shapes, "imagePath": "a.png", "imageWidth": SIDE, "imageHeight": SIDE})
    )
    sample = Sample(str(tmp_path), "a.png", "defective", "dent", "a", mask="a.json")
    boxed = judge([sample], [np.maximum(spot(3, 4, 0.8), spot(6, 0))])
    assert (boxed.pixel_auroc.value, boxed.pixel_average_precision.value, boxed.region_overlap.value) == (1, 1, 1)
    assert boxed.wrong_places == ()
    assert boxed.localised.count == 1
    assert len(judge([sample], [np.maximum(spot(3, 4, 0.8), spot(0, 0))]).wrong_places) == 1


@pytest.mark.parametrize(
    ("count", "total", "warns"),
    [
        (18, 20, False),
        (20, 20, False),
        (10, 20, False),
        (9, 20, True),
        (0, 1, True),
        (1, 2, False),
        (12, 20, False),  # up to 81 % of all such parts
        (120, 200, True),  # at most 67 %
        (140, 200, False),
    ],
)
def test_the_sentence_warns_when_the_network_looks_elsewhere(count: int, total: int, warns: bool) -> None:
    none = Figure(None, None, None)
    quality = HeatmapQuality(rate(count, total), none, none, none, (), total, 0)
    said = quality.sentence()
    assert said.startswith(f"In {count} of {total} defective parts with a mask the heatmap's peak lies on the defect")
    assert quality.looks_elsewhere == warns
    assert ("wrong reason" in said) == warns
    assert (f"In the other {total - count} ({1 - count / total:.0%}) it lies elsewhere" in said) == warns


def test_a_pooled_head_is_judged_by_its_coarse_map(tmp_path: Path) -> None:
    """Its cells are of 32 px: the mask's region is the one cell that it lies in."""
    model, recipe = build("mobilenetv3_small_050", height=SIDE, width=SIDE, head="pooled")
    tally = HeatmapTally(SPEC)
    samples = [part(tmp_path, "d", (3, 4)), part(tmp_path, "g")]
    with torch.inference_mode():
        heatmaps = model.eval()(torch.randint(0, 256, (2, 3, SIDE, SIDE)).float())[1].sigmoid().numpy()
    assert heatmaps.shape == (2, *heatmap_size(recipe)) == (2, 2, 2)
    tally.see(samples, [(SIDE, SIDE)] * 2, heatmaps)
    quality = tally.quality()
    assert quality.localised.total == 1
    assert 0 <= (quality.region_overlap.value or 0) <= 1
    heatmap = np.array([[0.1, 0.9], [0.2, 0.2]], np.float32)
    assert judge([samples[0]], [heatmap]).region_overlap.value == 1

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.special import expit, logit
from sklearn.metrics import brier_score_loss

from pipeline.data.sample import Sample
from pipeline.evaluation.calibration import (
    BINS,
    FEWEST,
    Calibration,
    Method,
    choose_calibration,
    fit_calibration,
    part_weights,
    reliability,
    to_log_odds,
    to_probability,
)
from pipeline.evaluation.metrics import PartScore, Scores
from pipeline.export.graph import InspectionGraph
from tests.pipeline.conftest import sample
from tests.pipeline.test_model import build

METHODS: tuple[Method, ...] = ("temperature", "platt", "beta")
SLOPE = st.floats(0.05, 5)
CALIBRATIONS = (
    st.builds(lambda slope: Calibration(method="temperature", low=slope, high=slope), SLOPE)
    | st.builds(
        lambda slope, offset: Calibration(method="platt", low=slope, high=slope, offset=offset), SLOPE, st.floats(-10, 10)
    )
    | st.builds(
        lambda low, high, offset: Calibration(method="beta", low=low, high=high, offset=offset), SLOPE, SLOPE, st.floats(-10, 10)
    )
)


def planted(distortion: Calibration, count: int = 6000) -> tuple[Scores, npt.NDArray[np.bool_]]:
    """Log-odds that this calibration makes true, and which parts are defective."""
    random = np.random.default_rng(0)
    true = random.normal(0, 2, count)
    return distortion.undo(true), random.random(count) < expit(true)


def alone(defective: npt.NDArray[np.bool_]) -> list[Sample]:
    """Each picture is a part."""
    return [sample(f"p{number}", "dent" if bad else "") for number, bad in enumerate(defective)]


@pytest.mark.parametrize(
    "distortion",
    [
        Calibration(low=1 / 3, high=1 / 3),
        Calibration(low=2, high=2),
        Calibration(method="platt", low=0.5, high=0.5, offset=-1.5),
        Calibration(method="beta", low=0.5, high=1.6, offset=0.7),
    ],
    ids=str,
)
def test_each_method_recovers_the_distortion_it_is_made_for(distortion: Calibration) -> None:
    log_odds, defective = planted(distortion)
    found = fit_calibration(distortion.method, log_odds, defective, np.ones(len(log_odds)))
    assert found.method == distortion.method
    assert (found.low, found.high) == pytest.approx((distortion.low, distortion.high), rel=0.12)
    assert found.offset == pytest.approx(distortion.offset, abs=0.12)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.floats(-30, 30), st.booleans()), min_size=1, max_size=40),
    st.sampled_from(METHODS),
)
def test_whatever_is_fitted_ranks_nothing_anew(rows: list[tuple[float, bool]], method: Method) -> None:
    log_odds, defective = np.array([z for z, _ in rows]), np.array([bad for _, bad in rows])
    found = fit_calibration(method, log_odds, defective, np.ones(len(rows)))
    assert all(math.isfinite(value) for value in (found.low, found.high, found.offset))
    assert (np.diff(found.apply(np.linspace(-40, 40, 161))) > 0).all()


@given(CALIBRATIONS, st.lists(st.floats(-100, 100), min_size=1, max_size=20))
def test_undo_takes_back_what_apply_did(calibration: Calibration, log_odds: list[float]) -> None:
    values = np.array(log_odds)
    assert calibration.undo(calibration.apply(values)) == pytest.approx(values, abs=1e-6, rel=1e-6)


def test_no_calibration_changes_nothing() -> None:
    values = np.linspace(-50, 50, 101).reshape(101, 1)
    assert Calibration().apply(values) == pytest.approx(values, abs=1e-12)


@pytest.mark.parametrize("wrong", [{"low": 0.0}, {"high": -1.0}, {"method": "isotonic"}, {"slope": 1.0}])
def test_a_calibration_that_would_not_rise_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Calibration.model_validate(wrong)


@pytest.mark.parametrize(
    ("distortion", "chosen"),
    [
        (Calibration(low=1 / 3, high=1 / 3), {"temperature"}),
        (Calibration(method="platt", low=1, high=1, offset=-3), {"platt"}),
        (Calibration(method="beta", low=0.2, high=3, offset=1), {"beta"}),
    ],
    ids=str,
)
def test_the_simplest_method_that_suffices_is_chosen(distortion: Calibration, chosen: set[Method]) -> None:
    log_odds, defective = planted(distortion, 1500)
    found = choose_calibration(alone(defective), log_odds)
    assert found.method in chosen
    weights = np.ones(len(log_odds))
    assert found == fit_calibration(found.method, log_odds, defective, weights)


def test_a_few_lucky_parts_choose_no_offset() -> None:
    log_odds, defective = planted(Calibration(method="platt", low=1, high=1, offset=-0.3), 40)
    assert choose_calibration(alone(defective), log_odds).method == "temperature"


@pytest.mark.parametrize("defective", [[True], [False, False], [True, False], [True, False, False, True]])
def test_next_to_nothing_can_still_be_calibrated(defective: list[bool]) -> None:
    found = choose_calibration(alone(np.array(defective)), np.where(defective, 8.0, -8.0))
    assert 0.05 < found.low < 5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("margin", [0.01, 1.0, 5.0, 20.0])
def test_few_separable_parts_ask_for_no_certainty(method: Method, margin: float) -> None:
    defective = np.array([True] * 5 + [False] * 5)
    found = fit_calibration(method, np.where(defective, margin, -margin), defective, np.ones(10))
    assert 0.05 < found.low < 5
    assert 0.05 < found.high < 5
    high, low = to_probability(found.apply(np.array([margin, -margin])))
    assert 0.5 < high < 0.99
    assert 0.01 < low < 0.5


def test_the_pictures_of_a_part_weigh_one() -> None:
    samples = [sample("a", "dent", 0), sample("a", "dent", 1), sample("a", "", 2), sample("b", "", 0)]
    assert part_weights(samples).tolist() == [0.5, 0.5, 1.0, 1.0]
    log_odds, defective = planted(Calibration(low=0.5, high=0.5), 200)
    once = alone(defective)
    repeated = [sample(one.group, one.defect_type, number) for one in once for number in range(4 if one.label == "good" else 1)]
    copies = np.where(defective, 1, 4)
    assert len(repeated) > len(once)
    for method in METHODS:
        plain = fit_calibration(method, log_odds, defective, part_weights(once))
        heavy = fit_calibration(method, np.repeat(log_odds, copies), np.repeat(defective, copies), part_weights(repeated))
        assert (heavy.low, heavy.high, heavy.offset) == pytest.approx((plain.low, plain.high, plain.offset), abs=1e-3)


def test_pictures_of_one_part_do_not_choose_the_method() -> None:
    log_odds, defective = planted(Calibration(low=0.5, high=0.5), 120)
    odd = np.full(400, 6.0)  # one good part, seen four hundred times, that an offset would please
    samples = alone(defective) + [sample("odd", "", number) for number in range(400)]
    found = choose_calibration(samples, np.concatenate([log_odds, odd]))
    assert found.method == "temperature"
    assert found.low == pytest.approx(0.5, rel=0.5)


def parts_of(scores: Sequence[float], defective: Sequence[bool]) -> list[PartScore]:
    return [
        PartScore(str(number), bad, "dent" if bad else "", score)
        for number, (score, bad) in enumerate(zip(scores, defective, strict=True))
    ]


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=60))
def test_brier_is_scikit_learn_s_and_bins_hold_all_parts(rows: list[tuple[float, bool]]) -> None:
    scores, truth = [score for score, _ in rows], [bad for _, bad in rows]
    found = reliability(parts_of(scores, truth))
    assert found is not None
    assert found.brier == pytest.approx(brier_score_loss(truth, scores, pos_label=True), abs=1e-5)
    assert len(found.bins) <= max(1, min(BINS, len(rows) // FEWEST))
    assert sum(one.defective.total for one in found.bins) == len(rows)
    assert sum(one.defective.count for one in found.bins) == sum(truth)
    assert [one.score for one in found.bins] == sorted(one.score for one in found.bins)
    assert 0 <= found.expected_error <= 1
    assert reliability(parts_of(scores[::-1], truth[::-1])) == found, "equal scores stay together, whichever comes first"


def test_reliability_made_by_hand() -> None:
    found = reliability(parts_of([0.1] * 10 + [0.9] * 10, [False] * 9 + [True] + [True] * 9 + [False]))
    assert found is not None
    assert found.brier == pytest.approx((18 * 0.1**2 + 2 * 0.9**2) / 20)
    assert [(one.score, one.defective.count, one.defective.total) for one in found.bins] == [(0.1, 1, 10), (0.9, 9, 10)]
    assert found.expected_error == 0
    two = reliability(parts_of([0.8, 0.4], [True, False]))
    assert two is not None
    assert (two.expected_error, two.brier) == pytest.approx((0.1, (0.04 + 0.16) / 2))
    assert [(one.score, one.defective.count) for one in two.bins] == [(0.6, 1)]
    assert reliability([]) is None


def test_calibration_makes_probabilities_reliable() -> None:
    log_odds, defective = planted(Calibration(low=1 / 3, high=1 / 3))
    found = choose_calibration(alone(defective), log_odds)
    before, after = (
        reliability(parts_of(to_probability(one).tolist(), defective.tolist())) for one in (log_odds, found.apply(log_odds))
    )
    assert before is not None
    assert after is not None
    assert after.expected_error < 0.02 < 0.1 < before.expected_error
    assert after.brier < before.brier


def test_log_odds_and_back() -> None:
    values = np.array([0.001, 0.3, 0.5, 0.999])
    assert to_log_odds(values) == pytest.approx(logit(values))
    assert to_probability(to_log_odds(values)) == pytest.approx(values)
    assert np.isfinite(to_log_odds(np.array([0.0, 1.0]))).all()
    assert to_probability(np.array([-1000.0, 1000.0])).tolist() == [0.0, 1.0]


@pytest.fixture(scope="module")
def graph() -> InspectionGraph:
    return InspectionGraph(build("mobilenetv3_small_050")[0], Calibration())


@settings(max_examples=30)
@given(calibration=CALIBRATIONS)
def test_the_exported_graph_calibrates_as_the_lab_does(graph: InspectionGraph, calibration: Calibration) -> None:
    graph.calibration = calibration
    log_odds = np.linspace(-25, 25, 101)
    there = graph.calibrated(torch.from_numpy(log_odds).float()).numpy()
    here = calibration.apply(log_odds)
    assert there == pytest.approx(here, abs=1e-5, rel=1e-5)
    assert expit(there) == pytest.approx(to_probability(here), abs=1e-5)

"""Is the promise kept? "Escapes of at most a with confidence 1 - d" may be broken in d of all datasets, and no more."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logit, ndtr
from scipy.stats import binom

from pipeline.evaluation.limits import Limits
from pipeline.evaluation.metrics import PartScore, part_scores
from pipeline.evaluation.thresholds import derive_thresholds
from tests.bench import coverage
from tests.bench.coverage import (
    COSTS,
    WORLDS,
    Batch,
    Row,
    batch,
    calibrated_row,
    in_theory,
    known_errors,
    most_by_chance,
    of_type,
    order_statistics,
    ordered,
    reference,
    rows_of,
    share_below,
    study,
    table_of,
    write_figure,
)
from tests.pipeline.conftest import sample

BY_NAME = {world.name: world for world in WORLDS}
CELLS = [("overlapping", 1, 299), ("overlapping", 6, 57), ("heavy-tailed", 6, 100), ("discrete", 3, 100), ("two types", 1, 299)]
FEW = 200_000
"""Parts that stand for the true distribution, in the fast tests."""


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Some cells of the whole study, with as many repetitions."""
    batches = [batch(BY_NAME[name], views, size, coverage.REPETITIONS, FEW) for name, views, size in CELLS]
    return [row for one in batches for limit in (0.01, 0.05) for row in rows_of(one, limit, 0.95)]


def told(row: Row) -> str:
    return f"{row.kind}, {row.world}, {row.parts} parts of {row.views} pictures, at most {row.limit} with {row.confidence}"


def broken_too_often(rows: Sequence[Row]) -> list[str]:
    return [f"{told(row)}: {row.ours} of {row.repetitions}" for row in rows if row.ours > most_by_chance(row, len(rows))]


def test_promises_are_kept(rows: list[Row]) -> None:
    assert {row.kind for row in rows} == {"escape", "overkill", "escape, hard type", "escape, by costs"}
    assert broken_too_often(rows) == []


def test_one_more_miss_than_is_proven_would_be_found_out() -> None:
    one = batch(BY_NAME["overlapping"], 1, 100, 2000, FEW)
    errors = known_errors(100, 0.05, 0.95)
    assert coverage.promised(errors, 100, 0.05, 0.95) == 0.05
    broken = [int((share_below(one.true_bad.parts, one.bad.parts[:, errors + more]) > 0.05).sum()) for more in (0, 1)]
    most = binom.isf(coverage.SIGNIFICANCE, 2000, 0.05)
    assert broken[0] <= most < broken[1]


def test_as_often_as_theory_says(rows: list[Row]) -> None:
    """Not less often either: then a threshold would be more cautious than it says."""
    checked = [row for row in rows if row.world in ("overlapping", "heavy-tailed") and row.kind == "escape" and row.views == 1]
    assert checked
    for row in checked:
        low, high = binom.interval(0.9999, row.repetitions, in_theory(row))
        assert low <= row.ours <= high, told(row)


def test_the_old_ways_break_it(rows: list[Row]) -> None:
    escapes = [row for row in rows if row.kind == "escape" and row.world != "discrete"]
    assert min((row.plug_in or 0) / row.repetitions for row in escapes) > 5 * 0.05
    of_six = [row for row in escapes if row.views == 6]
    assert max((row.by_picture or 0) / row.repetitions for row in of_six) > 4 * 0.05
    assert sum(row.by_picture or 0 for row in of_six) > 2 * sum(row.ours for row in of_six)
    alone = [row for row in escapes if row.views == 1]
    assert all(row.by_picture == row.ours for row in alone if row.world == "overlapping")


def test_caution_leaves_most_of_a_limit_that_can_be_shown(rows: list[Row]) -> None:
    assert known_errors(299, 0.05, 0.95) >= 8
    used = [row.used for row in rows if (row.kind, row.world, row.parts, row.limit) == ("escape", "overlapping", 299, 0.05)]
    assert used == [pytest.approx(0.63, abs=0.1)]


def test_the_reference_is_the_true_distribution() -> None:
    cuts = np.array([0.05, 0.2, 0.5, 0.9])
    true = ndtr((logit(cuts) - 1.5) / np.sqrt(1 + 0.3**2))
    many = reference(BY_NAME["overlapping"], 1, True, FEW)
    assert share_below(many.parts, cuts) == pytest.approx(true, abs=1.5e-3)


def validation_parts(one: Batch, repetition: int) -> list[PartScore]:
    """Of a batch, already judged by the station's rule."""
    return [
        PartScore(f"{kind}{number}", kind != "good", kind if kind != "good" else "", score)
        for number, (kind, score) in enumerate(
            [
                *(
                    ("hard" if hard else "easy", score)
                    for hard, score in zip(one.bad.hard[repetition].tolist(), one.bad.parts[repetition].tolist(), strict=True)
                ),
                *(("good", score) for score in one.good.parts[repetition].tolist()),
            ]
        )
    ]


@pytest.mark.parametrize(
    ("name", "size", "limit"),
    [("overlapping", 57, 0.1), ("discrete", 57, 0.05), ("hardly separated", 15, 0.05), ("two types", 57, 0.1)],
)
def test_the_study_s_thresholds_are_derive_thresholds_own(name: str, size: int, limit: float) -> None:
    one = batch(BY_NAME[name], 3, size, 200, 1000)
    accept, reject = order_statistics(one, limit, 0.95, known_errors)
    allowed = known_errors(size, limit, 0.95)
    undecided = 0
    for repetition in range(200):
        derived = derive_thresholds(validation_parts(one, repetition), Limits(max_escape=limit, max_overkill=limit))
        chosen = (derived.thresholds.accept, derived.thresholds.reject)
        assert chosen == pytest.approx((accept[repetition], reject[repetition]), abs=1e-12)
        undecided += bool(derived.undecided)
        if not derived.undecided:
            said = derived.promises[0]
            assert max(said.bound, said.limit) == pytest.approx(coverage.promised(allowed, size, limit, 0.95))
            assert said.shown == (said.bound <= limit)
    assert (undecided > 0) == (name == "hardly separated")


def test_so_are_those_of_types_and_of_costs() -> None:
    one = batch(BY_NAME["two types"], 1, 100, 30, 1000)
    cuts = order_statistics(one, 0.05, 0.95, known_errors)
    least, promises = of_type(one, 0.05, 0.95, known_errors)
    for repetition in range(30):
        parts = validation_parts(one, repetition)
        typed = derive_thresholds(parts, Limits(max_escape=0.05, max_escape_of={"hard": 0.05}, max_overkill=None))
        strictest = min(one.bad.parts[repetition, known_errors(100, 0.05, 0.95)], least[repetition])
        assert typed.thresholds.accept == strictest
        assert max(typed.promises[1].bound, 0.05) == pytest.approx(promises[repetition])
        cheap = derive_thresholds(parts, Limits(max_escape=0.05, max_overkill=0.05, costs=COSTS))
        assert cheap.thresholds.accept <= one.bad.parts[repetition, known_errors(100, 0.05, 0.95)]
        assert cheap.thresholds.reject >= cuts[1, repetition] or cheap.thresholds.reject >= one.good.parts[repetition, -1]


def test_parts_of_the_study_are_judged_by_the_station_s_rule() -> None:
    random = np.random.default_rng(0)
    drawn = coverage.draw(BY_NAME["discrete"], True, random.random(40), 6, random)
    samples = [sample(f"p{part}", "dent", view) for part in range(40) for view in range(6)]
    assert [part.score for part in part_scores(samples, drawn.pictures.ravel())] == drawn.parts.tolist()
    assert ordered(drawn).parts.tolist() == sorted(drawn.parts.tolist())


@pytest.mark.slow
def test_the_whole_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell, with a quarter of the repetitions: what chance explains is reckoned for so many."""
    monkeypatch.setattr(coverage, "REPETITIONS", coverage.REPETITIONS // 4)
    rows = study(lambda done, total: None)
    assert len(rows) > 1300
    assert broken_too_often(rows) == []
    escapes = [row for row in rows if row.kind == "escape"]
    worst = {
        limit: max((row.plug_in or 0) / row.repetitions for row in escapes if row.limit == limit) for limit in coverage.LIMITS
    }
    assert min(worst.values()) > 0.5
    many = [row for row in escapes if row.views == 6 and row.parts >= 100]
    assert np.mean([(row.by_picture or 0) / row.repetitions / row.tolerated for row in many]) > 2
    assert table_of(rows).row_count > 100
    write_figure(rows, tmp_path / "figure.svg")
    assert (tmp_path / "figure.svg").stat().st_size < 100_000


@pytest.mark.slow
def test_a_calibration_fitted_on_the_same_parts_does_not_break_it() -> None:
    row = calibrated_row(BY_NAME["overlapping"], 3, 100, 0.05, 0.95, 2000)
    assert broken_too_often([row]) == []

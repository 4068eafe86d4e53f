import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from deploy.verdict import Thresholds
from pipeline.evaluation import metrics
from pipeline.evaluation.metrics import (
    PartScore,
    area_under_roc,
    auroc,
    average_precision,
    bootstrapped,
    count_by_type,
    count_verdicts,
    counts_of,
    part_scores,
    precision_of_ranks,
    rate,
    upper_bound,
)
from tests.pipeline.conftest import sample


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [
        (0, 57, 0.0, 0.0627),
        (0, 299, 0.0, 0.0123),
        (1, 10, 0.0025, 0.4450),
        (5, 5, 0.4782, 1.0),
    ],
)
def test_clopper_pearson_against_the_tables(count: int, total: int, low: float, high: float) -> None:
    interval = rate(count, total)
    assert interval.low == pytest.approx(low, abs=1e-3)
    assert interval.high == pytest.approx(high, abs=1e-3)


@pytest.mark.parametrize(("count", "total", "bound"), [(0, 57, 0.0512), (0, 299, 0.01), (3, 3, 1.0)])
def test_what_so_many_parts_prove(count: int, total: int, bound: float) -> None:
    assert upper_bound(count, total) == pytest.approx(bound, abs=1e-4)


def test_no_parts_no_rate() -> None:
    assert rate(0, 0).value is None
    assert "no such parts" in str(rate(0, 0))


def test_auroc_interval_is_wider_when_pictures_share_groups() -> None:
    random = np.random.default_rng(0)
    truth = np.arange(200) % 2
    scores = random.normal(size=200) + truth
    alone = [sample(f"p{index}", "dent" if bad else "") for index, bad in enumerate(truth)]
    shared = [sample(f"p{index // 20}{bad}", "dent" if bad else "", index) for index, bad in enumerate(truth)]
    # Pictures of one part score alike, so fewer groups know less.
    clustered = scores + np.repeat(random.normal(size=10), 20)
    wide, narrow = auroc(shared, clustered), auroc(alone, scores)
    assert wide.high is not None
    assert wide.low is not None
    assert narrow.high is not None
    assert narrow.low is not None
    assert wide.high - wide.low > narrow.high - narrow.low
    assert narrow.low < (narrow.value or 0) < narrow.high


RANKED = st.lists(st.tuples(st.booleans(), st.sampled_from("abcde"), st.integers(0, 8)), min_size=2, max_size=40)


@settings(max_examples=40)
@given(RANKED)
def test_figures_are_scikit_learn_s_and_intervals_those_of_resampled_groups(rows: list[tuple[bool, str, int]]) -> None:
    truth, scores = np.array([bad for bad, _, _ in rows]), np.array([score / 8 for _, _, score in rows])
    assume(0 < truth.sum() < len(truth))
    samples = [sample(group, "dent" if bad else "") for bad, group, _ in rows]
    names = sorted({group for _, group, _ in rows})
    members = [[index for index, row in enumerate(rows) if row[1] == name] for name in names]
    random = np.random.default_rng(0)
    drawn = [[index for number in random.integers(len(names), size=len(names)) for index in members[number]] for _ in range(10)]
    drawn = [one for one in drawn if 0 < truth[one].sum() < len(one)]
    assume(drawn)
    for measure, theirs in ((area_under_roc, roc_auc_score), (precision_of_ranks, average_precision_score)):
        figure = bootstrapped(measure, *counts_of(samples, scores), 10)
        assert figure.value == pytest.approx(theirs(truth, scores), abs=1e-12)
        resampled = [theirs(truth[one], scores[one]) for one in drawn]
        if figure.low is None:
            assert np.ptp(resampled) < 1e-9
        else:
            assert (figure.low, figure.high) == pytest.approx(tuple(np.quantile(resampled, [0.025, 0.975])), abs=1e-12)


def test_resamples_taken_in_several_goes_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    samples = [sample(f"p{index}", "dent" if index % 2 else "") for index in range(30)]
    scores = random.normal(size=30)
    whole = auroc(samples, scores)
    monkeypatch.setattr(metrics, "AT_ONCE", 70)
    assert auroc(samples, scores) == whole


def test_no_pictures_have_no_auroc() -> None:
    assert auroc([], np.array([])).value is None


def test_one_class_has_no_auroc() -> None:
    only_good = [sample("a"), sample("b")]
    assert auroc(only_good, np.array([0.1, 0.2])).value is None
    assert average_precision(only_good, np.array([0.1, 0.2])).value is None
    assert str(auroc(only_good, np.array([0.1, 0.2]))) == "not defined"


def test_a_part_is_judged_by_its_two_worst_views() -> None:
    samples = [sample("a", "dent", 0), sample("a", "dent", 1), sample("a", "", 2), sample("b", "", 0)]
    parts = part_scores(samples, np.array([0.25, 0.75, 0.1, 0.3]))
    assert [(part.defective, part.score) for part in parts] == [(True, 0.5), (False, 0.1), (False, 0.3)]


def test_counts_by_verdict_and_type() -> None:
    parts = [
        PartScore(str(score), kind != "", kind, score) for score, kind in ((0.1, ""), (0.9, ""), (0.1, "dent"), (0.5, "crack"))
    ]
    counts = count_verdicts(parts, Thresholds(accept=0.3, reject=0.7))
    assert (counts.escape.count, counts.escape.total) == (1, 2)
    assert (counts.overkill.count, counts.overkill.total) == (1, 2)
    assert (counts.review.count, counts.review.total) == (1, 4)
    by_type = count_by_type(parts, Thresholds(accept=0.3, reject=0.7))
    assert {kind: one.escape.count for kind, one in by_type.items()} == {"dent": 1, "crack": 0}

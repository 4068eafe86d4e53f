import math
import re
from collections.abc import Callable, Sequence
from itertools import pairwise, product
from random import Random

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from deploy.errors import InspectionError
from deploy.verdict import Thresholds, Verdict, decide
from pipeline.evaluation.limits import Costs, Limits, parse_limits, parse_rate
from pipeline.evaluation.metrics import PartScore, count_by_type, count_verdicts, part_scores, upper_bound
from pipeline.evaluation.thresholds import (
    REVIEW_ALL,
    Derived,
    allowed_errors,
    cheapest,
    derive_thresholds,
    mean_cost,
    parts_needed,
)
from tests.pipeline.conftest import sample

COSTS = Costs(escape=200, overkill=1.5, review=0.3, defect_rate=0.005)
RATES = st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8])
MONEY = st.integers(1, 40).map(float)
PRICES = st.builds(
    Costs, escape=MONEY, overkill=MONEY, review=st.integers(0, 20).map(float), defect_rate=st.sampled_from([0.125, 0.25, 0.5])
)


def parts_of(good: Sequence[float], bad: Sequence[float], kind: str = "dent") -> list[PartScore]:
    return [PartScore(f"g{number}", False, "", score) for number, score in enumerate(good)] + [
        PartScore(f"{kind}{number}", True, kind, score) for number, score in enumerate(bad)
    ]


@st.composite
def separable_enough(draw: st.DrawFn) -> list[PartScore]:
    """Parts of two classes that overlap, with ties, but tell good from defective."""
    grid = st.integers(0, 64)
    good = draw(st.lists(grid, min_size=8, max_size=50))
    bad = draw(st.lists(grid, min_size=8, max_size=50))
    shift = draw(st.integers(0, 36))
    parts = parts_of([score / 100 for score in good], [(score + shift) / 100 for score in bad])
    assume(not derive_thresholds(parts, Limits()).undecided)
    return parts


def verdicts(parts: Sequence[PartScore], thresholds: Thresholds) -> list[Verdict]:
    return [decide(part.score, thresholds) for part in parts]


def verdicts_by_limits(parts: Sequence[PartScore], limits: Limits) -> list[Verdict]:
    return verdicts(parts, derive_thresholds(parts, limits).thresholds)


ANY_LIMITS = st.builds(Limits, max_escape=RATES, max_overkill=st.none() | RATES, costs=st.none() | PRICES)
SCORES = st.lists(st.floats(0, 1), max_size=40)
SURENESS = {Verdict.GOOD: 0, Verdict.REVIEW: 1, Verdict.DEFECTIVE: 2}


@given(SCORES, SCORES, ANY_LIMITS)
def test_whatever_the_scores_thresholds_are_in_order_and_verdicts_rise_with_the_score(
    good: list[float], bad: list[float], limits: Limits
) -> None:
    thresholds = derive_thresholds(parts_of(good, bad), limits).thresholds
    assert 0 <= thresholds.accept <= thresholds.reject <= 1
    ranks = [SURENESS[decide(score, thresholds)] for score in sorted([*good, *bad, *np.linspace(0, 1, 50)])]
    assert ranks == sorted(ranks)


@given(separable_enough(), ANY_LIMITS)
def test_no_more_of_the_parts_themselves_are_on_the_wrong_side_than_is_proven(parts: list[PartScore], limits: Limits) -> None:
    derived = derive_thresholds(parts, limits)
    counts = count_verdicts(parts, derived.thresholds)
    for promise in derived.promises:
        made = counts.escape if promise.error == "escape" else counts.overkill
        assert (promise.errors, promise.parts) == (made.count, made.total)
        assert promise.errors <= allowed_errors(promise.parts, promise.limit, promise.confidence)
        assert upper_bound(promise.errors, promise.parts, promise.confidence) <= promise.bound
        assert promise.shown or promise.errors == 0


@given(separable_enough(), RATES, RATES, st.none() | RATES, st.none() | PRICES)
def test_a_stricter_escape_limit_passes_no_more_and_rejects_no_fewer(
    parts: list[PartScore], one: float, other: float, max_overkill: float | None, costs: Costs | None
) -> None:
    strict, loose = (
        verdicts_by_limits(parts, Limits(max_escape=rate, max_overkill=max_overkill, costs=costs))
        for rate in sorted((one, other))
    )
    assert strict.count(Verdict.GOOD) <= loose.count(Verdict.GOOD)
    assert strict.count(Verdict.DEFECTIVE) >= loose.count(Verdict.DEFECTIVE)


@given(separable_enough(), RATES, RATES, RATES, st.none() | PRICES)
def test_a_stricter_overkill_limit_never_raises_overkill(
    parts: list[PartScore], one: float, other: float, max_escape: float, costs: Costs | None
) -> None:
    strict, loose = (
        count_verdicts(
            parts, derive_thresholds(parts, Limits(max_escape=max_escape, max_overkill=rate, costs=costs)).thresholds
        ).overkill.count
        for rate in sorted((one, other))
    )
    assert strict <= loose


@given(separable_enough(), ANY_LIMITS, st.randoms(use_true_random=False))
def test_the_order_of_parts_does_not_matter(parts: list[PartScore], limits: Limits, random: Random) -> None:
    shuffled = list(parts)
    random.shuffle(shuffled)
    assert derive_thresholds(shuffled, limits) == derive_thresholds(parts, limits)


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 10)), min_size=2, max_size=60), st.randoms(use_true_random=False))
def test_the_order_of_pictures_does_not_matter(pictures: list[tuple[int, int]], random: Random) -> None:
    rows = [(sample(f"p{part}", "dent" if part % 2 else "", number), score / 10) for number, (part, score) in enumerate(pictures)]
    derived = []
    for _ in range(2):
        derived.append(derive_thresholds(part_scores([one for one, _ in rows], np.array([score for _, score in rows])), Limits()))
        random.shuffle(rows)
    assert derived[0] == derived[1]


@pytest.mark.parametrize(
    "transform", [lambda s: s**3, lambda s: s**0.25, lambda s: s / (s + 4 * (1 - s)), lambda s: (s + s**5) / 2]
)
@given(parts=separable_enough(), limits=st.builds(Limits, max_escape=RATES, max_overkill=st.none() | RATES))
def test_only_the_ranks_decide(parts: list[PartScore], limits: Limits, transform: Callable[[float], float]) -> None:
    """Where no gap between the classes asks how far apart scores are."""
    derived = derive_thresholds(parts, limits)
    scores = {part.score for part in parts} | {0.0, 1.0}
    assume({derived.thresholds.accept, derived.thresholds.reject} <= scores)
    bent = [PartScore(part.part, part.defective, part.defect_type, transform(part.score)) for part in parts]
    assert verdicts_by_limits(bent, limits) == verdicts(parts, derived.thresholds)


def cost_of(parts: Sequence[PartScore], thresholds: Thresholds, costs: Costs) -> float:
    """Part by part, as it is told."""
    total = 0.0
    counted = {label: sum(part.defective is label for part in parts) for label in (True, False)}
    for part in parts:
        verdict = decide(part.score, thresholds)
        share = (costs.defect_rate if part.defective else 1 - costs.defect_rate) / counted[part.defective]
        if verdict is Verdict.REVIEW:
            total += share * costs.review
        elif verdict is Verdict.GOOD and part.defective:
            total += share * costs.escape
        elif verdict is Verdict.DEFECTIVE and not part.defective:
            total += share * costs.overkill
    return total


FEW = st.lists(st.integers(0, 8).map(lambda score: score / 8), min_size=1, max_size=8)
CUT = st.integers(0, 8).map(lambda score: score / 8)


@given(FEW, FEW, PRICES, CUT, CUT)
def test_cheapest_is_the_cheapest_of_all_pairs(
    good: list[float], bad: list[float], costs: Costs, most_accept: float, least_reject: float
) -> None:
    parts = parts_of(good, bad)
    found = cheapest(np.sort(good), np.sort(bad), costs, most_accept, least_reject)
    assert found.accept <= most_accept
    assert found.reject >= least_reject
    scores = sorted({*good, *bad, 0.0, most_accept, least_reject, 1.0})
    cuts = [*scores, *((low + high) / 2 for low, high in pairwise(scores))]
    pairs = [
        Thresholds(accept=low, reject=high)
        for low, high in product(cuts, cuts)
        if low <= high and low <= most_accept and high >= least_reject
    ]
    assert cost_of(parts, found, costs) == pytest.approx(min(cost_of(parts, pair, costs) for pair in pairs), abs=1e-9)


@given(FEW, FEW, PRICES, CUT, CUT)
def test_mean_cost_is_the_sum_over_parts(good: list[float], bad: list[float], costs: Costs, one: float, other: float) -> None:
    thresholds = Thresholds(accept=min(one, other), reject=max(one, other))
    assert mean_cost(parts_of(good, bad), thresholds, costs) == pytest.approx(cost_of(parts_of(good, bad), thresholds, costs))


@pytest.mark.parametrize(("good", "bad"), [([], [0.5]), ([0.5], [])])
def test_one_class_has_no_mean_cost(good: list[float], bad: list[float]) -> None:
    assert mean_cost(parts_of(good, bad), REVIEW_ALL, COSTS) is None


@given(separable_enough(), PRICES, MONEY, st.none() | RATES)
def test_a_dearer_escape_never_raises_accept(parts: list[PartScore], costs: Costs, more: float, max_escape: float | None) -> None:
    cheap, dear = (
        derive_thresholds(
            parts, Limits(max_escape=max_escape, max_overkill=None, costs=costs.model_copy(update={"escape": price}))
        ).thresholds
        for price in (costs.escape, costs.escape + more)
    )
    assert dear.accept <= cheap.accept


@given(separable_enough(), PRICES, RATES, RATES)
def test_costs_choose_within_the_limits(parts: list[PartScore], costs: Costs, max_escape: float, max_overkill: float) -> None:
    free = derive_thresholds(parts, Limits(max_escape=None, max_overkill=None, costs=costs))
    bound = derive_thresholds(parts, Limits(max_escape=max_escape, max_overkill=max_overkill, costs=costs))
    assert free.promises == ()
    assert cost_of(parts, free.thresholds, costs) <= cost_of(parts, bound.thresholds, costs) + 1e-9
    counts = count_verdicts(parts, bound.thresholds)
    assert counts.escape.count <= allowed_errors(counts.escape.total, max_escape, 0.95)
    assert counts.overkill.count <= allowed_errors(counts.overkill.total, max_overkill, 0.95)


def test_an_escape_that_costs_nearly_nothing_does_not_loosen_its_limit() -> None:
    parts = parts_of(np.linspace(0, 0.6, 200).tolist(), np.linspace(0.4, 1, 200).tolist())
    costs = Costs(escape=0.01, overkill=100, review=1, defect_rate=0.01)
    free = derive_thresholds(parts, Limits(max_escape=None, max_overkill=None, costs=costs)).thresholds
    assert count_verdicts(parts, free).escape.count > 50
    kept = derive_thresholds(parts, Limits(max_escape=0.02, max_overkill=None, costs=costs))
    assert count_verdicts(parts, kept.thresholds).escape.count == allowed_errors(200, 0.02, 0.95)
    assert kept.promises[0].shown


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ([], [], "0 good and 0 defective parts"),
        ([0.1, 0.2], [], "2 good and 0 defective parts"),
        ([], [0.9], "0 good and 1 defective parts"),
        ([0.5] * 30, [0.5] * 30, "all 60 parts have the same score"),
        ([0.1], [0.9], "1 good and 1 defective parts are too few to tell"),
        ([0.1, 0.2], [0.8, 0.9], "2 good and 2 defective parts are too few to tell"),
        ([0.0] * 40, [0.0, 0.0, 1.0], "luck would rank 3 defective and 40 good parts so well in"),
        (np.linspace(0, 1, 50).tolist(), np.linspace(0, 1, 50).tolist(), "no evidence that this model separates"),
        (np.linspace(0.5, 1, 50).tolist(), np.linspace(0, 0.5, 50).tolist(), "no evidence that this model separates"),
        ([0.0] * 40, [0.0] * 39 + [1.0], "no evidence that this model separates"),
    ],
)
@pytest.mark.parametrize("costs", [None, COSTS])
def test_what_cannot_be_decided_goes_to_a_person(good: list[float], bad: list[float], said: str, costs: Costs | None) -> None:
    derived = derive_thresholds(parts_of(good, bad), Limits(costs=costs))
    assert derived == Derived(REVIEW_ALL, (), derived.undecided)
    assert said in derived.undecided
    assert {decide(score, derived.thresholds) for score in np.linspace(0, 1, 101)} == {Verdict.REVIEW}


def test_luck_is_measured_alike_whatever_confidence_is_asked_for() -> None:
    parts = parts_of([0.1, 0.2, 0.3], [0.7, 0.8, 0.9])  # 1 in 20 by luck
    assert not derive_thresholds(parts, Limits(confidence=0.999)).undecided
    assert not derive_thresholds(parts, Limits(confidence=0.6)).undecided


def test_separable_classes_leave_the_middle_to_review() -> None:
    good, bad = [0.01] * 20, [0.99] * 20
    derived = derive_thresholds(parts_of(good, bad), Limits())
    low, high = math.log(0.01 / 0.99), math.log(0.99 / 0.01)
    inner = [1 / (1 + math.exp(-(low + (high - low) * quarter))) for quarter in (0.25, 0.75)]
    assert (derived.thresholds.accept, derived.thresholds.reject) == pytest.approx(inner)
    assert Verdict.REVIEW not in verdicts(parts_of(good, bad), derived.thresholds)


@pytest.mark.parametrize(("good", "bad"), [([0.0], [1.0]), ([0.0], [1e-12]), ([1 - 1e-12], [1.0]), ([1e-9], [1e-8])])
def test_scores_next_to_0_and_1_keep_their_side(good: list[float], bad: list[float]) -> None:
    counts = count_verdicts(parts_of(good * 20, bad * 20), derive_thresholds(parts_of(good * 20, bad * 20), Limits()).thresholds)
    assert (counts.escape.count, counts.overkill.count) == (0, 0)


def test_without_an_overkill_limit_nothing_is_reviewed_but_the_threshold_itself() -> None:
    parts = parts_of(np.linspace(0, 0.6, 60).tolist(), np.linspace(0.4, 1, 60).tolist())
    thresholds = derive_thresholds(parts, Limits(max_escape=0.05, max_overkill=None)).thresholds
    assert thresholds.accept == thresholds.reject == pytest.approx(0.4)


def typed_parts() -> list[PartScore]:
    dents = parts_of(np.linspace(0, 0.3, 200).tolist(), np.linspace(0.6, 1, 300).tolist())
    cracks = parts_of([], np.linspace(0.2, 1, 60).tolist(), "crack")
    return dents + cracks


def test_a_type_s_own_limit_is_kept_beside_that_of_all() -> None:
    overall = derive_thresholds(typed_parts(), Limits(max_escape=0.1, max_overkill=None))
    both = derive_thresholds(typed_parts(), Limits(max_escape=0.1, max_overkill=None, max_escape_of={"crack": 0.1}))
    assert both.thresholds.accept < overall.thresholds.accept
    assert [(one.defect_type, one.parts, one.shown) for one in both.promises] == [("", 360, True), ("crack", 60, True)]
    escaped = count_by_type(typed_parts(), both.thresholds)["crack"].escape.count
    assert both.promises[1].errors == escaped == allowed_errors(60, 0.1, 0.95)


def test_a_type_nobody_has_seen_promises_nothing_and_changes_nothing() -> None:
    overall = derive_thresholds(typed_parts(), Limits(max_escape=0.1))
    both = derive_thresholds(typed_parts(), Limits(max_escape=0.1, max_escape_of={"stain": 0.1}))
    assert both.thresholds == overall.thresholds
    promise = both.promises[1]
    assert (promise.parts, promise.errors, promise.bound, promise.shown) == (0, 0, 1.0, False)
    assert str(promise) == "escapes of stain of at most 10 %: not shown, there is no stain part"


@given(separable_enough(), RATES, RATES, RATES)
def test_a_type_s_limit_never_raises_accept(
    parts: list[PartScore], max_escape: float, of_dent: float, max_overkill: float
) -> None:
    plain, typed = (
        derive_thresholds(parts, Limits(max_escape=max_escape, max_overkill=max_overkill, max_escape_of=kinds)).thresholds
        for kinds in ({}, {"dent": of_dent})
    )
    assert typed.accept <= plain.accept


def test_a_limit_of_zero_misses_no_part_and_is_never_shown() -> None:
    parts = parts_of(np.linspace(0, 0.6, 500).tolist(), np.linspace(0.4, 1, 500).tolist())
    derived = derive_thresholds(parts, Limits(max_escape=0, max_overkill=0))
    assert (derived.thresholds.accept, derived.thresholds.reject) == pytest.approx((0.4, 0.6))
    assert [(one.errors, one.shown, one.needed) for one in derived.promises] == [(0, False, None)] * 2
    assert "no number of parts shows zero" in str(derived.promises[0])


@pytest.mark.parametrize(
    ("bad", "limit", "said"),
    [
        (57, 0.01, "escapes of at most 1 %: not shown, 57 defective parts, 0 of them passed, show at most 5.12 % with "
                   "95 % confidence; it takes 299 without a miss, 242 more"),
        (299, 0.01, "escapes of at most 1 %: shown with 95 % confidence by 299 defective parts, 0 of them passed"),
        (100, 0.05, "escapes of at most 5 %: shown with 95 % confidence by 100 defective parts, 1 of them passed"),
    ],
)  # fmt: skip
def test_a_promise_says_what_is_missing(bad: int, limit: float, said: str) -> None:
    parts = parts_of(np.linspace(0, 0.6, 100).tolist(), np.linspace(0.4, 1, bad).tolist())
    promise = derive_thresholds(parts, Limits(max_escape=limit, max_overkill=None)).promises[0]
    assert str(promise) == said


@pytest.mark.parametrize(("limit", "needed"), [(0.01, 299), (0.02, 149), (0.05, 59), (0.1, 29), (0.005, 598), (0.0, None)])
def test_parts_that_show_a_limit_without_a_miss(limit: float, needed: int | None) -> None:
    assert parts_needed(limit, 0.95) == needed
    if needed:
        assert upper_bound(0, needed) <= limit < upper_bound(0, needed - 1)


@given(st.integers(1, 400), st.floats(0.001, 0.6), st.floats(0.6, 0.999))
@example(1, 0.5, 0.9)
def test_allowed_errors_are_the_most_that_are_proven(parts: int, limit: float, confidence: float) -> None:
    allowed = allowed_errors(parts, limit, confidence)
    assert 0 <= allowed < parts
    assert allowed == 0 or upper_bound(allowed, parts, confidence) <= limit
    assert allowed + 1 == parts or upper_bound(allowed + 1, parts, confidence) > limit
    assert allowed_errors(parts, limit, min(confidence + 0.05, 0.9999)) <= allowed <= allowed_errors(parts + 1, limit, confidence)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1%", 0.01), ("0.01", 0.01), (" 0.5 % ", 0.005), (".02", 0.02), ("0", 0.0), ("0%", 0.0), ("99.9%", 0.999), ("2.%", 0.02)],
)
def test_rates_as_people_write_them(text: str, value: float) -> None:
    assert parse_rate(text) == pytest.approx(value)


@pytest.mark.parametrize(
    "text", ["", "%", "1", "100%", "1.5", "-1%", "1 percent", "1%%", "nan", "inf", "1e-2", "0,01", "1/100", "a"]
)
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(
        InspectionError, match=re.escape(f"{text!r} is no rate; expected a share below 100 %, such as 1% or 0.01")
    ):
        parse_rate(text)


def parsed(
    max_escape: Sequence[str] = (),
    max_overkill: str | None = None,
    confidence: str = "95%",
    costs: tuple[float | None, float | None, float | None, str | None] = (None, None, None, None),
) -> Limits:
    return parse_limits(max_escape, max_overkill, confidence, *costs)


ALL_COSTS = (200.0, 1.5, 0.3, "0.5%")


@pytest.mark.parametrize(
    ("given_limits", "expected"),
    [
        (parsed(), Limits()),
        (parsed(["2%"]), Limits(max_escape=0.02)),
        (parsed(["crack=0.5%"]), Limits(max_escape_of={"crack": 0.005})),
        (parsed(["crack = 0.5%", "2%", "dent=3%"], "4%", "0.9"),
         Limits(max_escape=0.02, max_overkill=0.04, confidence=0.9, max_escape_of={"crack": 0.005, "dent": 0.03})),
        (parsed(costs=ALL_COSTS), Limits(max_escape=None, max_overkill=None, costs=COSTS)),
        (parsed(["1%"], costs=ALL_COSTS), Limits(max_escape=0.01, max_overkill=None, costs=COSTS)),
        (parsed([], "3%", costs=ALL_COSTS), Limits(max_escape=None, max_overkill=0.03, costs=COSTS)),
        (parsed(["0%"], "0"), Limits(max_escape=0, max_overkill=0)),
    ],
)  # fmt: skip
def test_limits_of_the_command_line(given_limits: Limits, expected: Limits) -> None:
    assert given_limits == expected


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"max_escape": ["1%", "2%"]}, "--max-escape is given 2 times for all defects; give it once"),
        ({"max_escape": ["ten"]}, "'ten' is no rate"),
        ({"max_escape": ["crack=many"]}, "'many' is no rate"),
        ({"max_escape": ["100%"]}, "'100%' is no rate"),
        ({"max_overkill": "2"}, "'2' is no rate"),
        ({"confidence": "50%"}, "confidence"),
        ({"confidence": "95"}, "'95' is no rate"),
        ({"costs": (200.0, None, None, None)}, "--overkill-cost, --review-cost, --defect-rate is missing"),
        ({"costs": (200.0, 1.5, 0.3, None)}, "costs need all of --escape-cost, --overkill-cost, --review-cost, --defect-rate"),
        ({"costs": (-1.0, 1.5, 0.3, "1%")}, "escape"),
        ({"costs": (200.0, 1.5, 0.3, "0%")}, "defect_rate"),
        ({"costs": (200.0, 1.5, 0.3, "most")}, "'most' is no rate"),
        ({"costs": (200.0, 0.0, 0.3, "1%")}, "overkill"),
        ({"costs": (math.inf, 1.5, 0.3, "1%")}, "escape"),
        ({"costs": (math.nan, 1.5, 0.3, "1%")}, "escape"),
        ({"max_escape": ["=1%"]}, "TYPE=RATE"),
        ({"max_escape": ["crack=1%", "crack=2%"]}, "crack"),
    ],
)
def test_limits_that_cannot_be_used(asked: dict[str, object], said: str) -> None:
    with pytest.raises(InspectionError, match=re.escape(said)):
        parsed(**asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"max_escape": None}, "give max_escape or costs"),
        ({"max_escape": 1.0}, "less than 1"),
        ({"max_escape": -0.1}, "greater than or equal to 0"),
        ({"max_escape_of": {"crack": 1.0}}, "the limit of crack must lie in 0..1"),
        ({"confidence": 1.0}, "less than 1"),
        ({"sloppiness": 0.1}, "Extra inputs are not permitted"),
    ],
)
def test_limits_check_themselves(stated: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(said)):
        Limits.model_validate(stated)

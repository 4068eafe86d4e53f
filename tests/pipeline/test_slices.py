import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import fisher_exact, mannwhitneyu

from deploy.errors import DatasetError
from deploy.verdict import Thresholds
from pipeline.data.sample import Sample
from pipeline.evaluation.cuts import Cut, Seen, describe, find_cuts
from pipeline.evaluation.metrics import Scores
from pipeline.evaluation.slices import Comparison, SliceTable, compare_slices, slice_table
from tests.pipeline.conftest import sample

THRESHOLDS = Thresholds(accept=0.3, reject=0.7)
DULL = Seen(100.0)


def part(name: str, defect_type: str = "", number: int = 0, **slices: str) -> Sample:
    return replace(sample(name, defect_type, number), slices=tuple(sorted(slices.items())))


def table_of(samples: Sequence[Sample], scores: Sequence[float]) -> SliceTable:
    return slice_table(samples, np.array(scores, np.float64), THRESHOLDS, [DULL] * len(samples))


def asked(table: SliceTable, value: str, question: str) -> Comparison:
    return next(one for one in table.comparisons if (one.value, one.question) == (value, question))


def cuts_of(name: str, values: Sequence[str]) -> tuple[Cut | None, list[str]]:
    """The cut by one column, of good parts with one picture each."""
    samples = [replace(sample(f"p{index}"), slices=((name, value),) if value else ()) for index, value in enumerate(values)]
    cuts, notes = find_cuts(samples, [DULL] * len(samples))
    return (cuts[0] if cuts else None), notes


def line(escaping: int, defective: int = 20, good: int = 40) -> tuple[list[Sample], list[float]]:
    """Four cameras with as many parts; of the defective parts of camera 2 so many escape, of the others one in all."""
    samples, scores = [], []
    random = np.random.default_rng(0)
    for camera in "1234":
        for index in range(defective):
            escapes = index < escaping if camera == "2" else camera == "3" and index == 0
            samples.append(part(f"d{camera}{index}", "dent", camera=camera))
            scores.append(random.uniform(0.05, 0.25) if escapes else random.uniform(0.75, 1))
        for index in range(good):
            samples.append(part(f"g{camera}{index}", camera=camera))
            scores.append(random.uniform(0, 0.25))
    return samples, scores


def test_a_planted_worse_slice_is_named_with_its_counts() -> None:
    table = table_of(*line(escaping=8))
    # Nobody is rejected wrongly, so that is no test: 4 slices, 3 questions.
    assert table.tests == 12
    assert asked(table, "2", "overkill").untested == "none"
    found = asked(table, "2", "escape")
    exact = fisher_exact([[8, 12], [1, 59]], alternative="greater").pvalue
    assert found.p == pytest.approx(exact, rel=1e-9)
    assert found.adjusted is not None
    assert exact <= found.adjusted <= 12 * exact * (1 + 1e-9)
    assert table.sentences()[0] == (
        "camera 2: defective parts escape more often (8 of 20 against 1 of 60; p < 0.001 after Holm over 12 tests)"
    )
    assert {one.value for one in table.comparisons if one.worse} == {"2"}


def test_a_slice_that_is_as_good_as_the_rest_is_not_named() -> None:
    table = table_of(*line(escaping=1))
    assert table.sentences() == ["no slice is significantly worse than the rest (12 tests, Holm)"]
    assert not any(one.worse for one in table.comparisons)


def test_figures_of_a_slice() -> None:
    samples, scores = line(escaping=8)
    two = next(one for one in table_of(samples, scores).slices if one.value == "2")
    assert (two.dimension, two.good, two.defective) == ("camera", 40, 20)
    assert (two.escape.count, two.escape.total, two.overkill.count, two.overkill.total) == (8, 20, 0, 40)
    assert (two.review.count, two.review.total) == (0, 60)
    mine = [
        (one.label == "defective", score) for one, score in zip(samples, scores, strict=True) if ("camera", "2") in one.slices
    ]
    bad, good = [score for label, score in mine if label], [score for label, score in mine if not label]
    assert two.auroc.value == pytest.approx(np.mean(np.subtract.outer(bad, good) > 0))
    assert two.auroc.low is not None


def test_slices_that_score_worse_between_the_thresholds_are_found_without_them() -> None:
    random = np.random.default_rng(1)
    samples, scores = [], []
    for shift in "ab":
        worse = shift == "b"
        samples += [part(f"d{shift}{index}", "dent", supplier=shift) for index in range(15)]
        scores += list(random.uniform(0.75, 0.85, 15) if worse else random.uniform(0.9, 1, 15))
        samples += [part(f"g{shift}{index}", supplier=shift) for index in range(15)]
        scores += list(random.uniform(0.1, 0.2, 15) if worse else random.uniform(0, 0.08, 15))
    table = table_of(samples, scores)
    low, high = asked(table, "b", "low scores"), asked(table, "b", "high scores")
    theirs = mannwhitneyu(scores[30:45], scores[:15], alternative="less").pvalue
    assert low.p == pytest.approx(theirs)
    assert [one.value for one in table.comparisons if one.worse] == ["b", "b"]
    told = table.sentences()
    assert all("supplier b: " in one and "after Holm over 4 tests" in one for one in told)
    assert {one.split(": ")[1].split(" (")[0] for one in told} == {"defective parts score lower", "good parts score higher"}
    assert (low.worse, high.worse) == (True, True)


def test_defect_types_are_held_against_each_other_and_all_good_parts() -> None:
    random = np.random.default_rng(2)
    samples = [part(f"g{index}") for index in range(30)]
    samples += [part(f"{kind}{index}", kind) for kind in ("crack", "dent") for index in range(12)]
    scores = [*random.uniform(0, 0.2, 30), *random.uniform(0, 0.5, 12), *random.uniform(0.8, 1, 12)]
    table = table_of(samples, scores)
    assert [(one.dimension, one.value, one.good, one.defective) for one in table.slices] == [
        ("defect type", "crack", 0, 12),
        ("defect type", "dent", 0, 12),
    ]
    crack, dent = table.slices
    assert dent.auroc.value == 1.0
    assert crack.auroc.value == pytest.approx(np.mean(np.subtract.outer(scores[30:42], scores[:30]) > 0))
    assert {one.question for one in table.comparisons} == {"escape", "low scores"}
    assert table.sentences()[0].startswith("defect type crack: defective parts ")


def test_each_camera_judges_a_part_by_its_own_pictures() -> None:
    samples = [part(f"d{index}", "dent", number, camera=str(number)) for index in range(10) for number in (1, 2)]
    scores = [0.9 if number == 1 else 0.1 for _ in range(10) for number in (1, 2)]
    table = table_of(samples, scores)
    one, two = table.slices
    assert (one.defective, one.escape.count, two.defective, two.escape.count) == (10, 0, 10, 10)
    assert (asked(table, "2", "escape").here, asked(table, "2", "escape").elsewhere) == ("10 of 10", "0 of 10")
    assert asked(table, "2", "escape").worse


def test_a_part_counts_once_elsewhere_however_many_cameras_see_it() -> None:
    samples = [part(f"d{index}", "dent", number, camera=str(number)) for index in range(10) for number in (1, 2, 3)]
    samples += [part(f"e{index}", "dent", camera="4") for index in range(10)]
    table = table_of(samples, [0.1] * len(samples))
    assert asked(table, "4", "escape").elsewhere == "10 of 10"
    assert asked(table, "1", "escape").elsewhere == "20 of 20"


@pytest.mark.parametrize(
    ("values", "slices", "counts"),
    [
        (["2", "10", "1", "b"], ["1", "2", "10", "b"], [1, 1, 1, 1]),
        (["2026-03-01T06:00:00", "2026-03-02T13:59:59"], [], []),  # one shift
        (["2026-03-01T05:59", "2026-03-01 06:00:00", "2026-03-01T13:59:59.9Z"], ["06-14", "22-06"], [2, 1]),
        (["2026-03-01T22:00:00+01:00", "14:00", "21:59:59", "20260301T000000"], ["14-22", "22-06"], [2, 2]),
        (["2026-03-01", "2026-03-02"], ["2026-03-01", "2026-03-02"], [1, 1]),  # days are no times of day
        (["25:00", "06:00"], ["06:00", "25:00"], [1, 1]),
        ([str(number) for number in range(1, 31)], ["up to 10", "10 to 20", "above 20"], [10, 10, 10]),
        ([str(number / 1000) for number in range(13)], ["up to 0.004", "0.004 to 0.008", "above 0.008"], [5, 4, 4]),
        ([*map(str, range(13)), *["50"] * 60], ["up to 12", "above 12"], [13, 60]),
        ([*map(str, range(13)), *["0"] * 60], ["up to 0", "above 0"], [61, 12]),
        (["1", "2", *["3"] * 20, *map(str, range(4, 15))], ["up to 3", "above 3"], [22, 11]),
        (["left", "", ""], [], []),
        ([], [], []),
        (["", ""], [], []),
    ],
)
def test_columns_become_slices(values: list[str], slices: list[str], counts: list[int]) -> None:
    cut, _ = cuts_of("column", values)
    assert list(cut.shown if cut else []) == slices
    assert [cut.values.count(value) for value in slices] == counts if cut else not counts


def test_bounds_that_round_alike_are_told_with_more_digits() -> None:
    cut, _ = cuts_of("column", [f"{1 + number * 1e-6:.7f}" for number in range(30)])
    assert cut is not None
    assert list(cut.shown) == ["up to 1.00001", "1.00001 to 1.00002", "above 1.00002"]
    assert [cut.values.count(name) for name in cut.shown] == [10, 10, 10]


def test_of_many_texts_the_most_frequent_are_kept_and_the_rest_told() -> None:
    values = [f"supplier {number:02d}" for number in range(20) for _ in range(25 - number)]
    cut, notes = cuts_of("supplier", values)
    assert cut is not None
    assert list(cut.shown) == [f"supplier {number:02d}" for number in range(12)]
    assert notes == ["supplier: the 12 most frequent of 20 values; 8 left out"]
    # The others are still what a slice is compared with.
    samples = [part(f"p{index}", supplier=value) for index, value in enumerate(values)]
    compared = compare_slices([cut], samples, np.full(len(samples), 0.9), THRESHOLDS)
    assert next(one.elsewhere for one in compared if one.question == "overkill") == f"{len(values) - 25} of {len(values) - 25}"


def test_serial_numbers_are_no_slices() -> None:
    cut, notes = cuts_of("serial", [f"S{number}" for number in range(40)])
    assert cut is None
    assert notes == ["serial: no slices, none of its 40 values is shared by 5 parts"]


def test_pictures_without_a_value_are_told() -> None:
    assert cuts_of("camera", ["1", "2", ""])[1] == ["camera: 1 of 3 pictures have none, and are in no slice of it"]


def test_thirds_of_size_and_brightness_are_of_parts() -> None:
    # Nine defective parts of two pictures; the size is that of the larger mask, the brightness the mean of both.
    samples = [part(f"d{index}", "dent", view) for index in range(9) for view in (0, 1)]
    seen = [Seen(10.0 * index + 5 * view, None if view else (index + 1) / 1000) for index in range(9) for view in (0, 1)]
    samples.append(part("unmarked", "dent"))
    seen.append(Seen(500.0))
    cuts, notes = find_cuts(samples, seen)
    size, light = cuts
    assert list(size.shown) == [f"{bounds} % of the picture" for bounds in ("up to 0.3", "0.3 to 0.6", "above 0.6")]
    assert [size.values.count(name) for name in size.shown] == [6, 6, 6]
    assert size.of_defects
    assert size.values[-1] == ""
    assert list(light.shown) == ["up to 32.5 of 255", "32.5 to 62.5 of 255", "above 62.5 of 255"]
    assert light.values[6] == light.values[7] == light.shown[0]
    assert notes == ["defect size: nothing tells it of 1 defective parts, which are in no slice of it"]


def test_too_few_parts_are_not_tested_and_say_so() -> None:
    samples = [part(f"{camera}{index}", "dent", camera=camera) for camera in "ab" for index in range(4 if camera == "a" else 30)]
    table = table_of(samples, [0.1] * 4 + [0.9] * 30)
    assert {one.untested for one in table.comparisons} == {"too few"}
    assert table.tests == 0
    assert "could be tested: each has, or leaves elsewhere, fewer than 5" in table.sentences()[0]
    assert asked(table, "a", "escape").here == "4 of 4"
    samples += [part(f"g{index}", camera="b" if index % 2 else "c") for index in range(20)]
    table = table_of(samples, [0.1] * 4 + [0.9] * 30 + list(np.linspace(0, 0.2, 20)))
    assert table.tests == 2
    assert table.sentences() == [
        "no slice is significantly worse than the rest (2 tests, Holm); 3 of 3 slices have too few parts for some or all of them"
    ]


def test_pictures_that_differ_in_nothing_cannot_be_cut() -> None:
    samples = [part(f"p{index}", "dent" if index % 2 else "", camera="1") for index in range(20)]
    table = table_of(samples, [0.5] * 20)
    assert table.slices == ()
    assert table.sentences() == ["no slice could be tested: the pictures do not differ in anything that is known of them"]
    assert table_of([], []).slices == ()


def test_tied_answers_do_not_make_a_rare_difference_sure() -> None:
    # 3 of the 20 parts of camera 1 are not saturated, 2 of the other 180: exactly 1.0 is what an overconfident model answers.
    samples = [part(f"{index}", "dent", camera="1" if index < 20 else "2") for index in range(200)]
    scores = np.ones(200)
    scores[[0, 1, 2, 30, 40]] = 0.9
    found = asked(table_of(samples, list(scores)), "1", "low scores")
    assert found.p is not None
    exact = fisher_exact([[3, 17], [2, 178]], alternative="greater").pvalue
    assert mannwhitneyu(scores[:20], scores[20:], alternative="less").pvalue < exact / 50
    assert found.p == pytest.approx(exact, rel=0.4)  # of 9999 permutations


def test_all_scores_alike_are_no_difference() -> None:
    samples = [part(f"{index}", "dent", camera=str(index % 2)) for index in range(20)]
    table = table_of(samples, [0.9] * 20)
    assert [one.p for one in table.comparisons if one.question == "low scores"] == [1.0, 1.0]


ROWS = st.lists(
    st.tuples(
        st.integers(0, 11),  # part
        st.sampled_from(["", "dent", "crack"]),
        st.sampled_from(["", "1", "2", "3"]),
        st.integers(0, 23),
        st.integers(0, 10),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=25)
@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_pictures_does_not_matter(rows: list[tuple[int, str, str, int, int, int]], random: object) -> None:
    order = np.random.default_rng(random.randrange(1 << 30)).permutation(len(rows))  # type: ignore[attr-defined]
    samples = [
        part(f"p{name}", kind, number, time=f"{hour:02d}:30", **({"camera": camera} if camera else {}))
        for number, (name, kind, camera, hour, _, _) in enumerate(rows)
    ]
    seen = [Seen(light / 3, (light + 1) / 3000 if kind else None) for _, kind, _, _, _, light in rows]
    scores: Scores = np.array([score / 10 for *_, score, _ in rows])
    table = slice_table(samples, scores, THRESHOLDS, seen)
    again = slice_table([samples[index] for index in order], scores[order], THRESHOLDS, [seen[index] for index in order])
    assert again == table
    assert json.loads(json.dumps(asdict(table)))["tests"] == table.tests
    # What every table promises.
    for one in table.comparisons:
        assert (one.p is None) == bool(one.untested) == (one.adjusted is None)
        if one.p is not None and one.adjusted is not None:
            assert 0 < one.p <= one.adjusted <= 1
            assert one.worse == (one.adjusted <= 0.05 + 1e-12)
    assert len(table.sentences()) == max(1, sum(one.worse for one in table.comparisons))
    for one_slice in table.slices:
        assert one_slice.good + one_slice.defective == one_slice.review.total > 0


@pytest.mark.parametrize("cameras", [1, 3])
def test_equal_slices_are_named_no_more_often_than_promised(cameras: int) -> None:
    """A part seen by three cameras, beside as many seen by another one alone, must not count three times."""
    repetitions, named = 150, 0
    for seed in range(repetitions):
        random = np.random.default_rng(seed)
        samples, log_odds = [], []
        for index in range(90):
            kind, own, alone = "dent" if index % 3 == 0 else "", random.normal(), index >= 45
            supplier = random.choice(["a", "b", "c"])
            for view in range(1 if alone else cameras):
                camera = "alone" if alone else str(view)
                samples.append(part(f"p{index}", kind, view, camera=camera, supplier=supplier))
                log_odds.append((1 if kind else -1) + 0.9 * own + 0.44 * random.normal())
        scores = np.asarray(1 / (1 + np.exp(-np.array(log_odds))))
        cuts, _ = find_cuts(samples, [DULL] * len(samples))
        compared = compare_slices(cuts, samples, scores, THRESHOLDS)
        assert sum(one.p is not None for one in compared) >= 8
        named += any(one.worse for one in compared)
    assert named / repetitions < 0.08


def write(file: Path, picture: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(file), np.asarray(picture, np.uint8))


def test_pixels_tell_light_and_size(tmp_path: Path) -> None:
    mask = np.zeros((40, 50), np.uint8)
    mask[:4, :5] = 255
    write(tmp_path / "good.png", np.full((40, 50, 3), 200))
    write(tmp_path / "bad.png", np.full((40, 50, 3), 60))
    write(tmp_path / "mask.png", mask)
    write(tmp_path / "empty.png", mask * 0)
    good, bad = Sample(str(tmp_path), "good.png", "good"), Sample(str(tmp_path), "bad.png", "defective", "dent")
    marked, empty = replace(bad, mask="mask.png"), replace(bad, mask="empty.png")
    assert describe([good, bad, marked, empty]) == (Seen(200.0), Seen(60.0), Seen(60.0, 0.01), Seen(60.0))
    assert describe([]) == ()
    with pytest.raises(DatasetError, match=r"gone\.png"):
        describe([good, replace(good, path="gone.png")])

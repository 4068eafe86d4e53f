"""However a split is made: nothing that belongs together is separated, and every picture lands in one part."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.errors import DatasetError
from pipeline.data.sample import SPLITS, Sample
from pipeline.data.split import folds, group_units, place, split_by_group
from pipeline.data.split.holdout import split_by_slice, split_by_time, straddling, time_ranges
from pipeline.data.split.leaks import leaks
from tests.pipeline.conftest import sample

START = datetime(2026, 3, 1)


@st.composite
def collections(draw: st.DrawFn, smallest: int = 1) -> list[Sample]:
    """Groups of several pictures and types, some of which share a file with another group."""
    samples = []
    for group in range(draw(st.integers(smallest, 25))):
        kind = draw(st.sampled_from(["", "dent", "crack"]))
        for number in range(draw(st.integers(1, 4))):
            time = START + timedelta(hours=draw(st.integers(0, 500)))
            line = draw(st.sampled_from("AB"))
            samples.append(replace(sample(f"p{group:02d}", kind, number), slices=(("line", line), ("time", time.isoformat()))))
    for twin, other in draw(st.lists(st.tuples(st.sampled_from(samples), st.sampled_from(samples)), max_size=4)):
        samples[samples.index(next(one for one in samples if one.path == twin.path))] = replace(twin, sha256=other.sha256)
    return samples


def check_whole(samples: Sequence[Sample], split: Sequence[Sample]) -> None:
    assert [replace(one, split="") for one in split] == [replace(one, split="") for one in samples]
    assert all(one.split in SPLITS for one in split)
    assert leaks(split) == []
    parts = defaultdict(set)
    for one in split:
        parts[one.group].add(one.split)
        parts[one.sha256].add(one.split)
    assert all(len(part) == 1 for part in parts.values())


@given(collections(), st.integers(0, 3))
def test_no_split_separates_what_belongs_together(samples: list[Sample], seed: int) -> None:
    check_whole(samples, split_by_group(samples, seed))
    check_whole(samples, place(samples, split_by_time(samples, "time")))
    line = dict(samples[0].slices)["line"]
    by_line = place(samples, split_by_slice(samples, "line", line, seed))
    check_whole(samples, by_line)
    assert all(one.split == "test" for one in by_line if ("line", line) in one.slices)
    mixed = set(straddling(samples, "line", line))
    assert all(one.split == "test" for one in by_line if one.group in mixed)


@given(collections(smallest=12), st.integers(3, 5), st.integers(0, 3), st.randoms(use_true_random=False))
def test_folds_test_every_group_once(samples: list[Sample], k: int, seed: int, random: object) -> None:
    units = group_units(samples)
    if any(len({units[one.group] for one in samples if one.label == label}) < k for label in ("good", "defective")):
        with pytest.raises(DatasetError, match="too few for"):
            folds(samples, k, seed)
        return
    made = folds(samples, k, seed)
    assert len(made) == k
    for split in made:
        check_whole(samples, split)
    for tested in zip(*made, strict=True):
        assert [one.split for one in tested].count("test") == 1
    shuffled = list(samples)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for one, other in zip(made, folds(shuffled, k, seed), strict=True):
        assert {each.path: each.split for each in one} == {each.path: each.split for each in other}


def test_folds_are_even_by_type() -> None:
    samples = [sample(f"{kind}{index}", kind, view) for kind in ("", "dent") for index in range(20) for view in (0, 1)]
    for split in folds(samples, 5, seed=1):
        for kind in ("", "dent"):
            counts = [sum(one.split == part and one.defect_type == kind for one in split) for part in SPLITS]
            assert counts == [24, 8, 8]


@pytest.mark.parametrize(("k", "why"), [(2, "expected 3 or more"), (7, "6 groups hold good pictures, too few for 7 folds")])
def test_impossible_folds_are_refused(k: int, why: str) -> None:
    with pytest.raises(DatasetError, match=why):
        folds([sample(f"{kind}{index}", kind) for kind in ("", "dent") for index in range(6)], k)


def timed(days: Sequence[str]) -> list[Sample]:
    return [replace(sample(f"p{number:02d}"), slices=(("time", day),)) for number, day in enumerate(days)]


def test_the_newest_groups_are_tested_on() -> None:
    days = [f"2026-03-{day:02d}T08:00:00" for day in (9, 1, 8, 2, 10, 3, 7, 4, 6, 5)]
    split = place(timed(days), split_by_time(timed(days), "time"))
    order = [one.split for _, one in sorted(zip(days, split, strict=True), key=lambda pair: pair[0])]
    assert order == ["train"] * 6 + ["validation"] * 2 + ["test"] * 2
    ranges = time_ranges(split, "time")
    assert ranges["train"][1] < ranges["validation"][0] <= ranges["validation"][1] < ranges["test"][0]


def test_a_group_is_as_old_as_its_first_picture() -> None:
    samples = timed([f"2026-03-{day:02d}" for day in range(1, 11)])
    late = replace(samples[0], path="late", sha256="late", slices=(("time", "2026-03-30"),))
    split = place([*samples, late], split_by_time([*samples, late], "time"))
    assert split[-1].split == "train"


@pytest.mark.parametrize(
    ("days", "column", "why"),
    [
        (["2026-03-01", "2026-03-02"], "shift", "no picture has a column 'shift'; there are: time; add it to groups.csv"),
        (["2026-03-01", ""], "time", r"1 of 2 pictures have no time \(first: p01/0.png\)"),
        (["2026-03-01", "yesterday"], "time", "time of p01/0.png is 'yesterday'; expected ISO 8601"),
        (["2026-03-01T08:00:00Z", "2026-03-01T08:00:00"], "time", "name their time zone and some do not"),
    ],
)
def test_times_that_cannot_be_ordered_are_refused(days: list[str], column: str, why: str) -> None:
    with pytest.raises(DatasetError, match=why):
        split_by_time(timed(days), column)


def test_an_unknown_slice_names_the_ones_there_are() -> None:
    samples = [replace(sample(f"p{index}"), slices=(("line", "AB"[index % 2]),)) for index in range(4)]
    with pytest.raises(DatasetError, match="no picture has line=C; line is one of: A, B"):
        split_by_slice(samples, "line", "C")
    with pytest.raises(DatasetError, match="no picture has a column 'camera'; there are: line"):
        split_by_slice(samples, "camera", "1")

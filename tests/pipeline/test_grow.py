"""A version grows: known pictures keep their part, whatever is added."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.errors import DatasetError
from pipeline.data.groups import GUESSED
from pipeline.data.manifest import Manifest
from pipeline.data.manifest.differences import compare_manifests
from pipeline.data.sample import SPLITS, Sample
from pipeline.data.split import split_by_group
from pipeline.data.split.grow import grow
from pipeline.data.split.leaks import leaks
from pipeline.data.split.rules import rule_of
from tests.pipeline.conftest import sample
from tests.pipeline.test_holdout import collections, timed

BY_GROUP = rule_of("group", 0)


def parts(samples: Sequence[Sample]) -> dict[str, str]:
    return {one.path: one.split for one in samples}


@given(collections(smallest=3), st.data(), st.integers(0, 3))
def test_no_known_picture_moves(samples: list[Sample], data: st.DataObject, seed: int) -> None:
    is_old = data.draw(st.lists(st.booleans(), min_size=len(samples), max_size=len(samples)))
    old = split_by_group([one for one, here in zip(samples, is_old, strict=True) if here], seed) if any(is_old) else ()
    grown = grow(old, samples, BY_GROUP)
    now = parts(grown.samples)
    assert parts(old).items() <= now.items()
    assert leaks(grown.samples) == []
    assert all(one.split in SPLITS for one in grown.samples)
    assert sorted([*now, *(one.path for one in grown.left_out)]) == sorted(one.path for one in samples)
    again = grow(grown.samples, [replace(one, split="") for one in grown.samples], rule_of("group", seed + 1))
    assert parts(again.samples) == now


def many(kinds: Sequence[str], groups: range) -> list[Sample]:
    return [sample(f"{kind or 'good'}{index:03d}", kind, view) for kind in kinds for index in groups for view in (0, 1)]


def test_new_groups_keep_the_shares_of_each_type() -> None:
    old = split_by_group(many(("", "dent"), range(20)))
    lost = [one for one in old if one.split != "test"]  # the test part is to be filled up first
    samples = [replace(one, split="") for one in lost] + many(("", "dent"), range(20, 40))
    grown = grow(lost, samples, BY_GROUP).samples
    for kind in ("", "dent"):
        mine = [one.split for one in grown if one.defect_type == kind]
        assert {part: mine.count(part) for part in SPLITS} == pytest.approx(
            {"train": 0.6 * len(mine), "validation": 0.2 * len(mine), "test": 0.2 * len(mine)}, abs=3
        )


OLD = (
    Sample("/d", "a", "good", group="g1", split="train", sha256="A"),
    Sample("/d", "b", "good", group="g2", split="test", sha256="B"),
    Sample("/d", "c", "good", group="g3", split="validation", sha256="C"),
)
NOW = tuple(replace(one, split="") for one in OLD)


def new(path: str, group: str, sha256: str = "") -> Sample:
    return Sample("/d", path, "good", group=group, sha256=sha256 or path)


@pytest.mark.parametrize(
    ("added", "expected", "left_out"),
    [
        ([new("n", "g2")], {"n": "test"}, []),
        ([new("n", "g9", "B")], {"n": "test"}, []),
        ([new("n", "g9", "B"), new("m", "g9")], {"n": "test", "m": "test"}, []),
        ([new("n", "g2", "A")], {}, ["n"]),
        ([new("n", "g9", "A"), new("m", "g9", "B")], {}, ["n", "m"]),
        ([new("n", "g2", "A"), new("m", "g2")], {"m": "test"}, ["n"]),
    ],
)
def test_new_pictures_go_to_their_siblings(added: list[Sample], expected: dict[str, str], left_out: list[str]) -> None:
    grown = grow(OLD, [*NOW, *added], BY_GROUP)
    assert parts(grown.samples) == {**parts(OLD), **expected}
    assert [one.path for one in grown.left_out] == left_out


def test_a_renamed_or_returning_test_picture_stays_one() -> None:
    renamed = grow(OLD, [*NOW[::2], new("other-name", "another-group", "B")], BY_GROUP)
    assert parts(renamed.samples)["other-name"] == "test"
    gone = grow(OLD, [*NOW[::2], new("n", "g8")], BY_GROUP)
    back = grow(gone.samples, [*NOW, new("n", "g8")], BY_GROUP, remembered=OLD)
    assert parts(back.samples)["b"] == "test"


def test_changed_and_relabelled_pictures_stay() -> None:
    changed = [replace(NOW[0], sha256="A2"), replace(NOW[1], label="defective", defect_type="dent"), NOW[2]]
    assert parts(grow(OLD, changed, BY_GROUP).samples) == parts(OLD)


def test_a_path_with_other_content_is_another_picture() -> None:
    old = [replace(one, group=f"{GUESSED}{one.path}") for one in OLD]
    swapped = [replace(one, path=path, split="") for one, path in zip(old, "bac", strict=True)]
    for before, now in ((old, swapped), (OLD, [replace(one, group=f"now-{one.path}") for one in swapped])):
        grown = grow(before, now, BY_GROUP).samples
        assert {one.sha256: one.split for one in grown} == {one.sha256: one.split for one in OLD}
        found = compare_manifests(Manifest("parts", tuple(before)), Manifest("parts", grown))
        assert (found.changed_content, found.moved, found.test_into_training) == (("a", "b"), (), ())

    exposure = replace(old[0], sha256="new exposure of b", group=old[1].group, split="")
    grown = grow(old, [exposure, *old[1:]], BY_GROUP).samples
    assert parts(grown) == {"a": "test", "b": "test", "c": "validation"}
    assert grown[0].group == old[1].group

    other = [replace(old[0], sha256="A3", group=f"{GUESSED}A3"), replace(old[1], sha256="B3", group=f"{GUESSED}B3"), old[2]]
    assert parts(grow(old, other, BY_GROUP).samples) == parts(OLD)  # they may be the same, saved again
    masked = [replace(old[0], mask="m", mask_sha256="M", label="defective", defect_type="dent"), *old[1:]]
    assert parts(grow(old, masked, BY_GROUP).samples) == parts(OLD)


def test_a_copy_beside_its_original_is_new_and_a_moved_picture_is_not() -> None:
    grown = grow(OLD, [*NOW, new("copy", "g9", "B")], BY_GROUP)
    assert parts(grown.samples)["copy"] == "test"
    moved = [replace(one, path=f"archive/{one.path}", group=f"new-{one.group}") for one in NOW]
    assert list(parts(grow(OLD, moved, BY_GROUP).samples).values()) == [one.split for one in OLD]


def test_known_pictures_of_two_parts_cannot_become_one_group() -> None:
    with pytest.raises(DatasetError, match=r"b \(test\) and a \(train\), of the same group; .* --fresh"):
        grow(OLD, [NOW[0], replace(NOW[1], group="g1"), NOW[2]], BY_GROUP)


def test_guessed_clusters_that_merge_move_nothing() -> None:
    old = [replace(one, group=f"{GUESSED}{one.path}") for one in OLD]
    merged = [replace(one, group=f"{GUESSED}a", split="") for one in (*old[:2], new("between", ""))]
    own = [replace(old[2], group=f"{GUESSED}earlier", split=""), new("earlier", f"{GUESSED}earlier")]
    grown = grow(old, [*merged, *own], BY_GROUP)
    assert [one.path for one in grown.left_out] == ["between"]
    assert parts(grown.samples) == {**parts(old), "earlier": "validation"}
    assert {one.group for one in grown.samples} == {one.group for one in old}


def test_growing_by_time_and_by_slice_follows_the_rule() -> None:
    days = [f"2026-03-{day:02d}" for day in range(1, 11)]
    rule = rule_of("time:time", 0)
    first = timed(days)
    old = grow([], first, rule).samples
    later = [replace(one, path=f"new{one.path}", group=f"new{one.group}", sha256=f"new{one.path}") for one in first]
    later = [replace(one, slices=(("time", f"{day}T12:00"),)) for one, day in zip(later, days, strict=True)]
    grown = parts(grow(old, [*first, *later], rule).samples)
    assert [grown[one.path] for one in later] == ["train"] * 6 + ["validation"] * 2 + ["test"] * 2

    lines = [replace(one, slices=(("line", "AB"[number % 2]),)) for number, one in enumerate([*first, *later])]
    rule = rule_of("slice:line=B", 0)
    grown_lines = grow(grow([], lines[:10], rule).samples, lines, rule).samples
    assert {one.split == "test" for one in grown_lines if ("line", "B") in one.slices} == {True}
    assert {one.split == "test" for one in grown_lines if ("line", "A") in one.slices} == {False}


def test_a_split_the_dataset_brings_grows_with_it() -> None:
    rule = rule_of("brought", 0)
    brought = [replace(new("n", "g9"), split="test"), replace(new("m", "g8"), split="train")]
    assert parts(grow(OLD, [*NOW, *brought], rule).samples) == {**parts(OLD), "n": "test", "m": "train"}
    with pytest.raises(DatasetError, match="the split leaks"):
        grow(OLD, [*NOW, *(replace(one, group="g9") for one in brought)], rule)
    with pytest.raises(DatasetError, match="now it brings none"):
        grow(OLD, [*NOW, new("n", "g9")], rule)

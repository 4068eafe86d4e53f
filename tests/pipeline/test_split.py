from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.errors import DatasetError
from pipeline.data.sample import SPLITS, Sample
from pipeline.data.split import carve_validation, check_split, split_by_group
from tests.pipeline.conftest import sample

GROUPS = st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["", "dent", "crack"])), min_size=1, max_size=40)


def samples_of(groups: list[tuple[int, str]]) -> list[Sample]:
    return [sample(f"p{index}", kind, number) for index, (size, kind) in enumerate(groups) for number in range(size)]


@given(GROUPS, st.integers(0, 5))
def test_every_sample_lands_in_one_part_and_no_group_in_two(groups: list[tuple[int, str]], seed: int) -> None:
    samples = samples_of(groups)
    split = split_by_group(samples, seed)
    assert [one.path for one in split] == [one.path for one in samples]
    where = defaultdict(set)
    for one in split:
        assert one.split in SPLITS
        where[one.group].add(one.split)
    assert all(len(parts) == 1 for parts in where.values())


@given(GROUPS, st.randoms(use_true_random=False))
def test_the_order_of_pictures_does_not_matter(groups: list[tuple[int, str]], random: object) -> None:
    samples = samples_of(groups)
    shuffled = list(samples)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    by_path = {one.path: one.split for one in split_by_group(samples)}
    assert all(by_path[one.path] == one.split for one in split_by_group(shuffled))


def test_types_are_spread_and_seeds_differ() -> None:
    samples = samples_of([(3, kind) for kind in ("", "dent", "crack") for _ in range(20)])
    split = split_by_group(samples, 0)
    for kind in ("", "dent", "crack"):
        groups = {part: len({s.group for s in split if s.split == part and s.defect_type == kind}) for part in SPLITS}
        assert groups == {"train": 12, "validation": 4, "test": 4}
    assert [one.split for one in split] != [one.split for one in split_by_group(samples, 1)]


def test_a_rare_type_is_trained_on_before_it_is_tested() -> None:
    samples = samples_of([(2, "")] * 10 + [(2, "dent")] * 10 + [(2, "rust")] * 2)
    parts = sorted(one.split for one in split_by_group(samples) if one.defect_type == "rust")
    assert parts == ["test", "test", "train", "train"]


def test_few_groups_of_many_types_still_reach_every_part() -> None:
    split = split_by_group(samples_of([(2, "")] * 10 + [(2, kind) for kind in "abcdef" for _ in range(3)]))
    check_split(split)
    defective = {part: len({s.group for s in split if s.split == part and s.label == "defective"}) for part in SPLITS}
    assert defective["train"] in (10, 11)
    assert min(defective["validation"], defective["test"]) >= 3


def test_leaks_and_lacks_are_refused() -> None:
    split = split_by_group(samples_of([(2, "")] * 6 + [(2, "dent")] * 6))
    check_split(split)
    leaking = [*split, Sample("/data", "again.png", "good", "", split[0].group, split="test")]
    if split[0].split == "test":
        leaking[-1] = Sample("/data", "again.png", "good", "", split[0].group, split="train")
    with pytest.raises(DatasetError, match=r"the split leaks: . of . test pictures .* --resplit"):
        check_split(leaking)
    with pytest.raises(DatasetError, match="no defective picture is in the test part"):
        check_split([one for one in split if not (one.split == "test" and one.label == "defective")])


def test_validation_is_carved_from_training_only() -> None:
    split = split_by_group(samples_of([(2, "")] * 20 + [(2, "dent")] * 20))
    brought = [one if one.split == "test" else sample_in_train(one) for one in split]
    carved = {one.path: one.split for one in carve_validation(brought)}
    assert {path for path, part in carved.items() if part == "test"} == {one.path for one in brought if one.split == "test"}
    assert sum(part == "validation" for part in carved.values()) == sum(one.split == "train" for one in brought) // 4


def sample_in_train(one: Sample) -> Sample:
    return Sample(one.origin, one.path, one.label, one.defect_type, one.group, split="train", sha256=one.sha256)


def test_groups_that_share_a_file_are_split_as_one() -> None:
    samples = samples_of([(2, "")] * 12 + [(2, "dent")] * 12)
    twins = [replace(samples[0], path="copy.png", group="p5"), replace(samples[30], path="copy2.png", group="p20")]
    split = split_by_group([*samples, *twins])
    check_split(split)
    parts = {one.group: one.split for one in split}
    assert parts["p0"] == parts["p5"]
    assert parts["p15"] == parts["p20"]

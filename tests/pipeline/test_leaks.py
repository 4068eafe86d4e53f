from dataclasses import replace

import pytest

from deploy.errors import DatasetError
from pipeline.data.sample import Sample, Split
from pipeline.data.split import check_split
from pipeline.data.split.leaks import Leak, leakage_warning, leaks
from tests.pipeline.conftest import sample


def one(path: str, split: Split, group: str = "", sha256: str = "") -> Sample:
    return Sample("/data", path, "good", "", group or path, split=split, sha256=sha256 or path)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([one("a", "train"), one("b", "test")], []),
        ([one("a", "train", "g"), one("b", "train", "g")], []),
        ([one("a", "train", "g"), one("b", "test", "g")], [Leak("b", "a", "group", "test", "train")]),
        ([one("b", "test", "g"), one("a", "train", "g")], [Leak("b", "a", "group", "test", "train")]),
        ([one("a", "train", "g"), one("b", "validation", "g")], [Leak("b", "a", "group", "validation", "train")]),
        ([one("a", "validation", "g"), one("b", "test", "g")], [Leak("b", "a", "group", "test", "validation")]),
        ([one("a", "train", sha256="x"), one("b", "test", sha256="x")], [Leak("b", "a", "same file", "test", "train")]),
        (  # the surest reason counts
            [one("a", "train", "g"), one("c", "train", sha256="x"), one("b", "test", "g", "x")],
            [Leak("b", "c", "same file", "test", "train")],
        ),
        (  # training before validation
            [one("a", "validation", sha256="x"), one("c", "train", "g"), one("b", "test", "g", "x")],
            [Leak("b", "c", "group", "test", "train")],
        ),
        ([one("a", "train", "like-1"), one("b", "test", "like-1")], [Leak("b", "a", "look-alike", "test", "train")]),
        ([Sample("/d", "a", "good", split="train"), Sample("/d", "b", "good", split="test")], []),  # neither hashed nor grouped
    ],
)
def test_leaks(samples: list[Sample], expected: list[Leak]) -> None:
    assert leaks(samples) == expected


def test_look_alikes_may_be_given() -> None:
    samples = [one("a", "train"), one("b", "test"), one("c", "test")]
    assert leaks(samples, {"a": 3, "b": 3, "c": 4}) == [Leak("b", "a", "look-alike", "test", "train")]


def test_the_warning_has_numbers() -> None:
    samples = [one("a", "train", "g"), one("b", "test", "g"), one("c", "test"), one("d", "validation", sha256="a")]
    assert leakage_warning(samples) == (
        "LEAKAGE ALLOWED: 1 of 2 test pictures have a sibling in training (1 of the same group), 1 of 1 validation pictures have "
        "a sibling in training (1 byte-identical): the test knows what was learned, so the figures flatter the network."
    )
    assert leakage_warning(samples[:1]) == ""


def test_a_leak_is_refused_by_name_unless_allowed() -> None:
    samples = [
        replace(sample(f"{kind}{part}", kind), split=part) for kind in ("", "dent") for part in ("train", "validation", "test")
    ]
    check_split(samples)
    samples.append(replace(samples[0], path="again", split="test"))
    with pytest.raises(
        DatasetError, match=r"1 of 3 test .* again \(test\) and train/0.png \(train\), byte-identical; .*--resplit"
    ):
        check_split(samples)
    check_split(samples, allow_leakage=True)

"""What an evaluation says in words."""

import numpy as np
import pytest

from deploy.verdict import Thresholds
from pipeline.evaluation.assessment import Evaluation, assess
from pipeline.evaluation.decision import Decision
from pipeline.evaluation.limits import Limits
from tests.pipeline.conftest import sample


def judged(good: list[float], bad: list[float], limits: Limits, kinds: tuple[str, ...] = ("dent",)) -> Evaluation:
    samples = [sample(f"g{number}") for number in range(len(good))]
    samples += [sample(f"b{number}", kinds[number % len(kinds)]) for number in range(len(bad))]
    decision = Decision(thresholds=Thresholds(accept=0.3, reject=0.7), limits=limits)
    return assess("parts", samples, np.array([*good, *bad]), decision)


def test_good_parts_alone_still_tell_the_overkill() -> None:
    alone = judged([0.1] * 300, [], Limits())
    assert alone.unproven == ""
    assert "0 of 300 good parts were rejected" in alone.verdict()
    assert "no defective parts here" in alone.verdict()
    assert [(proof.error, proof.shown) for proof in alone.proofs] == [("escape", False), ("overkill", True)]


def test_few_parts_are_called_few_not_worthless() -> None:
    few = judged([0.01, 0.02], [0.98, 0.99], Limits())
    assert few.unproven == ""
    assert "2 good and 2 defective parts are too few to tell" in few.caveats()[0]
    assert "Do not put it on a line" not in few.verdict()


@pytest.mark.parametrize(
    ("limits", "broken"),
    [
        (Limits(max_escape=0.2, max_overkill=0.02), "60 of 100 for overkill of at most 2 %"),
        (Limits(max_escape=0.2, max_overkill=None, max_escape_of={"crack": 0.01}), "5 of 20 for escapes of crack of at most 1 %"),
        (Limits(max_escape=0.01, max_overkill=None), "5 of 40 for escapes of at most 1 %"),
    ],
)
def test_a_broken_limit_is_named(limits: Limits, broken: str) -> None:
    evaluation = judged([0.1] * 40 + [0.8] * 60, ([0.9, 0.2] * 5) + [0.95] * 30, limits, ("dent", "crack"))
    assert broken in evaluation.verdict()


def test_one_miss_of_few_breaks_no_limit() -> None:
    assert "broken" not in judged([0.1] * 20, [0.2] + [0.9] * 10, Limits()).verdict()


def test_a_part_with_two_defect_types_bears_witness_for_both() -> None:
    samples = [sample("a", "crack"), sample("a", "scratch", 1), *(sample(f"g{number}") for number in range(5))]
    decision = Decision(thresholds=Thresholds(accept=0.3, reject=0.7))
    evaluation = assess("parts", samples, np.array([0.1, 0.2, *[0.1] * 5]), decision)
    assert {kind: counts.escape.count for kind, counts in evaluation.by_type.items()} == {"crack": 1, "scratch": 1}


def test_the_decision_of_an_older_run_is_read() -> None:
    old = Decision.model_validate_json('{"temperature": 2.0, "thresholds": {"accept": 0.4, "reject": 0.6}}')
    assert str(old.calibration) == "temperature 2.000"
    assert old.limits == Limits()

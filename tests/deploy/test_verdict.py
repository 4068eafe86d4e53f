import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from deploy.verdict import Thresholds, Verdict, decide

LIMITS = Thresholds(accept=0.3, reject=0.6)


@pytest.mark.parametrize(
    ("probability", "expected"),
    [
        (0.0, Verdict.GOOD),
        (0.2999, Verdict.GOOD),
        (0.3, Verdict.REVIEW),
        (0.6, Verdict.REVIEW),
        (0.6001, Verdict.DEFECTIVE),
        (1.0, Verdict.DEFECTIVE),
        (-0.01, Verdict.FAULT),
        (1.01, Verdict.FAULT),
        (math.nan, Verdict.FAULT),
        (math.inf, Verdict.FAULT),
    ],
)
def test_decide(probability: float, expected: Verdict) -> None:
    assert decide(probability, LIMITS) is expected


@given(
    probabilities=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
    limits=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
)
def test_more_suspicion_never_makes_a_verdict_better(probabilities: list[float], limits: list[float]) -> None:
    thresholds = Thresholds(accept=limits[0], reject=limits[1])
    order = [Verdict.GOOD, Verdict.REVIEW, Verdict.DEFECTIVE]
    less, more = (order.index(decide(probability, thresholds)) for probability in probabilities)
    assert less <= more


def test_thresholds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="must not exceed reject"):
        Thresholds(accept=0.7, reject=0.6)

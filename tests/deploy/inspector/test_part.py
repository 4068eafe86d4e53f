import pytest

from deploy.inspector.part import PartSoFar, View
from deploy.verdict import Thresholds, Verdict

LIMITS = Thresholds(accept=0.3, reject=0.6)


def judge(*answers: float | str | None) -> PartSoFar:
    """A part whose frames answered a probability, failed for a reason, or saw it cut off."""
    part = PartSoFar(7, LIMITS)
    for frame, answer in enumerate(answers, start=1):
        probability = answer if isinstance(answer, float) else None
        fault = answer if isinstance(answer, str) else None
        part.add(View(frame, f"frame {frame}", 10.0 * frame, probability, (frame, frame) if probability else None, fault))
    return part


@pytest.mark.parametrize(
    ("answers", "verdict", "probability"),
    [
        pytest.param((0.1,), Verdict.GOOD, 0.1, id="a single view decides alone"),
        pytest.param((0.1, 0.9, 0.7, 0.2), Verdict.DEFECTIVE, 0.8, id="the two worst views decide"),
        pytest.param((0.1, 0.1, 0.9, 0.1), Verdict.REVIEW, 0.5, id="one flickering view does not"),
        pytest.param((None, 0.2, None), Verdict.GOOD, 0.2, id="cut-off views do not count"),
        pytest.param(("engine", 0.2), Verdict.GOOD, 0.2, id="one failure beside an answer is borne"),
        pytest.param(("engine", 0.2, "engine"), Verdict.FAULT, None, id="more failures than answers are not"),
        pytest.param(("engine", None), Verdict.FAULT, None, id="no answer at all"),
        pytest.param((None, None), Verdict.FAULT, None, id="never whole"),
    ],
)
def test_one_verdict_from_all_frames(answers: tuple[float | str | None, ...], verdict: Verdict, probability: float) -> None:
    result = judge(*answers).result()
    assert result.verdict is verdict
    assert result.probability == pytest.approx(probability)


def test_the_result_says_where_to_look() -> None:
    result = judge(None, 0.2, 0.9, "stale", None).result()
    assert (result.part, result.views, result.faults) == (7, 2, 1)
    assert (result.first_frame, result.last_frame) == (1, 5)
    assert (result.name, result.peak, result.age_ms) == ("frame 3", (3, 3), 30.0)
    assert result.reason is None


def test_a_fault_says_why() -> None:
    assert judge(None).result().reason == "never wholly in the picture"
    assert judge("the engine failed", None).result().reason == "the engine failed"

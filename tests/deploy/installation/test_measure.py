from collections.abc import Iterator
from itertools import groupby

import numpy as np
import pytest

from deploy.engines import Answer
from deploy.errors import EngineError
from deploy.installation.measure import BURST, LEAST_ROUNDS, WARM_UP, latency, measure
from deploy.preprocess import Picture

FRAMES = np.arange(3, dtype=np.uint8).repeat(12).reshape(3, 2, 2, 3)


class Noted:
    """Notes who was asked, about which picture, in the order of all."""

    def __init__(self, name: str, asked: list[tuple[str, int]], fails_at: int | None = None) -> None:
        self.name, self._asked, self._fails_at, self._count = name, asked, fails_at, 0

    def infer(self, frames: Picture) -> Answer:
        assert frames.shape == (1, 2, 2, 3)
        if self._count == self._fails_at:
            raise EngineError(f"{self.name} gave up")
        self._count += 1
        self._asked.append((self.name, int(frames[0, 0, 0, 0])))
        return Answer(np.zeros((1, 2), np.float32), np.zeros((1, 1, 1), np.float32))


def turns(asked: list[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    for start in range(0, len(asked), WARM_UP + BURST):
        yield asked[start : start + WARM_UP + BURST]


def test_they_take_turns_with_the_same_pictures_and_nobody_is_always_behind_the_same() -> None:
    asked: list[tuple[str, int]] = []
    shares: list[float] = []
    times = measure({name: Noted(name, asked) for name in "abc"}, FRAMES, 0, shares.append)
    rounds = list(turns(asked))
    assert len(rounds) == 3 * LEAST_ROUNDS
    assert all(len({name for name, _ in turn}) == 1 for turn in rounds)
    assert {key: len(values) for key, values in times.items() if isinstance(values, list)} == dict.fromkeys(
        "abc", BURST * LEAST_ROUNDS
    )
    orders = ["".join(turn[0][0] for turn in rounds[start : start + 3]) for start in range(0, len(rounds), 3)]
    assert orders[:4] == ["abc", "bca", "cab", "abc"]
    for start in range(0, len(rounds), 3):  # within a round all see the same pictures
        assert len({tuple(number for _, number in turn) for turn in rounds[start : start + 3]}) == 1
    assert {number for _, number in asked} == {0, 1, 2}
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_one_that_fails_leaves_the_others_their_turns() -> None:
    asked: list[tuple[str, int]] = []
    engines = {"a": Noted("a", asked), "b": Noted("b", asked, fails_at=2 * (WARM_UP + BURST) + 1)}
    times = measure(engines, FRAMES, 0)
    assert isinstance(times["b"], EngineError)
    assert isinstance(times["a"], list)
    assert len(times["a"]) == BURST * LEAST_ROUNDS
    assert [name for name, _ in groupby(name for name, _ in asked)][-1] == "a"


def test_when_all_fail_it_ends() -> None:
    times = measure({"a": Noted("a", [], fails_at=0)}, FRAMES, 3600)
    assert isinstance(times["a"], EngineError)


def test_figures() -> None:
    times = [float(value) for value in range(1, 101)]
    found = latency(times, [2 * value for value in times])
    assert (found.p50_ms, found.pictures, found.times_fp32) == (50.5, 100, 2.0)
    assert found.p99_ms == pytest.approx(99.01)
    assert found.per_second == pytest.approx(1000 / 50.5)
    assert latency(times, None).times_fp32 is None

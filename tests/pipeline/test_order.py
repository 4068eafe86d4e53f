"""In which order pictures are shown."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.order import EpochBatches, EpochOrder, balanced_weights
from tests.pipeline.conftest import sample


@given(st.integers(1, 60), st.integers(1, 200), st.integers(0, 5), st.integers(0, 5), st.integers(1, 4))
def test_processes_share_an_epoch_evenly(pictures: int, count: int, seed: int, epoch: int, processes: int) -> None:
    shares = []
    for process in range(processes):
        order = EpochOrder(pictures, count, seed, process=process, processes=processes)
        order.set_epoch(epoch)
        shares.append(list(order))
        assert len(shares[-1]) == len(order) == max(1, count // processes)
    shown = Counter(index for share in shares for index in share)
    assert set(shown) <= set(range(pictures))
    if shown:  # no picture is shown again before all were
        times = [shown[index] for index in range(pictures)]
        assert max(times) - min(times) <= 1


def test_every_epoch_has_its_own_order_and_the_same_again() -> None:
    order = EpochOrder(50, 50, seed=3)
    order.set_epoch(4)
    fourth = list(order)
    assert list(order) == fourth
    order.set_epoch(5)
    assert list(order) != fourth
    assert list(EpochOrder(50, 50, seed=4)) != list(EpochOrder(50, 50, seed=3))


def test_whole_batches_hear_of_each_epoch() -> None:
    batches = EpochBatches(EpochOrder(10, 10, seed=0), 4, drop_last=True)
    shown = []
    for epoch in range(6):
        batches.set_epoch(epoch)
        shown.append([index for batch in batches for index in batch])
    assert all(len(one) == 8 for one in shown)
    assert len({tuple(one) for one in shown}) == 6
    assert {index for one in shown for index in one} == set(range(10))  # what one epoch leaves out, another shows


def test_balanced_weights_show_every_class_and_type_alike_often() -> None:
    samples = [sample(f"g{number}") for number in range(90)]
    samples += [sample(f"d{number}", "dent") for number in range(8)] + [sample(f"c{number}", "crack") for number in range(2)]
    order = EpochOrder(len(samples), 4000, 0, balanced_weights(samples))
    shown = Counter(samples[index].defect_type or "good" for index in order)
    assert shown["good"] == pytest.approx(2000, abs=150)
    assert shown["dent"] == pytest.approx(1000, abs=120)
    assert shown["crack"] == pytest.approx(1000, abs=120)

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deploy.errors import DatasetError
from deploy.verdict import Thresholds
from pipeline.data.layouts import read_dataset
from pipeline.data.prepare import prepare
from pipeline.data.sample import Sample
from pipeline.data.survey import survey
from pipeline.evaluation.evaluate import Evaluation, assess
from pipeline.retraining.compare import Comparison, is_better, recall
from pipeline.retraining.intake import take_in
from pipeline.training.run import Decision
from tests.pipeline.conftest import MakeFiles, sample

DECISION = Decision(temperature=1, thresholds=Thresholds(accept=0.5, reject=0.5))


def judged(good: list[float], dent: list[float], crack: list[float]) -> Evaluation:
    samples = [sample(f"g{index}") for index in range(len(good))]
    samples += [sample(f"d{index}", "dent") for index in range(len(dent))]
    samples += [sample(f"c{index}", "crack") for index in range(len(crack))]
    return assess("x", samples, np.array([*good, *dent, *crack]), DECISION)


def compared(old: Evaluation, new: Evaluation) -> Comparison:
    return Comparison("x", old, new)


FINE = judged([0.1, 0.2, 0.3], [0.8, 0.9], [0.7, 0.9])
MISSES_A_DENT = judged([0.1, 0.2, 0.3], [0.4, 0.9], [0.7, 0.9])
REJECTS_A_GOOD = judged([0.1, 0.2, 0.6], [0.8, 0.9], [0.7, 0.9])
REVIEWS_ALL = assess("x", FINE.samples, FINE.scores, Decision(temperature=1, thresholds=Thresholds(accept=0, reject=1)))
RANKS_BADLY = judged([0.1, 0.2, 0.3], [0.8, 0.9], [0.05, 0.9])


@pytest.mark.parametrize(
    ("untouched", "held_out", "better", "why"),
    [
        (
            compared(FINE, FINE),
            compared(MISSES_A_DENT, FINE),
            True,
            "0 instead of 1 wrong or missing verdicts on the new held-out groups",
        ),
        (compared(FINE, FINE), compared(FINE, FINE), False, "no better"),
        (compared(FINE, MISSES_A_DENT), compared(MISSES_A_DENT, FINE), False, "escapes rise from 0 of 4"),
        (compared(FINE, RANKS_BADLY), compared(MISSES_A_DENT, FINE), False, "AUROC falls"),
        (compared(REJECTS_A_GOOD, FINE), None, True, "on the old test groups"),
        (compared(FINE, REJECTS_A_GOOD), compared(MISSES_A_DENT, FINE), False, "verdicts rise from 0 to 1"),
        (compared(FINE, REVIEWS_ALL), compared(MISSES_A_DENT, FINE), False, "verdicts rise from 0 to 7"),
    ],
)
def test_which_run_is_better(untouched: Comparison, held_out: Comparison | None, better: bool, why: str) -> None:
    verdict, said = is_better(untouched, held_out)
    assert verdict is better
    assert why in said


def test_recall_counts_what_is_not_passed_as_good() -> None:
    assert recall(MISSES_A_DENT.by_type["dent"]).value == 0.5
    assert recall(MISSES_A_DENT.by_type["crack"]).value == 1.0


def collected(folder: Path, write_pictures: MakeFiles, names: list[str], groups: list[str]) -> tuple[Sample, ...]:
    # Numbered onwards, so that the pictures differ from the dataset's own.
    write_pictures(folder, [f"skip/{index}.png" for index in range(60)] + names)
    samples = survey([one for one in read_dataset(folder).samples if "skip/" not in one.path]).samples
    by_path = dict(zip(names, groups, strict=True))
    return tuple(replace(one, group=by_path[one.path]) for one in samples)


def test_intake_leaves_the_old_test_part_as_it_is(dataset: Path, tmp_path: Path, write_pictures: MakeFiles) -> None:
    old = prepare(dataset)
    tested, trained = old.split("test")[0], old.split("train")[0]
    names = [f"defective/rust/r{index}.png" for index in range(12)]
    groups = [tested.group, trained.group, *(f"new{index // 2}" for index in range(10))]
    new = collected(tmp_path / "new", write_pictures, names, groups)
    intake = take_in(old, [*new, trained])
    assert intake.duplicates == (trained,)
    assert [one.group for one in intake.tested] == [tested.group]
    assert intake.manifest.split("test")[: len(old.split("test"))] == old.split("test")
    assert next(one for one in intake.manifest.samples if one.path == names[1]).split == "train"
    assert (intake.manifest.version, intake.manifest.parent) == (2, old.sha256())
    assert intake.held_out
    assert all(one.group.startswith("new") for one in intake.held_out)


def test_nothing_new_is_told(dataset: Path) -> None:
    old = prepare(dataset)
    with pytest.raises(DatasetError, match="nothing is left to learn from"):
        take_in(old, old.split("train"))

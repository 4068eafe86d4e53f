from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from deploy.errors import DatasetError
from deploy.preprocess import Picture, read_picture
from deploy.verdict import Thresholds
from pipeline.data.groups import GUESSED, met_before
from pipeline.data.layouts import read_dataset
from pipeline.data.lookalikes import Cells
from pipeline.data.manifest import Manifest
from pipeline.data.prepare import prepare
from pipeline.data.sample import SPLITS, Sample
from pipeline.data.split import split_by_group
from pipeline.data.survey import survey
from pipeline.evaluation.assessment import Evaluation, assess
from pipeline.evaluation.decision import Decision
from pipeline.evaluation.evaluate import count_learned
from pipeline.retraining.compare import Comparison, is_better, recall
from pipeline.retraining.intake import take_in
from tests.pipeline.conftest import MakeFiles, sample

DECISION = Decision(thresholds=Thresholds(accept=0.5, reject=0.5))


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
REVIEWS_ALL = assess("x", FINE.samples, FINE.scores, Decision(thresholds=Thresholds(accept=0, reject=1)))
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


def scene(seed: int) -> Picture:
    """A surface like no other, with structure fine and coarse."""
    random = np.random.default_rng(seed)
    surface = sum(
        cv2.resize(random.normal(size=(cells, cells)), (120, 120), interpolation=cv2.INTER_CUBIC) for cells in (8, 20, 40)
    )
    return np.repeat(np.clip(128 + 25 * np.asarray(surface)[..., None], 0, 255), 3, 2).astype(np.uint8)


def pictures(folder: Path, content: dict[str, Picture], group: Callable[[str], str]) -> list[Sample]:
    """Hashed samples: those whose name starts with d are defective."""
    folder.mkdir()
    for name, picture in content.items():
        assert cv2.imwrite(str(folder / name), picture)
    samples = [
        Sample(str(folder), name, "defective", "dent") if name[0] == "d" else Sample(str(folder), name, "good")
        for name in content
    ]
    return [replace(one, group=group(one.path)) for one in survey(samples).samples]


def again(picture: Picture) -> Picture:
    return np.ascontiguousarray(picture[:, ::-1] // 2)


@pytest.fixture
def old_run(tmp_path: Path) -> Callable[[str], Manifest]:
    """40 parts, split by the group, whose name starts as asked."""

    def make(prefix: str) -> Manifest:
        content = {f"{'gd'[seed % 2]}{chr(97 + seed // 20)}{chr(97 + seed % 20)}.png": scene(seed) for seed in range(40)}
        samples = pictures(tmp_path / "old", content, lambda path: prefix + path)
        return Manifest("parts", split_by_group(samples))

    return make


def looks_of(samples: Sequence[Sample]) -> dict[str, Picture]:
    return {one.path: again(read_picture(one.file)) for one in samples}


def test_look_alikes_of_guessed_groups_are_met_whoever_named_the_new_ones(
    old_run: Callable[[str], Manifest], tmp_path: Path
) -> None:
    old = old_run(GUESSED)
    tests, trained = old.split("test"), old.split("train")[:4]
    content = {**looks_of(tests), **looks_of(trained), "gz-other-side.png": scene(90), "gz-third-side.png": scene(91)}
    content |= {f"{'gd'[seed % 2]}y{seed}.png": scene(seed) for seed in range(92, 102)}
    groups = {"gz-other-side.png": f"part {tests[0].path}", "gz-third-side.png": f"part {trained[0].path}"}
    new = pictures(tmp_path / "new", content, lambda path: groups.get(path, f"part {path}"))
    intake = take_in(old, new)
    assert {one.path for one in intake.tested} == {one.path for one in tests} | {"gz-other-side.png"}
    joined = {one.path: one for one in intake.manifest.samples if one.origin == str(tmp_path / "new")}
    for path in (*(one.path for one in trained), "gz-third-side.png"):
        assert joined[path].split == "train"
    assert joined["gz-third-side.png"].group == f"part {trained[0].path}"

    guessed = [replace(one, group=GUESSED + one.group) for one in new]
    intake = take_in(old, guessed)
    assert {one.path for one in intake.tested} == {one.path for one in tests} | {"gz-other-side.png"}
    assert next(one for one in intake.manifest.samples if one.path == "gz-third-side.png").group == trained[0].group


def test_groups_that_people_named_are_told_apart_by_name(old_run: Callable[[str], Manifest], tmp_path: Path) -> None:
    old = old_run("known ")
    tests = old.split("test")
    content = {**looks_of(tests), "gz.png": scene(90), "gzz.jpg": read_picture(tests[0].file)}
    groups = {"gz.png": "repeated", "gzz.jpg": "repeated"}  # a test picture saved again, and another view of its part
    new = pictures(tmp_path / "new", content, lambda path: groups.get(path, f"part {path}"))
    intake = take_in(old, new)
    assert [one.path for one in intake.duplicates] == ["gzz.jpg"]
    assert [one.path for one in intake.tested] == ["gz.png"]
    assert len(intake.manifest.samples) == len(old.samples) + len(tests)


def test_a_group_between_training_and_validation_is_refused(old_run: Callable[[str], Manifest], tmp_path: Path) -> None:
    old = old_run(GUESSED)
    content = {**looks_of([old.split("train")[0], old.split("validation")[0]]), "gz.png": scene(90)}
    new = pictures(tmp_path / "new", content, lambda path: path if path == "gz.png" else "one part")
    intake = take_in(old, new)
    assert {one.path for one in intake.between} == set(content) - {"gz.png"}


def test_new_groups_follow_the_rule_of_the_old_version(
    dataset: Path, tmp_path: Path, write_pictures: MakeFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = prepare(dataset)
    lined = [replace(one, slices=(("line", "B" if one.split == "test" else "A"),)) for one in plain.samples]
    old = replace(plain, samples=tuple(lined), rule="slice:line=B")
    names = [f"defective/rust/r{index}.png" for index in range(12)]
    new = collected(tmp_path / "new", write_pictures, names, [f"new{index // 2}" for index in range(12)])
    new_lined = [replace(one, slices=(("line", "AB"[index // 2 % 2]),)) for index, one in enumerate(new)]
    intake = take_in(old, new_lined)
    grown = [one for one in intake.manifest.samples if one.defect_type == "rust"]
    assert all((one.split == "test") == (("line", "B") in one.slices) for one in grown)
    assert len(intake.held_out) == 6
    with pytest.raises(DatasetError, match=r"12 of 12 pictures of new groups have no line .* is tested on all of line=B; give"):
        take_in(old, new)

    timed = [replace(one, slices=(("time", f"2026-0{1 + SPLITS.index(one.split or 'train')}-01"),)) for one in plain.samples]
    later = [replace(one, slices=(("time", f"2026-0{1 + index // 4}-02"),)) for index, one in enumerate(new)]
    grown = list(take_in(replace(plain, samples=tuple(timed), rule="time:time"), later).manifest.samples[-12:])
    assert [one.split for one in grown] == [part for part in SPLITS for _ in range(4)]

    capsys.readouterr()
    intake = take_in(replace(plain, rule="fold:1of5"), new)
    assert "split by group, fold 1 of 5, which says nothing of 12 new pictures" in " ".join(capsys.readouterr().out.split())
    assert intake.held_out


def test_evaluating_counts_what_looks_like_the_learned(old_run: Callable[[str], Manifest], tmp_path: Path) -> None:
    old = old_run(GUESSED)
    trained, tests = old.split("train"), old.split("test")
    content = {**looks_of(trained[:3]), **looks_of(tests[:2]), "gz.jpg": read_picture(trained[3].file), "gzz.png": scene(90)}
    new = pictures(tmp_path / "new", content, lambda path: f"part {path}")
    assert count_learned(old, new) == 4
    assert count_learned(old, tests) == 0
    named = replace(old, samples=tuple(replace(one, group=one.path) for one in old.samples))
    assert count_learned(named, new) == 1  # the picture saved again


def test_evaluating_where_the_learned_pictures_are_gone_is_told(
    old_run: Callable[[str], Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = old_run(GUESSED)
    trained = old.split("train")
    new = pictures(tmp_path / "new", looks_of(trained[:1]), lambda path: path)
    (tmp_path / "old").rename(tmp_path / "away")
    moved = [replace(one, origin=str(tmp_path / "away")) for one in trained[:2]]
    assert count_learned(old, [*new, *moved]) == 2
    assert "pictures the run learned from are gone" in " ".join(capsys.readouterr().out.split())


def test_what_a_backbone_sees_counts_where_weights_are_at_hand(
    old_run: Callable[[str], Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = old_run(GUESSED)
    new = pictures(tmp_path / "new", {"gz.png": scene(90)}, lambda path: path)
    assert met_before(new, old.samples)[0].groups == ()

    def cells_at_hand(samples: Sequence[Sample]) -> Cells:
        cells = np.random.default_rng(0).normal(size=(len(samples), 64)).astype(np.float16)
        cells[0] = cells[6]  # the new one is like the sixth known one
        return cells

    monkeypatch.setattr("pipeline.data.groups.cells_at_hand", cells_at_hand)
    assert met_before(new, old.samples)[0].groups == (old.samples[5].group,)

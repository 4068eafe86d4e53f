"""Arms against each other: the paired test, what is trained once, what the learning curve leaves out, and the whole command."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from deploy.errors import DatasetError, RunError
from pipeline.comparison.arms import Arm, resolve_arms, uneven
from pipeline.comparison.command import compare, compare_command
from pipeline.comparison.curves import draw_curves
from pipeline.comparison.entries import Entry, claimed, entry_key, read_entry
from pipeline.comparison.paired import Answered, Difference, bootstrap, differences, holm, measure
from pipeline.comparison.report import figures, markdown
from pipeline.comparison.result import Comparison, weigh
from pipeline.comparison.sentence import verdict
from pipeline.comparison.thinning import defective_order, thin
from pipeline.comparison.work import count_trained, plan_jobs
from pipeline.data.manifest import Manifest
from pipeline.data.prepare import read_samples
from pipeline.data.sample import Sample
from pipeline.data.split import folds, split_by_group
from pipeline.evaluation.metrics import Scores
from pipeline.training.model import InspectionModel
from pipeline.training.recipe import Recipe, resolve_recipe
from pipeline.training.weights import find_source
from tests.pipeline.conftest import MakeFiles, sample

# the paired test ------------------------------------------------------------------------------------------------------------


def constructed(noises: Sequence[float], groups: int = 40, views: int = 1, folds: int = 3, seeds: int = 1) -> list[Answered]:
    """Constructed answers: an arm of noise 0 is perfect. Each group's pictures are scored alike."""
    random = np.random.default_rng(7)
    parts = []
    for _ in range(folds):
        truth = np.arange(groups) % 2 == 0
        scores = np.array([[truth + random.normal(scale=noise or 1e-9, size=groups) for _ in range(seeds)] for noise in noises])
        names = np.array([f"g{number}" for number in range(groups)])
        parts.append(Answered(np.repeat(truth, views), np.repeat(names, views), np.repeat(scores, views, axis=2)))
    return parts


def gap(parts: Sequence[Answered], first: int = 0, other: int = 1) -> Difference:
    drawn = bootstrap(parts)
    value = measure(parts).auroc.mean(axis=(1, 2))
    return differences(value, drawn.auroc if drawn else None, first, [other])[0]


def test_identical_arms_differ_by_nothing_and_nothing_is_real() -> None:
    parts = [replace(part, scores=np.stack([part.scores[0]] * 2)) for part in constructed([1.0])]
    assert gap(parts) == Difference(0.0, 0.0, 0.0, 1.0)
    assert not gap(parts).real


def test_a_clearly_better_arm_is_real_whichever_comes_first() -> None:
    parts = constructed([3.0, 0.3])
    there, back = gap(parts), gap(parts, 1, 0)
    assert there.real
    assert back.real
    assert there.value > 0.2
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -(back.high or 0), -(back.low or 0)))
    assert there.p == back.p


def test_equally_good_arms_are_seldom_told_apart() -> None:
    """The test keeps its promise: arms that differ by chance alone are called different about one time in twenty."""
    random = np.random.default_rng(1)
    false = 0
    for _ in range(60):
        truth = np.arange(24) % 3 == 0
        names = np.array([f"g{number}" for number in range(24)])
        parts = [Answered(truth, names, truth * 0.8 + random.normal(size=(2, 1, 24))) for _ in range(3)]
        drawn = bootstrap(parts, 400)
        assert drawn
        false += differences(measure(parts).auroc.mean(axis=(1, 2)), drawn.auroc, 0, [1])[0].real
    assert false <= 9


def test_more_pictures_of_the_same_groups_are_no_more_evidence() -> None:
    once, often = gap(constructed([2.0, 1.0])), gap(constructed([2.0, 1.0], views=10))
    assert (once.low, once.high, once.p) == pytest.approx((often.low, often.high, often.p))


def test_more_groups_are_more_evidence() -> None:
    few, many = gap(constructed([2.0, 1.0], groups=20)), gap(constructed([2.0, 1.0], groups=320))
    assert few.high is not None
    assert many.high is not None
    assert many.high - (many.low or 0) < 0.5 * (few.high - (few.low or 0))


def test_the_luck_of_seeds_widens_the_interval() -> None:
    """Two seeds that disagree: to draw seeds as well tells what a single one would have hidden."""
    truth, names = np.arange(80) % 2 == 0, np.array([f"g{number}" for number in range(80)])
    random = np.random.default_rng(0)
    lucky, unlucky = (truth + random.normal(scale=noise, size=80) for noise in (0.3, 2.0))
    middling = truth + random.normal(scale=0.8, size=80)
    steady = gap([Answered(truth, names, np.array([[middling] * 2, [lucky] * 2]))])
    torn = gap([Answered(truth, names, np.array([[middling] * 2, [lucky, unlucky]]))])
    assert steady.real
    assert not torn.real
    assert torn.high is not None
    assert steady.high is not None
    assert torn.high - (torn.low or 0) > 1.5 * (steady.high - (steady.low or 0))


def test_one_defective_group_tells_nothing() -> None:
    part = constructed([1.0, 2.0], groups=10)[0]
    lonely = replace(part, groups=np.where(part.truth, "d", part.groups))
    assert bootstrap([part, lonely]) is None
    assert gap([part, lonely]).low is None
    assert not gap([part, lonely]).real


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 4)), min_size=4, max_size=40).filter(
        lambda rows: len({row[0] for row in rows}) == 2
    )
)
def test_figures_are_scikit_learns_ties_included(rows: list[tuple[bool, int, int]]) -> None:
    truth, scores, groups = (np.array(column) for column in zip(*rows, strict=True))
    ranked = measure([Answered(truth, groups.astype(str), scores[None, None].astype(float))])
    assert ranked.auroc[0, 0, 0] == pytest.approx(roc_auc_score(truth, scores))
    assert ranked.average_precision[0, 0, 0] == pytest.approx(average_precision_score(truth, scores))


@pytest.mark.parametrize(
    ("ps", "adjusted"),
    [([0.04], [0.04]), ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]), ([0.5, 0.9], [1.0, 1.0]), ([], [])],
)
def test_holm(ps: list[float], adjusted: list[float]) -> None:
    assert holm(ps) == pytest.approx(adjusted)


# thinning -------------------------------------------------------------------------------------------------------------------

parts = st.lists(st.tuples(st.sampled_from(["", "dent", "crack", "rust"]), st.integers(1, 3)), min_size=6, max_size=40)


@given(parts, st.integers(0, 12), st.integers(0, 12), st.integers(0, 3))
def test_thinned_parts_are_nested_and_nothing_else_changes(made: list[tuple[str, int]], one: int, more: int, seed: int) -> None:
    samples = split_by_group([sample(f"p{part}", kind, view) for part, (kind, views) in enumerate(made) for view in range(views)])
    few, many = (set(thin(samples, count, seed)) for count in sorted((one, more)))
    assert few <= many <= set(samples)
    dropped = set(samples) - few
    assert all(one.split == "train" and one.label == "defective" for one in dropped)
    assert not {one.group for one in dropped} & {one.group for one in few}
    learned = {one.group for one in few if one.split == "train" and one.label == "defective"}
    assert len(learned) == min(min(one, more), len(defective_order(samples, seed)))


def test_few_parts_are_of_all_types_and_of_the_seed() -> None:
    samples = [
        replace(sample(f"{kind}{number}", kind), split="train")
        for kind, count in (("dent", 30), ("crack", 4), ("rust", 3))
        for number in range(count)
    ]
    kept = thin(samples, 6, 0)
    assert Counter(one.defect_type for one in kept) == {"dent": 2, "crack": 2, "rust": 2}
    assert {one.group for one in kept} != {one.group for one in thin(samples, 6, 1)}


# arms -----------------------------------------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {"height": 64, "width": 64}


def scratch_file(file: Path, **keys: object) -> Path:
    """A recipe that starts from random weights, as a run's recipe.yaml says it."""
    about = find_source("tf_mobilenetv3_small_100", from_scratch=True).about
    file.write_text(json.dumps({"source": about.model_dump(mode="json"), "head_epochs": 0, **keys}))
    return file


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["from-scrach", "lora"], "did you mean from-scratch"),
        (["from-scratch"], "only from-scratch to compare"),
        (["from-scratch", "from_scratch"], "two arms are called 'from-scratch'"),
        ([""], "no arm is called ''"),
    ],
)
def test_arms_that_make_no_comparison(names: list[str], says: str) -> None:
    with pytest.raises(RunError, match=says):
        resolve_arms(names)


def test_from_scratch_shares_the_budget_of_the_other(tmp_path: Path) -> None:
    like = scratch_file(tmp_path / "mine.yaml", epochs=7, height=128, width=96)
    scratch, mine = resolve_arms(["from-scratch"], [like])
    assert (scratch.name, mine.name) == ("from-scratch", "mine")
    assert (scratch.recipe.epochs, scratch.recipe.height, scratch.recipe.width) == (7, 128, 96)
    assert scratch.recipe.learning_rate == resolve_recipe(from_scratch=True).learning_rate
    assert scratch.from_scratch
    assert mine.from_scratch
    assert not uneven([scratch, mine])


def test_under_the_clock_from_scratch_keeps_its_own_epochs(tmp_path: Path) -> None:
    scratch, mine = resolve_arms(["from-scratch"], [scratch_file(tmp_path / "mine.yaml")], budget=10.0)
    assert (scratch.recipe.budget, mine.recipe.budget) == (10.0, 10.0)
    assert scratch.recipe.epochs == resolve_recipe(from_scratch=True).epochs
    assert not uneven([scratch, mine])


def test_recipes_with_other_budgets_are_told(tmp_path: Path) -> None:
    files = [scratch_file(tmp_path / f"{name}.yaml", epochs=epochs) for name, epochs in (("a", 3), ("b", 5))]
    assert "a 3 epochs, b 5 epochs" in uneven(resolve_arms(None, files))
    assert not uneven(resolve_arms(None, files, epochs=4))


@pytest.mark.parametrize("strategy", ["feature_extraction", "fine_tune", "progressive", "full", "lora"])
def test_what_learns_is_counted(strategy: str) -> None:
    about = find_source("tf_mobilenetv3_small_100", from_scratch=True).about
    recipe = resolve_recipe(strategy=strategy, **SMALL).model_copy(update={"source": about})
    model = InspectionModel(recipe)
    head, everything = (sum(one.numel() for one in part.parameters()) for part in (model.head, model))
    counted = count_trained(model, recipe)
    if strategy in ("full", "progressive"):
        assert counted == everything
    elif strategy == "feature_extraction":
        assert counted == head
    else:
        assert head < counted < everything


# entries --------------------------------------------------------------------------------------------------------------------


def test_a_key_tells_what_was_trained_and_not_what_it_is_called() -> None:
    samples = [sample(f"g{number}", "dent" if number % 2 else "") for number in range(24)]
    source = find_source("tf_mobilenetv3_small_100", from_scratch=True)
    about = source.about.model_copy(update={"sha256": "a" * 64, "origin": "here"})
    recipe = Recipe(source=about)
    content = [Manifest("x", split).content_sha256() for split in folds(samples, 3)]
    key = entry_key(recipe, content[0])
    other_place = recipe.model_copy(update={"source": about.model_copy(update={"origin": "elsewhere"})})
    assert entry_key(other_place, content[0]) == key
    other_source = recipe.model_copy(update={"source": about.model_copy(update={"sha256": "b" * 64})})
    changed = [
        entry_key(other_source, content[0]),
        entry_key(recipe.model_copy(update={"epochs": 9}), content[0]),
        entry_key(recipe.model_copy(update={"seed": 1}), content[0]),
        entry_key(recipe, content[1]),
        entry_key(recipe, Manifest("x", thin(folds(samples, 3)[0], 2, 0)).content_sha256()),
        entry_key(recipe, Manifest("x", folds(samples[1:], 3)[0]).content_sha256()),
    ]
    assert len({key, *changed}) == 1 + len(changed)
    arms = [Arm(name, recipe, source) for name in ("one", "other")]
    jobs = plan_jobs(samples, "x", arms, 3, 2)
    assert len(jobs) == 12
    assert len({job.key for job in jobs}) == 6
    assert {job.key for job in plan_jobs(samples[::-1], "x", arms, 3, 2)} == {job.key for job in jobs}


def test_an_altered_entry_is_told(tmp_path: Path) -> None:
    (tmp_path / "entries").mkdir()
    (tmp_path / "entries" / "k.json").write_text("{}")
    with pytest.raises(RunError, match=r"k\.json is no entry .* delete it"):
        read_entry(tmp_path, "k")


def test_a_claim_is_for_one_alone(tmp_path: Path) -> None:
    (tmp_path / "partial").mkdir()
    with claimed(tmp_path, "a") as mine, claimed(tmp_path, "a") as second, claimed(tmp_path, "b") as other:
        assert (mine, second, other) == (True, False, True)
    with claimed(tmp_path, "a") as again:
        assert again


# what is said ---------------------------------------------------------------------------------------------------------------


def compared(noises: dict[str, float], per_class: int = 60, points: Sequence[int] = ()) -> Comparison:
    """A comparison of constructed answers; an arm with "scratch" in its name starts from nothing."""
    samples = [sample(f"{label}{number}", "dent" * (label == "d")) for label in "gd" for number in range(per_class)]
    scratch = find_source("tf_mobilenetv3_small_100", from_scratch=True)
    warm = replace(scratch, tensors={}, about=scratch.about.model_copy(update={"origin": "weights", "sha256": "a" * 64}))
    arms = [
        Arm(name, Recipe(epochs=9 + number, source=(source := scratch if "scratch" in name else warm).about), source)
        for number, name in enumerate(noises)
    ]
    jobs = plan_jobs(samples, "parts", arms, 3, 1, points)
    random = np.random.default_rng(3)
    entries = {}
    for job in jobs:
        test = job.manifest.split("test")
        truth = np.array([one.label == "defective" for one in test])
        noise = noises[job.arm.name] * (1 + (8 / job.point if job.point else 0))
        scores: Scores = truth + random.normal(scale=noise, size=len(test))
        entries[job.key] = Entry(
            key=job.key,
            fold=job.fold,
            seed=0,
            defective_groups=job.point or per_class // 3,
            recipe={},
            source="",
            manifest="",
            seconds=60,
            trained_parameters=123_456,
            parameters=1_000_000,
            pictures=[one.path for one in test],
            scores=scores.tolist(),
            auroc=roc_auc_score(truth, scores),
            average_precision=average_precision_score(truth, scores),
        )
    return weigh("parts", samples, arms, jobs, entries)


@pytest.mark.parametrize(
    ("noises", "per_class", "says"),
    [
        (
            {"transfer": 0.3, "from-scratch": 3},
            60,
            r"^transfer wins over from-scratch: AUROC .* \(\+0.\d+, 0.\d+ to 0.\d+\) is real$",
        ),
        ({"transfer": 3, "from-scratch": 0.3}, 60, r"^negative transfer: from-scratch is BETTER than transfer: .*--from-scratch"),
        ({"transfer": 1.0, "from-scratch": 1.01}, 60, r"^no difference between .* can be told from these 60 defective groups"),
        ({"transfer": 0.3, "from-scratch": 3}, 3, r"^no difference can be told: a fold tests on fewer than two groups"),
        (
            {"lora": 0.5, "full": 0.51, "from-scratch": 4},
            60,
            r"highest AUROC.*really above from-scratch .*no difference to (full|lora)",
        ),
        ({"a": 1, "b": 1.01, "c": 1.02}, 60, r"^no winner can be told from these 60"),
        (
            {"lora": 4, "full": 4, "from-scratch": 0.3},
            60,
            r"negative transfer: from-scratch is BETTER than lora, full: .*sources",
        ),
    ],
)
def test_the_sentence(noises: dict[str, float], per_class: int, says: str) -> None:
    assert re.search(says, verdict(compared(noises, per_class)))


def test_figures_and_markdown_say_the_same() -> None:
    comparison = compared({"transfer": 0.5, "from-scratch": 2}, points=(5, 10))
    told = json.loads(json.dumps(figures(comparison, "pipeline compare parts")))
    assert [point["groups"] for point in told["points"]] == [5, 10, 20]
    whole = told["points"][-1]
    transfer, scratch = whole["arms"]
    gap = whole["versus_first"][0]
    assert gap["auroc"]["value"] == pytest.approx(scratch["auroc"]["value"] - transfer["auroc"]["value"])
    assert transfer["auroc"]["value"] == pytest.approx(np.mean([model["auroc"] for model in transfer["models"]]))
    assert transfer["auroc"]["low"] <= transfer["auroc"]["value"] <= transfer["auroc"]["high"]
    text = markdown(comparison, "pipeline compare parts")
    assert told["verdict"] in text
    assert f"{transfer['auroc']['value']:.3f} ± {transfer['auroc']['sd']:.3f}" in text
    assert "made by `pipeline compare parts`" in text


def test_curves_are_a_picture() -> None:
    whole = draw_curves(compared({"transfer": 0.5, "from-scratch": 2}, points=(5, 10)))
    picture = cv2.imdecode(np.frombuffer(whole, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape[1] > 1000


# the whole way --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(dataset: Path, tmp_path: Path) -> Path:
    """Recipes of two arms from scratch, one epoch at 64 pixels."""
    for name, rate in (("slow", 1e-4), ("fast", 3e-3)):
        scratch_file(tmp_path / f"{name}.yaml", epochs=1, learning_rate=rate, pixel_loss=0, **SMALL)
    return dataset


def command(tiny: Path, *words: str) -> tuple[list[str], dict[str, str]]:
    folder = tiny.parent
    start = "from pipeline.cli import main; main()"
    recipes = [word for name in ("slow", "fast") for word in ("--recipe", str(folder / f"{name}.yaml"))]
    line = [sys.executable, "-W", "ignore", "-c", start, "compare", str(tiny), *recipes, "--out", str(folder / "out"), *words]
    environment = {**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    return line, environment


def test_compare_resumes_and_writes_what_it_prints(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = [tmp_path / "slow.yaml", tmp_path / "fast.yaml"]
    first = compare_command(tiny, tmp_path / "out", recipes=recipes)
    folder = tmp_path / "out" / "parts"
    entries = sorted((folder / "entries").iterdir())
    assert len(entries) == 6
    assert not [one for one in (folder / "partial").iterdir() if one.is_dir()]
    assert verdict(first) in capsys.readouterr().out
    before = {file.name: file.stat().st_mtime_ns for file in entries}
    answers = json.loads(entries[0].read_text())["scores"]
    entries[0].unlink()
    again = compare_command(tiny, tmp_path / "out", recipes=recipes)
    assert "5 of 6 models are trained already" in capsys.readouterr().out
    after = {file.name: file.stat().st_mtime_ns for file in (folder / "entries").iterdir()}
    assert {name for name, when in after.items() if when != before[name]} == {entries[0].name}
    assert json.loads(entries[0].read_text())["scores"] == pytest.approx(answers, abs=1e-6)
    assert again.whole.best.auroc == first.whole.best.auroc
    assert {file.name for file in folder.iterdir()} == {"entries", "partial", "comparison.json", "comparison.md"}
    for file in entries:
        told = json.loads(file.read_text())
        assert len(told["pictures"]) == len(told["scores"])
        assert (told["trained_parameters"], told["seconds"] > 0) == (told["parameters"], True)
    renamed = [file.rename(file.with_stem(f"my-{file.stem}")) for file in recipes]
    compare_command(tiny, tmp_path / "out", recipes=renamed)
    assert "6 of 6 models are trained already" in capsys.readouterr().out


def test_two_processes_share_the_work(tiny: Path) -> None:
    line, environment = command(tiny)
    both = [subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    trained = [re.findall(r"^\d+ of 6 (fold \d seed \d \w+)  AUROC", text, re.MULTILINE) for text in said]
    assert sorted(trained[0] + trained[1]) == sorted(
        f"fold {fold} seed 0 {arm}" for fold in (1, 2, 3) for arm in ("slow", "fast")
    )
    folder = tiny.parent / "out" / "parts"
    assert len([*(folder / "entries").iterdir()]) == 6
    assert not [one for one in (folder / "partial").iterdir() if one.is_dir()]
    verdicts = [text.splitlines()[-2] for text in said]
    assert verdicts[0] == verdicts[1] == json.loads((folder / "comparison.json").read_text())["verdict"]


def test_ctrl_c_goes_on_from_the_last_epoch(tiny: Path) -> None:
    line, environment = command(tiny, "--epochs", "4")
    process = subprocess.Popen(
        line,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a runner in the background has it ignored
    )
    folder = tiny.parent / "out" / "parts"
    try:
        deadline = time.monotonic() + 240
        while not [*folder.glob("partial/*/last.ckpt")]:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=120)[0]
    finally:
        process.kill()
    assert process.returncode == 130
    assert "the same command goes on where this one was" in said
    assert [*folder.glob("partial/*/last.ckpt")]
    assert not (folder / "comparison.json").exists()
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300, check=True)
    assert "AUROC" in done.stdout
    assert not [*folder.glob("partial/*/last.ckpt")]
    assert len([*(folder / "entries").iterdir()]) == 6


def test_more_folds_than_defective_groups_are_refused(write_pictures: MakeFiles, tmp_path: Path) -> None:
    names = [f"good/g{part}.png" for part in range(8)] + [f"defective/dent/d{part}.png" for part in range(2)]
    write_pictures(tmp_path / "few", names)
    samples = tuple(replace(one, group=Path(one.path).stem) for one in read_samples(tmp_path / "few")[0])
    source = find_source("tf_mobilenetv3_small_100", from_scratch=True)
    arms = [Arm(name, Recipe(source=source.about), source) for name in "ab"]
    with pytest.raises(DatasetError, match="2 groups hold defective pictures, too few for 3 folds"):
        compare(samples, "few", arms, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_curve_needs_more_parts_than_its_first_point() -> None:
    samples: list[Sample] = [sample(f"{label}{number}", "dent" * (label == "d")) for label in "gd" for number in range(9)]
    source = find_source("tf_mobilenetv3_small_100", from_scratch=True)
    arms = [Arm(name, Recipe(source=source.about), source) for name in "ab"]
    with pytest.raises(DatasetError, match="5 defective groups or fewer: no curve"):
        compare(samples, "few", arms, Path("nowhere"), points=(5, 10))

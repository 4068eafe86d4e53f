"""The report: every situation makes a whole page and a valid report.json, and two runs are held against each other fairly."""

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import fields, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from safetensors.torch import save_file
from scipy.stats import binom

from deploy.bundle import sha256_of
from deploy.engines import Answer
from deploy.errors import RunError
from deploy.preprocess import Picture
from deploy.verdict import Thresholds, Verdict, decide
from pipeline.data.manifest import Manifest, write_manifest
from pipeline.data.sample import Sample
from pipeline.evaluation.assessment import Evaluation, assess
from pipeline.evaluation.cuts import describe
from pipeline.evaluation.decision import Decision
from pipeline.evaluation.heatmaps import HeatmapTally
from pipeline.evaluation.limits import Costs, Limits
from pipeline.evaluation.metrics import PartScore, count_verdicts, rate
from pipeline.evaluation.predict import predict
from pipeline.evaluation.report import write_report
from pipeline.evaluation.report.content import CurvePoint, Judged, MadeWith, Report, pick_parts, threshold_curve
from pipeline.evaluation.report.held import AurocGap, Change, Discordance, Versus, hold, mcnemar
from pipeline.evaluation.report.pictures import BYTES, SIDE, data_url, illustrate, overlay
from pipeline.evaluation.report.versus import common_parts, compare_reports
from pipeline.evaluation.robustness.card import RobustnessCard, Strain
from pipeline.evaluation.robustness.outcome import Outcome
from pipeline.evaluation.slices import SliceTable, slice_table
from pipeline.evaluation.thresholds import REVIEW_ALL, derive_thresholds
from pipeline.training.recipe import Recipe, SourceWeights, write_recipe
from pipeline.training.run import load_run
from tests.pipeline.test_model import build

DOCS = Path(__file__).parents[2] / "docs" / "report.md"
SOURCE = SourceWeights(origin="from scratch", sha256=None, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), same_padding=False)
RECIPE = Recipe(height=64, width=64, source=SOURCE)
SPEC = RECIPE.preprocessing()
HOSTILE = '<script>alert("1")</script>'
CLEAR = [0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.75, 0.8, 0.9, 0.95, 0.99]
"""Scores of twelve parts that separate: the first six good."""
DECIDED = Decision(thresholds=Thresholds(accept=0.25, reject=0.7))


def infer(frames: Picture) -> Answer:
    """Hot in the upper left corner."""
    heat = np.full((len(frames), 8, 8), 0.1, np.float32)
    heat[:, :2, :2] = 0.9
    return Answer(np.full((len(frames), 2), 0.5, np.float32), heat)


def make_samples(folder: Path, defective: Sequence[bool], kind: str = "dent", views: int = 2) -> list[Sample]:
    """Parts of so many views; defective ones have a mask in the lower right corner, far from the heat."""
    folder.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((48, 64, 3), np.uint8)
    mask[40:, 56:] = 255
    cv2.imwrite(str(folder / "mask.png"), mask)
    found = []
    for number, bad in enumerate(defective):
        for view in range(views):
            path = f"part{number:02d}_{view}.png"
            random = np.random.default_rng([number, view])
            cv2.imwrite(str(folder / path), random.integers(0, 255, (48, 64, 3), np.uint8))
            about = {"label": "defective", "defect_type": kind, "mask": "mask.png"} if bad else {"label": "good"}
            camera = (("camera", f"{HOSTILE}{view}"),)
            hashed = sha256_of(folder / path)
            found.append(Sample(str(folder), path, group=f"g{number}", sha256=hashed, split="test", slices=camera, **about))  # type: ignore[arg-type]
    return found


def judged(
    samples: Sequence[Sample], scores: Sequence[float], decision: Decision = DECIDED, manifest: Manifest | None = None
) -> Evaluation:
    """With everything that an evaluation can have; one score for each part."""
    groups = list(dict.fromkeys(sample.group for sample in samples))
    every = np.array([scores[groups.index(sample.group)] for sample in samples])
    tally = HeatmapTally(SPEC)
    predict(samples, SPEC, infer, tally.see)
    slices = slice_table(samples, every, decision.thresholds, describe(samples))
    return assess("parts", samples, every, decision, trained_on=manifest, heatmaps=tally.quality(), slices=slices)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return make_samples(tmp_path_factory.mktemp("parts"), [False] * 6 + [True] * 6)


@pytest.fixture(scope="module")
def whole(parts: list[Sample]) -> Evaluation:
    return judged(parts, CLEAR, manifest=Manifest("parts", tuple(parts)))


def card() -> RobustnessCard:
    """Dust makes parts escape."""
    good, bad, nothing = rate(0, 6), rate(4, 6), rate(0, 12)
    calm = Outcome(0, "untouched", good, good, nothing, 1.0, nothing, good, ())
    dusty = Outcome(3, "3 spots", bad, good, nothing, 0.5, rate(4, 12), bad, ("g6|defective",))
    dust = Strain(
        "dust", "spots", "Dust lies on the lens.", (replace(calm, level=1, named="1 spot"), dusty), (3,), f"dust {HOSTILE}"
    )
    stops = Strain("exposure", "stops", "The lamp ages.", (replace(calm, level=-1), replace(calm, level=1)), (), "")
    return RobustnessCard(24, 12, DECIDED.thresholds, 0.01, calm, (dust, stops), (dust.finding,))


class Whole(HTMLParser):
    """Fails on tags that do not close, on scripts, and on anything that is not in the file itself."""

    open_ones: list[str]
    text = ""
    VOID = frozenset({"meta", "img", "br", "path", "use", "rect"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open_ones = []
        self.feed(page)
        self.close()
        assert self.open_ones == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "iframe", "object")
        for name, value in attrs:
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href"):
                assert (value or "").startswith(("data:image/jpeg;base64,", "#")), value
        if tag not in self.VOID:
            self.open_ones.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open_ones.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def written(evaluation: Evaluation, folder: Path, **more: object) -> tuple[Whole, str, Report]:
    """The page as text and as it is, and the report read back."""
    given_back = write_report(evaluation, RECIPE, infer, folder / "report.html", **more)  # type: ignore[arg-type]
    page = (folder / "report.html").read_text(encoding="utf-8")
    read = Report.model_validate_json((folder / "report.json").read_bytes())
    assert read.model_dump(mode="json") == given_back.model_dump(mode="json")
    assert "url(http" not in page
    assert "@import" not in page
    return Whole(page), page, read


def test_the_page_says_what_the_json_says(whole: Evaluation, tmp_path: Path) -> None:
    page, html, report = written(whole, tmp_path, robustness=card())
    assert report.verdict in page.text
    assert report.metrics == json.loads(json.dumps(whole.metrics()))
    assert report.robustness == card()
    assert "2 of 6" not in page.text
    assert "1 of 6" in page.text  # 0.6 goes to review, nothing escapes; 0.4 and 0.3 too
    for said in (whole.auroc, whole.partial_auroc, whole.average_precision, whole.counts.escape):
        assert str(said) in page.text or str(said.value) == "0.0"
    assert "Right for the wrong reason" in page.text
    assert len(whole.wrong_reasons()) == 5
    assert html.count("<figure>") == 5 + len(report.worst) + len(report.least_sure)
    assert html.count("<svg") == 2
    assert "✗ 4 (4)" in re.sub(r"\s+", " ", page.text)
    order = [
        "How often it is wrong",
        "What is promised",
        "What another threshold",
        "Verdicts against",
        "Is it worse",
        "Does a probability",
    ]
    order += ["Does it look at", "What the line does", "Worst errors", "Least sure", "Made with"]
    places = [page.text.index(heading) for heading in order]
    assert all(one < two for one, two in pairwise(places))


def situation(name: str, parts: list[Sample]) -> Evaluation:
    manifest = Manifest("parts", tuple(parts))
    costs = Limits(max_escape=None, costs=Costs(escape=100, overkill=5, review=1, defect_rate=0.02))
    at_once = Decision(thresholds=Thresholds(accept=0.5, reject=0.5))
    match name:
        case "good only":
            return judged(parts[:12], CLEAR[:6])
        case "defective only":
            return judged(parts[12:], CLEAR[6:])
        case "one part":
            return judged(parts[:2], [0.5])
        case "undecided":
            return judged(parts, CLEAR, Decision(thresholds=REVIEW_ALL, undecided="all 4 parts have the same score"))
        case "unproven":
            return judged(parts, [0.5, 0.9, 0.1, 0.4, 0.6, 0.8] * 2)
        case "certain":
            return judged(parts, [0.0] * 6 + [1.0] * 6, at_once)
        case "costs":
            return judged(parts, CLEAR, DECIDED.model_copy(update={"limits": costs}))
        case "leaking":
            return judged(parts, CLEAR, manifest=replace(manifest, leakage=f"LEAKAGE ALLOWED: {HOSTILE}"))
        case "hostile names":
            return judged([replace(sample, defect_type=HOSTILE if sample.defect_type else "") for sample in parts], CLEAR)
    usual = judged(parts, CLEAR, manifest=manifest)
    changed: dict[str, dict[str, Any]] = {
        "no heatmaps": {"heatmaps": None},
        "no slices": {"slices": None},
        "empty slices": {"slices": SliceTable((), (), 0, ())},
        "learned from": {"learned": 3},
    }
    return replace(usual, **changed[name])


@pytest.mark.parametrize(
    "name",
    [
        *("no heatmaps", "no slices", "empty slices", "good only", "defective only", "one part", "undecided", "unproven"),
        *("leaking", "learned from", "certain", "costs", "hostile names"),
    ],
)
def test_every_situation_makes_a_whole_page(name: str, parts: list[Sample], tmp_path: Path) -> None:
    evaluation = situation(name, parts)
    page, html, report = written(evaluation, tmp_path)
    assert report.verdict in page.text
    assert HOSTILE not in html
    assert all(caveat in page.text for caveat in report.caveats)
    assert "To measure it: pipeline robustness RUN" in page.text
    expected = {
        "no heatmaps": "Worst errors",
        "undecided": "There are no thresholds; every part goes to a person",
        "unproven": "No threshold is given",
        "leaking": HOSTILE,
        "costs": "Cost per part",
        "hostile names": HOSTILE,
    }
    assert expected.get(name, "Inspection report") in page.text
    assert ('class="alarm"' in html) == (name == "leaking")
    if name == "leaking":
        assert html.index('class="alarm"') < html.index("<h1>")
    assert "never learned from" not in page.text or name in ("no heatmaps", "no slices", "empty slices")


def test_what_is_unproven_has_no_thresholds(parts: list[Sample], tmp_path: Path) -> None:
    decision = DECIDED.model_copy(update={"thresholds": Thresholds(accept=0.4321, reject=0.8765)})
    evaluation = judged(parts, [0.5, 0.9, 0.1, 0.4, 0.6, 0.8] * 2, decision)
    assert evaluation.unproven
    page, html, report = written(evaluation, tmp_path)
    assert 'class="lead bad"' in html
    for hidden in ("0.432", "0.877", "0.876", "accept", "(reject)", "Verdicts against", "Least sure"):
        assert hidden not in page.text, hidden
    assert report.least_sure == []
    assert report.worst  # what misleads most is worth a look
    assert "Most misleading scores" in page.text


def test_promises_are_told_in_words(parts: list[Sample], tmp_path: Path) -> None:
    limits = Limits(max_escape=0.45, max_overkill=0.02)
    scores = [PartScore(f"{number}", number >= 6, "dent", score) for number, score in enumerate(CLEAR)]
    derived = derive_thresholds(scores, limits)
    decision = Decision(thresholds=derived.thresholds, limits=limits, promises=derived.promises)
    page, _, report = written(judged(parts, CLEAR, decision), tmp_path)
    assert [promise["shown"] for promise in report.metrics["promises"]] == [True, False]
    for promise in derived.promises:
        assert f"{'✓ shown' if promise.shown else '✗ not shown'}{promise}" in page.text


def test_a_large_report_stays_small(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, [False] * 30 + [True] * 30, views=1)
    _, html, report = written(judged(samples, [0.9] * 14 + [0.1] * 24 + [0.3] * 4 + [0.95] * 18), tmp_path)
    assert len(report.worst) == len(report.least_sure) == 20
    assert html.count("<figure>") == 48
    assert len(html.encode()) < 3_000_000


def test_made_with_names_weights_and_split(whole: Evaluation, tmp_path: Path) -> None:
    run = tmp_path / "parts-0007.partial"
    run.mkdir()
    (run / "weights.safetensors").write_bytes(b"weights")
    page, _, report = written(whole, tmp_path, run=run)
    made = report.made_with
    assert made.run == "parts-0007"
    assert made.weights_sha256 == sha256_of(run / "weights.safetensors")
    assert whole.trained_on is not None
    for said in (made.weights_sha256, whole.trained_on["sha256"], "pipeline robustness parts-0007", made.split, "seed 0"):
        assert said in page.text
    assert "The dataset names the groups" in made.split


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=300))
def test_the_curve_is_what_the_thresholds_would_do(scores: list[tuple[float, bool]]) -> None:
    parts = [PartScore(f"{number}", bad, "", score) for number, (score, bad) in enumerate(scores)]
    curve = threshold_curve(parts)
    assert 1 <= len(curve) <= 200
    for point in (curve[0], curve[len(curve) // 2], curve[-1]):
        counts = count_verdicts(parts, Thresholds(accept=point.threshold, reject=point.threshold))
        assert (point.escape, point.overkill) == (counts.escape, counts.overkill)
    assert all(one.threshold < two.threshold and one.escape.count <= two.escape.count for one, two in pairwise(curve))


def test_the_lists_hold_parts_and_show_their_worst_view(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, [False] * 6 + [True] * 6, views=3)
    views = [[0.1, 0.2, 0.1], [0.24, 0.1, 0.1], [0.8, 0.9, 0.1], *[[0.01] * 3] * 3]
    views += [[0.05, 0.1, 0.15], [0.99, 0.1, 0.97], [0.09, 0.01, 0.02], *[[0.999] * 3] * 3]
    scores = np.array(views).ravel()
    evaluation = assess("parts", samples, scores, DECIDED)
    worst, least_sure = pick_parts(evaluation)
    assert [(one.part, one.path, one.truth, one.verdict) for one in worst] == [
        ("g8|defective", "part08_0.png", "dent", "GOOD"),
        ("g6|defective", "part06_2.png", "dent", "GOOD"),
        ("g2|good", "part02_1.png", "good", "DEFECTIVE"),
    ]
    assert all(one.margin < 0 for one in worst)
    assert all(one.margin >= 0 for one in least_sure)
    assert [one.part for one in least_sure][:2] == ["g1|good", "g0|good"]
    assert len(least_sure) == 9
    assert [one.margin for one in least_sure] == sorted(one.margin for one in least_sure)
    for one in (*worst, *least_sure):
        assert one.views == 3
        shown = [score for sample, score in zip(samples, scores, strict=True) if sample.part == one.part]
        assert one.view_probability == max(shown)
        assert decide(one.probability, DECIDED.thresholds) is Verdict(one.verdict)


@pytest.mark.parametrize("shape", [(230, 464), (600, 20), (3, 900), (1, 1)])
def test_noise_is_coded_small(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    url = data_url(noise)
    assert len(base64.b64decode(url.partition(",")[2])) <= BYTES
    assert decoded(url).shape == noise.shape


def decoded(url: str) -> Picture:
    data = base64.b64decode(url.removeprefix("data:image/jpeg;base64,"))
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def test_heat_lies_where_it_is_hot(tmp_path: Path) -> None:
    picture = np.full((40, 60, 3), 90, np.uint8)
    heat = np.zeros((40, 60), np.float32)
    assert (overlay(picture, heat) == picture).all()
    heat[10:20, 30:40] = 0.9
    changed = (overlay(picture, heat) != picture).any(axis=-1)
    assert changed[10:20, 30:40].all()
    assert not changed[:8].any()
    cv2.imwrite(str(tmp_path / "tall.png"), np.full((300, 100, 3), 90, np.uint8))
    url = illustrate(Sample(str(tmp_path), "tall.png", "good"), (SPEC, infer), (SPEC, infer), peak=True)
    assert decoded(url).shape[:2] == (SIDE, 3 * round(SIDE / 3) + 2 * 4)


# Two runs


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (5, 0), (0, 6), (3, 9), (10, 10), (40, 12)])
def test_mcnemar_is_exact(only_a: int, only_b: int) -> None:
    few, total = min(only_a, only_b), only_a + only_b
    assert mcnemar(only_a, only_b) == pytest.approx(min(1, 2 * binom.cdf(few, total, 0.5)) if total else 1)
    assert mcnemar(only_a, only_b) == mcnemar(only_b, only_a)


def of_scores(good: Sequence[float], bad: Sequence[float]) -> Evaluation:
    samples = [Sample("/parts", f"g{number}.png", "good", group=f"g{number}") for number in range(len(good))]
    samples += [Sample("/parts", f"d{number}.png", "defective", "dent", f"d{number}") for number in range(len(bad))]
    return assess("parts", samples, np.array([*good, *bad]), DECIDED)


LOW, HIGH = [0.01 + place / 200 for place in range(40)], [0.8 + place / 300 for place in range(40)]
MISSED = [0.1 + place / 1000 for place in range(12)]


@pytest.mark.parametrize(
    ("a", "b", "better", "said"),
    [
        ((LOW, HIGH), (LOW, HIGH), None, "Neither is shown to be better: one and two have 0 and 0 escapes"),
        (
            (LOW, MISSED + HIGH[12:]),
            (LOW, HIGH),
            "B",
            "two is better, and that is real: 0 instead of 12 escapes of 40 parts (p = 0.00",
        ),
        ((LOW, HIGH), (LOW, MISSED + HIGH[12:]), "A", "one is better, and that is real: 0 instead of 12 escapes"),
        ((LOW, MISSED[:2] + HIGH[2:]), (LOW, HIGH), None, "luck explains such differences"),
        (
            (LOW, MISSED + HIGH[12:]),
            (HIGH[:12] + LOW[12:], HIGH),
            None,
            "Neither is better in all: one has 0 instead of 12 overkill",
        ),
        ((LOW, MISSED + HIGH[12:]), ([0.5] * 40, [0.5] * 12 + HIGH[12:]), None, "Neither is better in all"),  # all to a person
    ],
)
def test_a_better_run_is_better_for_real(
    a: tuple[list[float], list[float]], b: tuple[list[float], list[float]], better: str | None, said: str
) -> None:
    versus = hold(of_scores(*a), of_scores(*b), ("one", "two"))
    assert versus.sentence.startswith(said) or said in versus.sentence
    assert versus.better == better
    for one in versus.counts:
        assert (one.only_a - one.only_b, one.adjusted >= one.p) == (one.a - one.b, True)


def test_one_class_and_one_group_are_held_too() -> None:
    versus = hold(of_scores(LOW, []), of_scores(LOW, []), ("one", "two"))
    assert (versus.auroc.value, versus.better) == (None, None)
    versus = hold(of_scores([0.1], [0.9]), of_scores([0.9], [0.1]), ("one", "two"))
    assert (versus.auroc.value, versus.auroc.p, versus.better) == (-1, None, None)
    assert [change.truth for change in versus.changes] == ["dent", "good"]


def make_run(folder: Path, samples: Sequence[Sample], seed: int) -> Path:
    model, recipe = build("mobilenetv3_small_100", height=64, width=64)
    folder.mkdir(parents=True)
    state = model.state_dict()
    for name, value in state.items():
        if name.startswith("head") and value.is_floating_point():
            state[name] = value + 0.02 * seed
    save_file(state, folder / "weights.safetensors")
    write_recipe(recipe, folder / "recipe.yaml")
    write_manifest(Manifest("parts", tuple(samples)), folder)
    (folder / "decision.json").write_text(DECIDED.model_dump_json())
    return folder


def test_two_runs_on_the_same_parts(parts: list[Sample], tmp_path: Path) -> None:
    # Run B learned from the first part, has the second in no part of its own, and calls the third defective.
    theirs = [replace(sample, split="train") for sample in parts[:2]] + parts[4:]
    theirs[2:4] = [replace(sample, label="defective", defect_type="dent") for sample in theirs[2:4]]
    a, b = make_run(tmp_path / "runs" / "a", parts, 0), make_run(tmp_path / "runs" / "b", theirs, 1)
    kept, told = common_parts(load_run(a), load_run(b))
    assert {sample.group for sample in kept} == {f"g{number}" for number in range(3, 12)}
    assert told == [
        "4 pictures that only one of the runs is tested on are left out.",
        "1 parts are left out: one run calls them good and the other defective.",
    ]
    page = compare_reports(a, b)
    assert page == b / "versus" / "a" / "versus.html"
    text = Whole(page.read_text(encoding="utf-8")).text
    versus = Versus.model_validate_json(page.with_suffix(".json").read_bytes())
    assert versus.sentence in text
    assert all(sentence in text for sentence in told)
    assert (versus.parts, versus.pictures) == (9, 18)
    assert page.read_text().count("<figure>") == len(versus.changes)
    assert compare_reports(a, b, tmp_path / "there").parent == tmp_path / "there"


def test_runs_that_share_nothing_untouched_are_refused(parts: list[Sample], tmp_path: Path) -> None:
    views = [replace(sample, split="train" if sample.path.endswith("_0.png") else "test") for sample in parts]
    a, b = make_run(tmp_path / "a", parts, 0), make_run(tmp_path / "b", views, 0)
    with pytest.raises(
        RunError, match=r"share no test part that neither learned from \(12 pictures are in both test parts, 12 of"
    ):
        compare_reports(a, b)


# docs/report.md


@pytest.mark.parametrize("model", [Report, CurvePoint, Judged, MadeWith, Versus, AurocGap, Discordance, Change])
def test_the_page_tells_every_key(model: type[BaseModel]) -> None:
    page = DOCS.read_text(encoding="utf-8")
    rows = "\n".join(f"| `{name}` | {field.description} |" for name, field in model.model_fields.items())
    assert rows in page, f"docs/report.md lacks the table of {model.__name__}:\n{rows}"


def test_the_page_tells_every_figure(whole: Evaluation) -> None:
    section = DOCS.read_text(encoding="utf-8").partition("## metrics.json")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` ", section, re.M) == list(whole.metrics())


def test_the_page_tells_what_the_card_holds() -> None:
    told = DOCS.read_text(encoding="utf-8").partition("`robustness` has")[2].partition("## ")[0]
    assert {field.name for kind in (RobustnessCard, Strain, Outcome) for field in fields(kind)} == set(
        re.findall(r"`(\w+)`", told)
    )

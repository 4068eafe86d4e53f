import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from deploy.bundle import sha256_of
from deploy.errors import DatasetError, WeightsError
from pipeline.cli import main
from pipeline.data.manifest import Manifest, write_manifest
from pipeline.data.prepare import read_samples
from pipeline.data.sample import Sample
from pipeline.evaluation.metrics import Figure
from pipeline.training.model import InspectionModel
from pipeline.training.recipe import FOLDER_VARIABLE, Recipe, write_recipe
from pipeline.training.run import save_model
from pipeline.training.sources import listing
from pipeline.training.sources.command import best_source
from pipeline.training.sources.cost import Cost, measure_cost
from pipeline.training.sources.listing import Candidate, LeftOut, list_sources, random_floor
from pipeline.training.sources.ranking import Ranked, choose, rank
from pipeline.training.sources.transferability import assess, log_me
from pipeline.training.weights import find_source, weights_metadata

SMALL = "tf_mobilenetv3_small_minimal_100"
OTHER = "mobilenetv3_small_050"
TINY = Recipe(backbone=SMALL, height=64, width=64)
SHARED = Path(__file__).parents[3] / "shared"
Random = np.random.Generator


@pytest.fixture(autouse=True)
def at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing but what a test puts there: no hub download, no starter, an empty weights folder, which is returned."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(listing, "STARTER", tmp_path / "starter")
    return folder


def tensors_of(backbone: str = SMALL, blind: bool = False) -> dict[str, torch.Tensor]:
    """Random weights; blind ones answer the same to every picture, so nothing can be learned from their features."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        tensors: dict[str, torch.Tensor] = timm.create_model(backbone, pretrained=False).state_dict()
    return {name: torch.zeros_like(value) if blind and "conv_stem" in name else value for name, value in tensors.items()}


def put_weights(file: Path, blind: bool = False, backbone: str = SMALL, **metadata: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors_of(backbone, blind), file, metadata or None)
    return file


@pytest.fixture(scope="module")
def spots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 parts of two pictures each; the defective ones carry a bright square, which even random features show."""
    root = tmp_path_factory.mktemp("data") / "spots"
    rows = ["file,group"]
    for part in range(24):
        for view in "ab":
            random = np.random.default_rng([part, ord(view)])
            picture = random.integers(90, 130, (64, 64, 3), np.uint8)
            if part % 2:
                row, column = random.integers(0, 40, 2)
                picture[row : row + 24, column : column + 24] = 250
            name = f"{'defective/spot' if part % 2 else 'good'}/{part:02d}{view}.png"
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(root / name), picture)
            rows.append(f"{name},part{part:02d}")
    (root / "groups.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="module")
def manifest(spots: Path) -> Manifest:
    """Of the spots: every class has six parts to learn from, three to validate and three to test on."""
    samples, name = read_samples(spots)
    parts = {sample.group: int(sample.group[-2:]) // 2 for sample in samples}
    split = ("train", "train", "validation", "test")
    return Manifest(name, tuple(replace(one, split=split[parts[one.group] % 4]) for one in samples))  # type: ignore[arg-type]


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["pipeline", *map(str, words)])
    try:
        main()
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def by_hand(count: int, seed: int, signal: float, wide: int = 24) -> tuple[np.ndarray[Any, Any], list[Sample]]:
    """Features of `count` parts, the first of which tells the label by so many standard deviations."""
    random = np.random.default_rng(seed)
    defective = np.arange(count) % 2 == 1
    table = random.normal(size=(count, wide)).astype(np.float32)
    table[:, 0] += signal * defective
    return table, [Sample("/", f"{n}.png", "defective" if defective[n] else "good", group=f"g{n}") for n in range(count)]


# How much features tell


@pytest.mark.parametrize("wide", [8, 200], ids=["fewer features than pictures", "more"])
def test_informative_features_score_above_noise_in_both_opinions(wide: int) -> None:
    scores = []
    for signal in (0.0, 1.5, 4.0):
        table, samples = by_hand(100, 3, signal, wide)
        assessed = assess(table.astype(np.float16), samples)
        assert assessed is not None
        scores.append((assessed[0].value or 0, assessed[1]))
    noise, some, much = scores
    assert noise[0] < some[0] < much[0]
    assert noise[1] < some[1] < much[1]


@settings(max_examples=25, deadline=None)
@given(unit=st.sampled_from([1e-6, 1e-3, 10.0, 1e4]), seed=st.integers(0, 1000), wide=st.integers(1, 80))
def test_log_me_knows_no_unit_no_order_and_no_directions(unit: float, seed: int, wide: int) -> None:
    table, samples = by_hand(40, seed, 1.0, wide)
    defective = np.array([sample.label == "defective" for sample in samples])
    random = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(random.normal(size=(wide, wide)))
    order = random.permutation(40)
    plain = log_me(table, defective)
    assert log_me((unit * table).astype(np.float32), defective) == pytest.approx(plain, abs=1e-3)
    assert log_me((table @ turn).astype(np.float32), defective) == pytest.approx(plain, abs=1e-3)
    assert log_me(table[order], defective[order]) == pytest.approx(plain, abs=1e-3)
    assert log_me(table, ~defective) == pytest.approx(plain, abs=1e-9)


def test_log_me_is_the_greatest_evidence_that_a_search_finds() -> None:
    """Against the evidence written as one Gaussian over the labels, maximised over both precisions on a grid."""
    from scipy.stats import multivariate_normal

    table, samples = by_hand(30, 5, 2.0, 6)
    defective = np.array([sample.label == "defective" for sample in samples])
    table = table / np.linalg.norm(table) * np.sqrt(30)
    gram = table.astype(np.float64) @ table.T.astype(np.float64)

    def greatest(target: np.ndarray[Any, Any]) -> float:
        grid = np.geomspace(0.01, 1000, 60)
        values = [multivariate_normal.logpdf(target, cov=gram / a + np.eye(30) / b) for a in grid for b in grid]
        return float(np.max(values)) / 30

    expected = (greatest(defective.astype(float)) + greatest((~defective).astype(float))) / 2
    assert log_me(table.astype(np.float32), defective) == pytest.approx(expected, abs=2e-3)


def test_constant_features_tell_nothing_and_break_nothing() -> None:
    table, samples = by_hand(40, 0, 0.0)
    assessed = assess(np.zeros_like(table, np.float16), samples)
    assert assessed is not None
    assert assessed[0].value == 0.5
    assert np.isfinite(assessed[1])


def test_too_few_groups_cannot_be_assessed() -> None:
    table, samples = by_hand(40, 0, 1.0)
    one_each = [replace(sample, group=sample.label) for sample in samples]
    assert assess(table.astype(np.float16), one_each) is None


# What is at hand


def test_what_lies_on_this_machine_is_listed(at_hand: Path, tmp_path: Path) -> None:
    put_weights(at_hand / f"{SMALL}.safetensors")
    put_weights(at_hand / "ours.safetensors", backbone=OTHER, timm_model=OTHER)
    put_weights(tmp_path / "starter" / f"{SMALL}.safetensors")
    put_hub(tmp_path / "hub", f"{OTHER}.lamb_in1k", OTHER)
    found, left_out = list_sources(())
    assert [(one.kind, one.backbone) for one in found] == [
        ("hub", f"{OTHER}.lamb_in1k"),
        ("folder", OTHER),
        ("folder", SMALL),
        ("starter", SMALL),
    ]
    assert left_out == ()
    hub = found[0].load()
    assert hub.about.origin == f"timm hub ({OTHER}.lamb_in1k)"
    assert hub.about.sha256 == sha256_of(found[0].file)  # type: ignore[arg-type]


def put_hub(cache: Path, name: str, backbone: str | None) -> None:
    """As huggingface_hub lays out what it downloaded."""
    home = cache / f"models--timm--{name}"
    snapshot = home / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("c0ffee")
    (home / "blobs").mkdir()
    (home / "blobs" / "b").write_text("{}")
    (snapshot / "config.json").symlink_to(home / "blobs" / "b")
    if backbone:
        put_weights(home / "blobs" / "w", backbone=backbone)
        (snapshot / "model.safetensors").symlink_to(home / "blobs" / "w")


def put_torn(folder: Path) -> None:
    (folder / f"{SMALL}.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0not json")


def put_other_network(folder: Path) -> None:
    put_weights(folder / f"{SMALL}.safetensors", backbone=OTHER)


def put_damaged(folder: Path) -> None:
    tensors = tensors_of()
    tensors["conv_stem.weight"] = torch.full_like(tensors["conv_stem.weight"], float("nan"))
    save_file(tensors, folder / f"{SMALL}.safetensors")


def put_nameless(folder: Path) -> None:
    put_weights(folder / "best_of_monday.safetensors")


def put_resnet(folder: Path) -> None:
    save_file({"conv1.weight": torch.zeros(1)}, folder / "resnet18.safetensors")


@pytest.mark.parametrize(
    ("put", "reason"),
    [
        (put_torn, "no readable safetensors file"),
        (put_other_network, "does not fit this backbone"),
        (put_damaged, "its features are no finite numbers"),
        (put_nameless, "'best_of_monday', which is no backbone of timm; expected BACKBONE.safetensors"),
        (put_resnet, "resnet18 is neither a MobileNet nor an EfficientNet"),
        (lambda folder: put_hub(folder.parent / "hub", f"{SMALL}.in1k", None), "no model.safetensors was downloaded"),
    ],
)
def test_what_cannot_be_used_is_left_out_with_its_reason(
    put: Callable[[Path], None], reason: str, at_hand: Path, manifest: Manifest
) -> None:
    put(at_hand)
    found, left_out = list_sources(manifest.samples)
    ranked, unfit = rank(manifest.samples, found, TINY)
    assert ranked == ()
    (one,) = left_out + unfit
    assert reason in one.reason


def put_run(runs: Path, number: int, samples: Sequence[Sample], before: str | None = None) -> Path:
    """A finished run that learned from these samples, starting from weights of this hash."""
    folder = runs / f"parts-{number:04d}"
    folder.mkdir(parents=True)
    source = find_source(SMALL, from_scratch=True)
    about = source.about.model_copy(update={"origin": "somewhere", "sha256": before})
    recipe = TINY.model_copy(update={"source": about})
    torch.manual_seed(number)
    save_model(InspectionModel(recipe), recipe, folder / "weights.safetensors")
    write_recipe(recipe, folder / "recipe.yaml")
    write_manifest(Manifest("parts", tuple(samples)), folder)
    (folder / "decision.json").write_text('{"thresholds": {"accept": 0.4, "reject": 0.6}}')
    return folder


def test_a_run_that_learned_from_these_pictures_is_no_source(tmp_path: Path, manifest: Manifest) -> None:
    runs = tmp_path / "runs"
    foreign = [replace(sample, sha256=f"other{n}") for n, sample in enumerate(manifest.samples)]
    same = put_run(runs, 1, manifest.samples)
    heir = put_run(runs, 2, foreign, before=sha256_of(same / "weights.safetensors"))
    other = put_run(runs, 3, foreign)
    tested = put_run(runs, 4, [replace(sample, split="test") for sample in manifest.samples])
    (runs / "parts-0005.partial").mkdir()
    found, left_out = list_sources(manifest.samples, runs)
    assert [one.file.parent for one in found if one.file] == [other, tested]
    learned = len(manifest.samples) - len(manifest.split("test"))
    assert left_out == tuple(LeftOut(f"run {run}", f"learned from {learned} of these pictures") for run in (same, heir))
    ranked, unfit = rank(manifest.samples, found, TINY)
    assert len(ranked) == 2
    assert unfit == ()


def test_a_run_that_learned_from_what_is_now_a_test_picture_is_no_source(tmp_path: Path, manifest: Manifest) -> None:
    learned = replace(manifest.split("test")[0], split="train")
    put_run(tmp_path / "runs", 1, [learned])
    with pytest.raises(WeightsError, match="no source weights are at hand"):
        best_source(manifest, TINY, tmp_path / "runs")


def test_a_damaged_run_is_left_out(tmp_path: Path, manifest: Manifest) -> None:
    run = put_run(tmp_path / "runs", 1, manifest.samples)
    (run / "recipe.yaml").write_text("backbone: 3\n")
    found, left_out = list_sources(manifest.samples, tmp_path / "runs")
    assert found == ()
    assert "backbone" in left_out[0].reason


# Order


def test_the_useless_source_is_last_and_random_weights_are_the_floor(at_hand: Path, manifest: Manifest) -> None:
    put_weights(at_hand / "blind.safetensors", blind=True, timm_model=SMALL)
    put_weights(at_hand / "seeing.safetensors", timm_model=SMALL)
    found, _ = list_sources(manifest.samples)
    ranked, _ = rank(manifest.samples, (*found, Candidate("random", SMALL, None)), TINY)
    value = {one.candidate.name: one.auroc.value or 0 for one in ranked}
    assert value[f"blind.safetensors ({SMALL})"] <= 0.55
    assert value[f"seeing.safetensors ({SMALL})"] > 0.8
    assert [one.auroc.value for one in ranked] == sorted(value.values(), reverse=True)
    assert [one.candidate.name for one in ranked if one.is_random] == [f"random weights ({SMALL})"]
    evidence = {one.candidate.name: one.log_me for one in ranked}
    assert evidence[f"blind.safetensors ({SMALL})"] < evidence[f"seeing.safetensors ({SMALL})"]
    assert choose(ranked).candidate.name == f"seeing.safetensors ({SMALL})"


def test_every_architecture_has_its_floor() -> None:
    found = [Candidate("hub", f"{OTHER}.lamb_in1k", Path("a")), Candidate("folder", OTHER, Path("b"))]
    default: str = Recipe.model_fields["backbone"].default
    assert [one.backbone for one in random_floor(found)] == [default, OTHER]
    first, again = (Candidate("random", OTHER, None).load() for _ in range(2))
    assert first.tensors is not None
    assert again.tensors is not None
    assert all(torch.equal(value, again.tensors[name]) for name, value in first.tensors.items())


def of(kind: str, auroc: float, multiply_adds: int) -> Ranked:
    source = find_source(SMALL, from_scratch=True)
    return Ranked(
        Candidate(kind, f"{kind}{multiply_adds}", None),  # type: ignore[arg-type]
        source,
        Figure(auroc, None, None),
        0.0,
        Cost(1, multiply_adds, 1.0),
    )


@pytest.mark.parametrize(
    ("rows", "taken"),
    [
        ([("folder", 0.80, 9), ("hub", 0.79, 1)], "folder9"),
        ([("folder", 0.80, 9), ("hub", 0.796, 1)], "hub1"),
        ([("folder", 0.80, 9), ("hub", 0.796, 1), ("run", 0.792, 0)], "hub1"),
        ([("folder", 0.80, 1), ("hub", 0.796, 1)], "folder1"),
        ([("random", 0.99, 0), ("starter", 0.6, 3)], "starter3"),
    ],
)
def test_the_lighter_of_equals_is_taken_and_random_never(rows: list[tuple[str, float, int]], taken: str) -> None:
    assert choose([of(*row) for row in rows]).candidate.backbone == taken


def test_cost_grows_with_the_picture() -> None:
    source = find_source(SMALL, from_scratch=True)
    small, large = (
        measure_cost(TINY.model_copy(update={"source": source.about, "height": side, "width": side})) for side in (64, 128)
    )
    assert small.parameters == large.parameters > 100_000
    assert large.multiply_adds == pytest.approx(4 * small.multiply_adds, rel=0.02)


# For `train --backbone auto`


def test_test_groups_decide_nothing(at_hand: Path, manifest: Manifest, capsys: pytest.CaptureFixture[str]) -> None:
    put_weights(at_hand / "blind.safetensors", blind=True, timm_model=SMALL)
    seeing = put_weights(at_hand / "seeing.safetensors", timm_model=SMALL)
    flipped = tuple(
        replace(one, label="good" if one.label == "defective" else "defective", path="gone.png") if one.split == "test" else one
        for one in manifest.samples
    )
    backbone, source = best_source(manifest, TINY)
    said = capsys.readouterr().out
    assert best_source(replace(manifest, samples=flipped), TINY)[0] == backbone == SMALL
    assert capsys.readouterr().out == said
    assert source.about.origin == str(seeing)
    assert "36 pictures, train and validation groups" in said


def test_without_any_source_auto_says_what_to_do(manifest: Manifest) -> None:
    with pytest.raises(WeightsError, match=r"no source weights are at hand .* set INSPECTOR_WEIGHTS .* name a --backbone"):
        best_source(manifest, TINY)


def test_too_few_groups_are_an_error(at_hand: Path, manifest: Manifest) -> None:
    put_weights(at_hand / f"{SMALL}.safetensors")
    one_each = replace(manifest, samples=tuple(replace(sample, group=sample.label) for sample in manifest.samples))
    with pytest.raises(DatasetError, match="too few groups to compare source weights"):
        best_source(one_each, TINY)


# The command


def test_the_command_ranks_writes_and_remembers(
    at_hand: Path,
    spots: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    put_weights(at_hand / "seeing.safetensors", timm_model=SMALL)
    put_torn(at_hand)
    out = tmp_path / "new" / "sources.json"
    words = ("sources", spots, "--input-size", 64, "--runs", tmp_path / "runs", "--out", out)
    code, said = call(monkeypatch, capsys, *words)
    assert code == 0, said
    figures = json.loads(out.read_text())
    assert figures["take"] == f"seeing.safetensors ({SMALL})"
    assert figures["why"] in said
    assert "all groups, as no split is drawn yet" in said
    kinds = {one["kind"] for one in figures["sources"]}
    assert kinds == {"folder", "random"}
    assert "no readable safetensors file" in figures["left_out"][0]["reason"]
    values = [one["auroc"]["value"] for one in figures["sources"]]
    assert values == sorted(values, reverse=True)

    def refuse(*_: object) -> None:
        raise AssertionError("features were computed again")

    monkeypatch.setattr("pipeline.training.sources.ranking.compute_features", refuse)
    assert call(monkeypatch, capsys, *words)[0] == 0
    assert json.loads(out.read_text()) == figures


def test_without_out_nothing_is_written(
    spots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, said = call(monkeypatch, capsys, "sources", spots, "--input-size", 64)
    assert code == 0
    assert "no source weights are at hand; only random ones were measured" in said
    assert sorted(tmp_path.rglob("*")) == before


def test_weights_tell_their_backbone() -> None:
    """What a run writes beside its weights is what this listing reads."""
    about = find_source(SMALL, from_scratch=True).about
    assert weights_metadata(about, SMALL)["timm_model"] == SMALL


@pytest.mark.slow
def test_imagenet_is_above_random_weights_on_real_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    data, weights = SHARED / "data" / "magnetic_tile", SHARED / "weights"
    if not data.is_dir() or not weights.is_dir():
        pytest.skip("the shared pictures and weights are not here")
    monkeypatch.setenv(FOLDER_VARIABLE, str(weights))
    samples, _ = read_samples(data)
    found, _ = list_sources(samples)
    assert len(found) == 3
    ranked, left_out = rank(samples, (*found, Candidate("random", "tf_mobilenetv3_small_100", None)), Recipe())
    assert left_out == ()
    assert [one.is_random for one in ranked] == [False, False, False, True]
    *sources, floor = ranked
    assert min(one.auroc.low or 0 for one in sources) > (floor.auroc.value or 0)
    assert min(one.log_me for one in sources) > floor.log_me

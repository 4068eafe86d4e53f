from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from typer.testing import CliRunner

from deploy.errors import RunError, WeightsError
from pipeline.cli import app
from pipeline.training.model import InspectionModel
from pipeline.training.pretraining import pretrain as pretraining
from pipeline.training.pretraining.batches import Batches, make_batch
from pipeline.training.pretraining.defects import DEFECTS, FEWEST, VISIBLE, show_defect
from pipeline.training.pretraining.pretrain import pretrain, pretrain_command
from pipeline.training.pretraining.scenes import Scene, draw_scene, draw_view, show
from pipeline.training.pretraining.textures import FORMULAS, KINDS, SIDE, Dice, draw_texture
from pipeline.training.recipe import Recipe
from pipeline.training.weights import find_source, load_source

SMALL = "mobilenetv3_small_050"
STARTER = Path(pretraining.__file__).parent.parent / "starter" / "tf_mobilenetv3_small_100.safetensors"
seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("formula", range(len(FORMULAS)), ids=[formula.__name__ for formula in FORMULAS])
@given(seed=seeds, variant=st.integers(0, KINDS // len(FORMULAS) - 1))
@settings(max_examples=12, deadline=None)
def test_every_texture_is_a_valid_plane(formula: int, seed: int, variant: int) -> None:
    kind = formula + variant * len(FORMULAS)
    plane = draw_texture(kind, np.random.default_rng(seed))
    assert plane.shape == (SIDE, SIDE)
    assert plane.dtype == np.float32
    assert np.isfinite(plane).all()
    assert np.abs(plane).max() <= 1
    assert np.array_equal(plane, draw_texture(kind, np.random.default_rng(seed)))


@pytest.mark.parametrize("formula", range(len(FORMULAS)), ids=[formula.__name__ for formula in FORMULAS])
def test_a_texture_varies_between_pictures_and_between_kinds(formula: int) -> None:
    one, again, other = (
        draw_texture(kind, np.random.default_rng(seed))
        for kind, seed in ((formula, 0), (formula, 1), (formula + len(FORMULAS), 0))
    )
    assert not np.allclose(one, again)
    assert not np.allclose(one, other)


@given(seed=seeds, kind=st.integers(0, KINDS - 1))
@settings(max_examples=40, deadline=None)
def test_a_defect_changes_the_picture_inside_its_mask_alone(seed: int, kind: int) -> None:
    dice = np.random.default_rng(seed)
    scene, view = draw_scene(kind, dice), draw_view(dice)
    good = show(scene, view)
    bad, mask = show_defect(scene, view, dice)
    assert good.shape == bad.shape == (SIDE, SIDE, 3)
    assert good.dtype == bad.dtype == np.uint8
    assert mask.shape == (SIDE, SIDE)
    difference = np.abs(good.astype(int) - bad).max(axis=2)
    assert (difference[mask] >= VISIBLE).all()
    assert (difference[~mask] == 0).all()
    assert mask.sum() >= FEWEST or not mask.any()


@pytest.mark.parametrize("defect", DEFECTS, ids=[defect.__name__ for defect in DEFECTS])
@given(seed=seeds, kind=st.integers(0, KINDS - 1))
@settings(max_examples=12, deadline=None)
def test_every_defect_leaves_a_valid_scene(defect: Callable[[Scene, Dice], Scene], seed: int, kind: int) -> None:
    dice = np.random.default_rng(seed)
    scene = draw_scene(kind, dice)
    broken = defect(scene, dice)
    for plane, old in ((broken.albedo, scene.albedo), (broken.height, scene.height)):
        assert plane.shape == old.shape
        assert plane.dtype == np.float32
        assert np.isfinite(plane).all()
    assert broken.albedo.min() >= 0


@pytest.mark.parametrize("defect", range(len(DEFECTS)), ids=[defect.__name__ for defect in DEFECTS])
def test_most_defects_can_be_seen(defect: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.training.pretraining.defects.DEFECTS", (DEFECTS[defect],))
    seen = 0
    for seed in range(20):
        dice = np.random.default_rng(seed)
        seen += int(show_defect(draw_scene(int(dice.integers(KINDS)), dice), draw_view(dice), dice)[1].any())
    assert seen >= 14


def test_a_batch_is_its_seed_and_number() -> None:
    batch = make_batch(3, 7, 8)
    again = Batches(3, 5, 9)[2]
    assert len(Batches(3, 5, 9)) == 4
    assert torch.equal(again.pictures, make_batch(3, 7).pictures)
    for other in (make_batch(3, 8, 8), make_batch(4, 7, 8)):
        assert not torch.equal(batch.pictures, other.pictures)
    assert batch.pictures.shape == (8, 3, SIDE, SIDE)
    assert batch.pictures.dtype == torch.uint8
    assert batch.kinds.tolist() == batch.kinds[:4].tolist() * 2
    assert not batch.masks[:4].any()
    assert batch.masks[4:].any(dim=(1, 2)).sum() >= 3
    assert ((batch.masks == 0) | (batch.masks == 1)).all()


def test_its_weights_fit_and_do_not_change_what_the_network_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[pretraining.Pretraining] = []
    kept = pretraining.Pretraining

    def keep(backbone: str) -> pretraining.Pretraining:
        trained.append(kept(backbone))
        return trained[-1]

    monkeypatch.setattr(pretraining, "Pretraining", keep)
    file = tmp_path / "new" / "starter.safetensors"
    assert pretrain(SMALL, file, steps=3)
    assert [one.name for one in file.parent.iterdir()] == [file.name]
    source = find_source(SMALL, file)
    assert source.about.mean == source.about.std == (0.5, 0.5, 0.5)
    assert not source.about.same_padding
    model = InspectionModel(Recipe(backbone=SMALL, source=source.about)).eval()
    load_source(model, source)
    picture = make_batch(0, 9, 4).pictures
    with torch.inference_mode():
        maps, truth = model.features(picture), trained[0].eval().model.features(picture)
    for one, other in zip(maps, truth, strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.02 * float(other.abs().max()))


@pytest.mark.parametrize("stop_at", [1, 3])
def test_going_on_ends_with_the_weights_of_an_uninterrupted_training(stop_at: int, tmp_path: Path) -> None:
    whole, parted = tmp_path / "whole.safetensors", tmp_path / "parted.safetensors"
    assert pretrain(SMALL, whole, steps=4, seed=1)
    assert not pretrain(SMALL, parted, steps=4, seed=1, stop_at=stop_at)
    assert not parted.exists()
    assert pretrain(SMALL, parted, steps=4, seed=1)
    expected, found = load_file(whole), load_file(parted)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert pretrain(SMALL, parted, steps=4, seed=2)
    assert not torch.equal(load_file(parted)["conv_stem.weight"], expected["conv_stem.weight"])


def test_a_checkpoint_of_another_training_is_refused_and_a_torn_one_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "starter.safetensors"
    assert not pretrain(SMALL, file, steps=3, stop_at=1)
    with pytest.raises(RunError, match=r"of another training: .*'seed': 0.* asked for was .*'seed': 5.*another --out"):
        pretrain(SMALL, file, steps=3, seed=5)
    (checkpoint,) = tmp_path.iterdir()
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    assert not pretrain(SMALL, file, steps=3, stop_at=1)
    assert "is damaged" in capsys.readouterr().out


def test_both_tasks_are_learned(tmp_path: Path) -> None:
    """On a few pictures seen again and again, every loss must fall."""
    torch.manual_seed(0)
    training = pretraining.Pretraining(SMALL).train()
    optimizer = torch.optim.AdamW(training.parameters(), 3e-3)
    batch = make_batch(0, 0, 16)
    before: dict[str, float] = {}
    for _ in range(12):
        losses = training.losses(batch)
        before = before or {name: loss.item() for name, loss in losses.items()}
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert before.keys() == {"kind", "picture", "place"}
    for name, loss in losses.items():
        assert loss.item() < 0.9 * before[name], name


@pytest.mark.parametrize(
    ("out", "procedural", "backbone", "error", "expected"),
    [
        ("a.safetensors", False, SMALL, RunError, "give --procedural"),
        ("a.pt", True, SMALL, RunError, r"ends in \.safetensors"),
        ("a.safetensors", True, "mobilenet_small", WeightsError, "no backbone is called"),
        ("a.safetensors", True, "vit_tiny_patch16_224", WeightsError, "choose a MobileNet or EfficientNet"),
    ],
)
def test_what_cannot_be_asked(
    out: str, procedural: bool, backbone: str, error: type[Exception], expected: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=expected):
        pretrain_command(tmp_path / out, procedural, backbone, 2, 0)
    assert not list(tmp_path.iterdir())


def test_the_command_writes_weights_and_says_how_to_use_them(tmp_path: Path) -> None:
    file = tmp_path / "own.safetensors"
    result = CliRunner().invoke(app, ["pretrain", "--procedural", "--out", str(file), "--backbone", SMALL, "--steps", "3"])
    assert result.exit_code == 0, result.output
    assert f"--weights {file}" in result.output
    with safe_open(file, "pt") as opened:
        assert opened.metadata()["made_by"] == f"pipeline pretrain --procedural --backbone {SMALL} --steps 3 --seed 0"


def test_the_starter_is_small_whole_and_made_by_this_code() -> None:
    assert STARTER.stat().st_size < 4_000_000
    with safe_open(STARTER, "pt") as opened:
        about = opened.metadata()
    assert about["made_by"].startswith("pipeline pretrain --procedural --backbone tf_mobilenetv3_small_100 --steps ")
    assert f"version {pretraining.VERSION}" in about["code"], "the pictures or the training changed: make the starter again"
    assert about["made_by"].partition("--backbone")[2] in (STARTER.parent / "README.md").read_text()
    assert all(torch.isfinite(tensor.float()).all() for tensor in load_file(STARTER).values())
    source = find_source("tf_mobilenetv3_small_100", STARTER)
    assert source.about.same_padding
    load_source(InspectionModel(Recipe(source=source.about)), source)


def test_the_starter_tells_good_from_defective_on_pictures_it_never_saw() -> None:
    """By a linear probe of frozen features on procedural pictures of another seed; random weights are what to beat."""
    batches = [make_batch(99, number) for number in range(16)]
    labels = torch.cat([batch.masks.amax(dim=(1, 2)) for batch in batches]).numpy()
    scores = {}
    for name, source in (
        ("starter", find_source("tf_mobilenetv3_small_100", STARTER)),
        ("random", find_source("tf_mobilenetv3_small_100", from_scratch=True)),
    ):
        torch.manual_seed(0)
        model = InspectionModel(Recipe(source=source.about)).eval()
        load_source(model, source)
        with torch.inference_mode():
            maps = [model.features(batch.pictures) for batch in batches]
        rows = [torch.cat([torch.cat([m.mean((2, 3)), m.amax((2, 3))], 1) for m in some], 1) for some in maps]
        table = torch.cat(rows).numpy()
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000)).fit(table[:256], labels[:256])
        scores[name] = roc_auc_score(labels[256:], probe.predict_proba(table[256:])[:, 1])
    assert scores["starter"] > scores["random"] + 0.1, scores

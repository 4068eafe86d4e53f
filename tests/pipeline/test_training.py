"""Trainings from the first step to the last, on small pictures."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import cv2
import lightning
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from deploy.errors import RunError
from pipeline.data.manifest import Manifest
from pipeline.data.pictures import Pictures
from pipeline.data.prepare import prepare
from pipeline.training import frozen
from pipeline.training.averaging import LearnedAverage
from pipeline.training.frozen import frozen_maps
from pipeline.training.loaders import build_loaders
from pipeline.training.module import TrainingModule
from pipeline.training.recipe import Recipe, Strategy, parse_minutes, resolve_recipe
from pipeline.training.run import load_run
from pipeline.training.train import fit, start_model, train
from pipeline.training.weights import Source, find_source

BACKBONE = "mobilenetv3_small_050"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 parts in two views; the defective ones have a white spot, and a mask of it."""
    root = tmp_path_factory.mktemp("parts") / "discs"
    rows = ["file,group"]
    random = np.random.default_rng(0)
    for part in range(30):
        for view in range(2):
            picture = random.integers(60, 120, (72, 72, 3), np.uint8)
            cv2.circle(picture, (36, 36), 28, (90, 100, 110), -1)
            folder = root / ("good" if part % 2 else "defective/spot")
            if not part % 2:
                place = tuple(int(value) for value in random.integers(22, 50, 2))
                cv2.circle(picture, place, 5, (250, 250, 250), -1)
                mask = np.zeros((72, 72), np.uint8)
                cv2.circle(mask, place, 5, 255, -1)
                (root / "masks/spot").mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(root / f"masks/spot/{part}_{view}.png"), mask)
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{part}_{view}.png"), picture)
            rows.append(f"{folder.relative_to(root).as_posix()}/{part}_{view}.png,{part}")
    (root / "groups.csv").write_text("\n".join(rows))
    return root


@pytest.fixture(scope="module")
def manifest(parts: Path) -> Manifest:
    return prepare(parts)


@pytest.fixture(scope="module")
def source() -> Source:
    """Random values, but told to be somebody's: what is frozen stays as they are."""
    torch.manual_seed(1)
    bare = find_source(BACKBONE, from_scratch=True)
    about = bare.about.model_copy(update={"origin": "a file"})
    model = start_model(Recipe(backbone=BACKBONE, height=64, width=64, source=about), Source(about, None))
    return Source(about, {name: value.clone() for name, value in model.backbone.state_dict().items()})


def small(source: Source, strategy: str = "full", **changes: Any) -> Recipe:
    told = {"epochs": 3, "head_epochs": 1, "batch_size": 8, **changes}
    return resolve_recipe(strategy=strategy, backbone=BACKBONE, height=64, width=64, source=source.about.model_dump(), **told)


def history(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "history.csv").read_text().splitlines()))


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_every_strategy_trains_what_it_says(strategy: str, manifest: Manifest, source: Source, tmp_path: Path) -> None:
    recipe = small(source, strategy, stages=1)
    model = start_model(recipe, source)
    names = list(model.state_dict())
    fit(model, manifest, recipe, tmp_path)
    assert list(model.state_dict()) == names  # no trace of what helped to train it
    assert not model.training
    assert source.tensors is not None
    after = model.backbone.state_dict()  # averaging rounds what stays
    changed = {name for name, value in after.items() if not torch.allclose(value, source.tensors[name], rtol=1e-5, atol=1e-8)}
    assert not any("running" in name for name in changed)
    if strategy == "feature_extraction":
        assert not changed
    elif strategy == "fine_tune":
        assert {name.split(".")[1] for name in changed} == {"5"}
    elif strategy == "lora":
        assert changed
        assert all(source.tensors[name].ndim == 4 for name in changed)
    else:
        assert any(name.startswith("conv_stem") for name in changed)
    rows = history(tmp_path)
    assert len(rows) == recipe.epochs
    assert rows[0]["phase"] == "head"
    assert all(float(row["pictures_per_second"]) > 0 for row in rows)
    assert list((tmp_path / "tensorboard").glob("events.*"))


EVERYTHING: dict[str, Any] = {
    "schedule": "plateau",
    "layer_decay": 0.7,
    "drop_path": 0.1,
    "focal_gamma": 2.0,
    "balance": "sampling",
    "mixup": 0.2,
    "cutmix": 1.0,
    "heatmap_stride": 4,
    "head_width": 16,
    "top_share": 0.05,
    "steps_per_epoch": 6,
    "augmentation": {"right_angles": True, "gamma": 0.3, "blur": 1.0, "noise": 5.0, "cutout": 0.5, "cut_paste": 0.5},
}


@pytest.mark.parametrize("changes", [{}, EVERYTHING, {"head": "pooled", "pooling": "avgmax"}])
def test_the_same_seed_gives_the_same_network(
    changes: dict[str, Any], manifest: Manifest, source: Source, tmp_path: Path
) -> None:
    values = []
    for attempt, seed in enumerate((0, 0, 1)):
        recipe = small(source, epochs=2, seed=seed, **changes)
        model = start_model(recipe, source)
        fit(model, manifest, recipe, tmp_path / str(attempt))
        values.append(torch.cat([one.flatten().float() for one in model.state_dict().values()]))
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])


def test_maps_are_computed_once(manifest: Manifest, source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path))
    recipe = small(source, "feature_extraction")
    model = start_model(recipe, source).eval()
    held = manifest.split("validation")
    first = frozen_maps(model, held, recipe, mirror=False)
    (kept,) = (tmp_path / "maps-2").iterdir()
    number = kept / "00.npy"
    written = number.stat().st_mtime_ns

    again = frozen_maps(model, held, recipe, mirror=False)
    assert number.stat().st_mtime_ns == written
    everything = list(range(len(held)))
    for one, other in zip(first[everything].picture, again[everything].picture, strict=True):
        assert torch.equal(one, other)
    direct = model.answer([maps.float() for maps in first[everything].picture])[0]
    pictures = torch.stack([item.picture for item in map(Pictures(held, recipe.preprocessing()).__getitem__, everything)])
    torch.testing.assert_close(direct, model(pictures)[0], atol=2e-2, rtol=2e-2)  # kept in half precision

    whole, values = number.read_bytes(), first[everything].picture[0]
    number.unlink()  # whoever reads it still may
    number.write_bytes(whole[:200])  # torn by a power cut
    mended = frozen_maps(model, held, recipe, mirror=False)
    assert torch.equal(mended[everything].picture[0], values)
    assert number.stat().st_size > 200  # and kept

    with torch.no_grad():  # other weights, other maps
        next(model.backbone.parameters()).add_(1)
    other = frozen_maps(model, held, recipe, mirror=False)
    assert not torch.equal(other[everything].picture[0], values)


def test_mirrored_maps_take_their_truth_along(manifest: Manifest, source: Source) -> None:
    recipe = small(source, "feature_extraction")
    maps = frozen_maps(start_model(recipe, source).eval(), manifest.split("train"), recipe, mirror=True)
    assert list(maps.mirrored) == [-1, -2]
    maps.maps = [maps.target.unsqueeze(1).numpy().astype(np.float16)]
    torch.manual_seed(0)
    for _ in range(5):
        batch = maps[[0, 5, 9]]
        assert torch.equal(batch.picture[0].squeeze(1), batch.mask)


def test_the_clock_ends_a_training(manifest: Manifest, source: Source, tmp_path: Path) -> None:
    recipe = small(source, epochs=500, budget=0.05)
    model = start_model(recipe, source)
    fit(model, manifest, recipe, tmp_path)
    epochs = len(history(tmp_path))
    assert 1 <= epochs < 500


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90s", 1.5), ("10m", 10), ("1.5h", 90), ("5", 5), ("7", 7), ("2 min", 2), ("2 hours", 120)],
)
def test_budgets_are_read_as_people_write_them(text: str, minutes: float) -> None:
    assert parse_minutes(text) == pytest.approx(minutes)


@pytest.mark.parametrize("text", ["", "soon", "-1m", "-3m", "0", "0s", "5d", "10x"])
def test_other_budgets_are_refused(text: str) -> None:
    with pytest.raises(RunError, match=r"expected a time.*such as 90s"):
        parse_minutes(text)


def test_a_light_network_learns_from_a_heavier_run(manifest: Manifest, source: Source, tmp_path: Path) -> None:
    heavy = train(manifest, small(source, epochs=2), source, tmp_path / "runs")
    recipe = small(source, epochs=2, teacher=str(heavy)).model_copy(update={"height": 96})
    model = start_model(recipe, source)
    fit(model, manifest, recipe, tmp_path / "taught")
    alone = start_model(recipe, source)
    fit(alone, manifest, recipe.model_copy(update={"teacher": None}), tmp_path / "alone")
    assert any(
        not torch.equal(one, other) for one, other in zip(model.state_dict().values(), alone.state_dict().values(), strict=True)
    )

    tested = {sample.path for sample in manifest.split("test")}
    swapped = Manifest(
        manifest.dataset,
        tuple(
            type(sample)(**{**sample.__dict__, "split": "train" if sample.path in tested else "test"})
            for sample in manifest.samples
        ),
    )
    refused = r"learned from \d+ pictures of groups that are tested on here"
    with pytest.raises(RunError, match=f"the teacher: .*{refused}"):
        train(swapped, recipe, source, tmp_path / "leaking")
    heir = find_source(BACKBONE, heavy / "weights.safetensors")
    with pytest.raises(RunError, match=f"the source weights: .*{refused}"):
        train(swapped, small(heir), heir, tmp_path / "leaking")
    assert not (tmp_path / "leaking").exists()


@pytest.fixture(scope="module")
def torchrun(parts: Path, source: Source, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The same training by one process and by two."""
    runs = {}
    folder = tmp_path_factory.mktemp("distributed")
    command = [str(Path(sys.executable).with_name("pipeline")), "train", str(parts), "--backbone", BACKBONE, "--from-scratch"]
    (folder / "recipe.yaml").write_text("batch_size: 8\n")
    for count in (1, 2):
        out = folder / str(count)
        told = [*command, "--input-size", "64", "--epochs", "4", "--recipe", str(folder / "recipe.yaml"), "--out", str(out)]
        start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
        done = subprocess.run(
            [*(start if count > 1 else [sys.executable]), *told],
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("epoch   1/4") == 1  # one of them talks
        (runs[count],) = out.iterdir()
    return runs


def test_two_processes_train_as_one_does(torchrun: dict[int, Path]) -> None:
    one, two = load_run(torchrun[1]), load_run(torchrun[2])
    assert one.manifest.sha256() == two.manifest.sha256()
    histories = [history(run.path) for run in (one, two)]
    assert [row["epoch"] for row in histories[0]] == [row["epoch"] for row in histories[1]] == ["1", "2", "3", "4"]
    for alone, shared in zip(*histories, strict=True):
        assert float(shared["train_loss"]) == pytest.approx(float(alone["train_loss"]), rel=0.5)
    figures = [json.loads((run.path / "metrics.json").read_text()) for run in (one, two)]
    assert figures[0]["pictures"] == figures[1]["pictures"]
    assert figures[0]["auroc"]["value"] == pytest.approx(figures[1]["auroc"]["value"], abs=0.25)
    assert {file.name for file in one.path.rglob("*") if "events" not in file.name} == {
        file.name for file in two.path.rglob("*") if "events" not in file.name
    }
    assert len(list(two.path.rglob("events.*"))) == 1
    assert all(torch.isfinite(value).all() for value in load_file(two.weights).values())


def test_a_full_disk_is_told_before_it_kills(
    manifest: Manifest, source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path))
    monkeypatch.setattr(frozen, "SPARE_BYTES", 1 << 60)  # no disk has that
    recipe = small(source, "feature_extraction")
    with pytest.raises(RunError, match=r"cannot be kept in .*maps-2 \(No space left on device\); make room"):
        frozen_maps(start_model(recipe, source).eval(), manifest.split("validation"), recipe, mirror=False)
    assert list((tmp_path / "maps-2").iterdir()) == []


@pytest.mark.filterwarnings("ignore:.*(val_dataloader|does not have many workers|treespec).*")
def test_the_average_is_of_all_steps_in_every_phase(manifest: Manifest, source: Source, tmp_path: Path) -> None:
    """Followed by hand, over a phase with a frozen backbone and one without."""
    recipe = small(source, averaging=0.9, epochs=2, head_epochs=1, schedule="cosine")
    model = start_model(recipe, source)
    by_hand: dict[str, torch.Tensor] = {}

    class Follow(lightning.Callback):
        def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: object) -> None:
            for name, value in pl_module.state_dict().items():
                if value.is_floating_point():
                    before = by_hand.get(name, value)
                    by_hand[name] = 0.9 * before + 0.1 * value

    training, _ = build_loaders(model, manifest, recipe)
    module = TrainingModule(model, recipe, 1.0, len(training))
    average = LearnedAverage(0.9)
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        callbacks=[Follow(), average],
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, training)
    frozen = [name for name in by_hand if "backbone" in name]
    assert frozen
    for name, value in module.state_dict().items():
        if value.is_floating_point() and not name.startswith(("auroc", "average", "validation")):
            assert torch.allclose(value, by_hand[name], atol=1e-5), name

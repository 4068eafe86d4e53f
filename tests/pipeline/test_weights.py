from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from deploy.errors import RunError, WeightsError
from pipeline.training.model import InspectionModel
from pipeline.training.recipe import FOLDER_VARIABLE, STARTER_ORIGIN, Recipe, read_recipe, resolve_recipe, write_recipe
from pipeline.training.run import save_model
from pipeline.training.weights import find_source, load_source, resolve_start

SMALL = "mobilenetv3_small_050"


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)


def weights_of(backbone: str, file: Path, metadata: dict[str, str] | None = None) -> Path:
    torch.manual_seed(1)
    save_file(timm.create_model(backbone, pretrained=False).state_dict(), file, metadata)
    return file


def model_with(backbone: str, file: Path | None) -> InspectionModel:
    source = find_source(backbone, file, from_scratch=file is None)
    model = InspectionModel(Recipe(backbone=backbone, source=source.about, height=64, width=64))
    load_source(model, source)
    return model


def stem(backbone: torch.nn.Module) -> torch.Tensor:
    weight: torch.Tensor = backbone.state_dict()["conv_stem.weight"]
    return weight


def test_unknown_backbone_offers_the_nearest() -> None:
    with pytest.raises(WeightsError, match=r"no backbone is called 'mobilenet_v3_smal'; nearest: .*mobilenet"):
        find_source("mobilenet_v3_smal")


def test_nothing_found_is_never_silently_random() -> None:
    with pytest.raises(WeightsError, match=r"looked at INSPECTOR_WEIGHTS \(not set\), the timm hub .*--from-scratch"):
        find_source(SMALL)


def test_file_comes_before_folder_before_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, in_folder = weights_of(SMALL, tmp_path / "mine.safetensors"), weights_of(SMALL, tmp_path / f"{SMALL}.safetensors")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert find_source(SMALL, named).about.origin == str(named)
    assert find_source(SMALL).about.origin == str(in_folder)
    in_folder.unlink()
    with pytest.raises(WeightsError, match=rf"{SMALL}.safetensors \(no such file\)"):
        find_source(SMALL)


def test_preprocessing_comes_from_the_file(tmp_path: Path) -> None:
    told = find_source(
        SMALL, weights_of(SMALL, tmp_path / "a.safetensors", {"mean": "0.5", "std": "0.25", "padding": "same (TF)"})
    )
    assert told.about.mean == (0.5, 0.5, 0.5)
    assert told.about.std == (0.25, 0.25, 0.25)
    assert told.about.same_padding
    untold = find_source(SMALL, weights_of(SMALL, tmp_path / "b.safetensors"))
    assert untold.about.mean == (0.485, 0.456, 0.406)
    assert not untold.about.same_padding


def test_same_padding_reaches_the_convolutions(tmp_path: Path) -> None:
    file = weights_of("mobilenetv2_100", tmp_path / "m.safetensors", {"padding": "same (TF)"})
    assert any(type(layer).__name__ == "Conv2dSame" for layer in model_with("mobilenetv2_100", file).modules())


def test_source_weights_really_arrive(tmp_path: Path) -> None:
    file = weights_of(SMALL, tmp_path / "w.safetensors")
    loaded, random = model_with(SMALL, file), model_with(SMALL, None)
    torch.manual_seed(1)
    original = timm.create_model(SMALL, pretrained=False)
    assert torch.equal(stem(loaded.backbone), stem(original))
    assert not torch.equal(stem(random.backbone), stem(original))


def test_a_run_is_a_source_too(tmp_path: Path) -> None:
    model = model_with(SMALL, None)
    recipe = Recipe(backbone=SMALL, source=find_source(SMALL, from_scratch=True).about)
    save_model(model, recipe, tmp_path / "weights.safetensors")
    again = model_with(SMALL, tmp_path / "weights.safetensors")
    assert torch.equal(stem(again.backbone), stem(model.backbone))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda folder: weights_of("mobilenetv2_100", folder / "x.safetensors"), "does not fit this backbone"),
        (lambda folder: folder / "absent.safetensors", "does not exist"),
        (lambda folder: _garbage(folder / "g.safetensors"), "no readable safetensors"),
    ],
)
def test_weights_that_do_not_fit(make: Callable[[Path], Path], expected: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=expected):
        model_with(SMALL, make(tmp_path))


def _garbage(file: Path) -> Path:
    file.write_bytes(b"these are not the weights")
    return file


def test_weights_and_from_scratch_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="choose one"):
        find_source(SMALL, tmp_path / "w.safetensors", from_scratch=True)


def test_a_backbone_with_other_strides_is_refused() -> None:
    source = find_source("vit_tiny_patch16_224", from_scratch=True)
    with pytest.raises(WeightsError, match="choose a MobileNet or EfficientNet"):
        InspectionModel(Recipe(backbone="vit_tiny_patch16_224", source=source.about))


@pytest.mark.parametrize("name", ["convnext_atto", "mobilenetv3_small_100.no_such_tag"])
def test_other_families_and_tags_get_one_sentence(name: str) -> None:
    with pytest.raises(WeightsError):
        InspectionModel(Recipe(backbone=name, source=find_source(name, from_scratch=True).about))


def test_few_epochs_still_have_a_second_stage(tmp_path: Path) -> None:
    assert resolve_recipe(epochs=1).head_epochs == 0
    (tmp_path / "r.yaml").write_text("head_epochs: 20\n")
    assert resolve_recipe(tmp_path / "r.yaml", epochs=40).head_epochs == 20
    with pytest.raises(RunError, match=r"head_epochs \(20\) must be below epochs"):
        resolve_recipe(tmp_path / "r.yaml")


def test_recipe_round_trip(tmp_path: Path) -> None:
    recipe = Recipe(backbone=SMALL, source=find_source(SMALL, from_scratch=True).about, epochs=3)
    write_recipe(recipe, tmp_path / "recipe.yaml")
    assert read_recipe(tmp_path / "recipe.yaml") == recipe
    assert recipe.preprocessing().pad_bgr == (104, 116, 124)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"height": 100}, "multiple of 32"),
        ({"epochs": 2, "head_epochs": 2}, "head_epochs"),
        ({"head": "wide"}, "localising"),
        ({"epochs": 0}, "epochs"),
    ],
)
def test_wrong_recipes_name_the_key(overrides: dict[str, Any], expected: str) -> None:
    with pytest.raises(RunError, match=expected):
        resolve_recipe(**overrides)


def test_a_misspelt_key_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("epoch: 3\n")
    with pytest.raises(RunError, match="epoch"):
        resolve_recipe(tmp_path / "r.yaml")


def test_from_scratch_has_no_features_to_protect(tmp_path: Path) -> None:
    assert resolve_recipe(from_scratch=True).head_epochs == 0
    (tmp_path / "r.yaml").write_text("head_epochs: 1\n")
    assert resolve_recipe(tmp_path / "r.yaml", from_scratch=True).head_epochs == 1
    assert resolve_recipe().head_epochs > 0


def test_the_starter_is_the_last_resort_and_said_aloud(capsys: pytest.CaptureFixture[str]) -> None:
    recipe, source = resolve_start(height=64, width=64)
    said = capsys.readouterr().out
    assert "taking the starter weights" in said
    assert "INSPECTOR_WEIGHTS (not set)" in said
    assert source.about.origin == STARTER_ORIGIN
    model = InspectionModel(recipe.model_copy(update={"source": source.about}))
    load_source(model, source)
    assert all(value.dtype == torch.float32 for value in model.backbone.state_dict().values() if value.is_floating_point())
    # It teaches little: the network learns at the rates of one from scratch, and its norms learn too.
    assert recipe.backbone_rate == resolve_recipe(from_scratch=True).backbone_rate
    assert recipe.model_copy(update={"source": source.about}).trains_norms()

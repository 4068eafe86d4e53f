"""Which layers learn, and when."""

from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.layers.drop import DropPath

from deploy.errors import RunError
from pipeline.training.lora import add_lora, is_addition, merge_lora
from pipeline.training.model import InspectionModel
from pipeline.training.module import TrainingModule
from pipeline.training.recipe import Recipe, Strategy, resolve_recipe
from pipeline.training.strategies import backbone_stages, parameter_groups, phase_at, plan
from pipeline.training.weights import find_source

SOURCE = find_source("tf_mobilenetv3_small_100", from_scratch=True).about.model_copy(update={"origin": "a file"})


def recipe(strategy: str, **changes: Any) -> Recipe:
    return resolve_recipe(strategy=strategy, height=64, width=64, source=SOURCE.model_dump(), **changes)


def module(strategy: str, **changes: Any) -> TrainingModule:
    told = recipe(strategy, **changes)
    model = InspectionModel(told)
    if strategy == "lora":
        add_lora(model.backbone, told.lora_rank)
    return TrainingModule(model, told, 1.0, 4)


def learning(trained: TrainingModule, epoch: int) -> set[str]:
    """Names of the backbone's parameters that learn in an epoch."""
    trained.free(phase_at(trained.phases, epoch))
    return {name for name, parameter in trained.model.backbone.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(
    ("backbone", "stages"),
    [("tf_mobilenetv3_small_100", 7), ("mobilenetv2_100", 8), ("tf_efficientnet_lite0", 8), ("mobilenetv4_conv_small", 6)],
)
def test_every_parameter_is_in_one_stage_and_the_stem_comes_first(backbone: str, stages: int) -> None:
    model = InspectionModel(Recipe(backbone=backbone, source=find_source(backbone, from_scratch=True).about))
    found = backbone_stages(model.backbone)
    names = [name for stage in found for name, _ in stage]
    assert len(found) == stages
    assert sorted(names) == sorted(name for name, _ in model.backbone.named_parameters())
    assert found[0][0][0].startswith("conv_stem")
    assert all(name.startswith(f"blocks.{stages - 2}.") for name, _ in found[-1])


@given(st.sampled_from(get_args(Strategy)), st.integers(1, 60), st.integers(0, 10), st.integers(1, 9), st.integers(1, 9))
def test_phases_follow_each_other_and_free_ever_more(strategy: str, epochs: int, head: int, last: int, stages: int) -> None:
    if strategy != "feature_extraction":
        head = min(head, epochs - 1)
    told = recipe(strategy, epochs=epochs, head_epochs=head, stages=last)
    phases = plan(told, stages)
    firsts, frees = [phase.first_epoch for phase in phases], [phase.free for phase in phases]
    assert firsts[0] == 0
    assert firsts == sorted(set(firsts))
    assert frees == sorted(frees)
    assert firsts[-1] < epochs
    expected = {"feature_extraction": 0, "fine_tune": min(last, stages)}.get(strategy, stages)
    assert frees[-1] == expected
    assert all(phase_at(phases, epoch).first_epoch <= epoch for epoch in range(epochs))


def test_what_learns_in_each_phase() -> None:
    fine = module("fine_tune", stages=2, epochs=4, head_epochs=1)
    assert learning(fine, 0) == set()
    assert {name.split(".")[1] for name in learning(fine, 1)} == {"4", "5"}

    progressive = module("progressive", epochs=9, head_epochs=2)
    counts = [len(learning(progressive, epoch)) for epoch in range(9)]
    assert counts[:2] == [0, 0]
    assert counts == sorted(counts)
    assert len(set(counts[2:])) == 7

    full = module("full", epochs=3, head_epochs=1)
    assert learning(full, 0) == set()
    assert learning(full, 2) == {name for name, _ in full.model.backbone.named_parameters()}

    lora = module("lora", epochs=3, head_epochs=1)
    assert learning(lora, 0) == set()
    assert learning(lora, 2)
    assert all(is_addition(name) for name in learning(lora, 2))


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_batch_norms_keep_the_sources_statistics(strategy: str) -> None:
    trained = module(strategy)
    trained.train()
    for phase in trained.phases:
        trained.free(phase)
        norms = [one for one in trained.model.backbone.modules() if isinstance(one, torch.nn.BatchNorm2d)]
        assert norms
        assert not any(one.training for one in norms)
        assert trained.model.head.training


def test_branches_are_dropped_where_the_backbone_learns() -> None:
    trained = module("full", drop_path=0.2)
    dropping = [one for one in trained.model.backbone.modules() if isinstance(one, DropPath)]
    assert dropping
    for phase, on in zip(trained.phases, (False, True), strict=True):
        trained.free(phase)
        assert all(one.training == on for one in dropping)


@pytest.mark.parametrize("strategy", ["feature_extraction", "fine_tune", "lora"])
def test_random_features_are_never_kept(strategy: str) -> None:
    bare = find_source("tf_mobilenetv3_small_100", from_scratch=True).about
    with pytest.raises(RunError, match=f"{strategy} from scratch would keep random features"):
        resolve_recipe(strategy=strategy).started_from(bare)


def test_a_strategy_keeps_its_own_defaults_with_a_weak_source() -> None:
    known, weak = (resolve_recipe(from_scratch=one, strategy="lora") for one in (False, True))
    assert (known.lora_rank, known.head_width) == (weak.lora_rank, weak.head_width)
    quick = resolve_recipe(from_scratch=True, strategy="feature_extraction")
    assert quick.epochs == resolve_recipe(strategy="feature_extraction").epochs


def test_each_stage_learns_at_its_own_rate() -> None:
    told = recipe("full", layer_decay=0.5, learning_rate=0.1, backbone_rate=0.2, weight_decay=0.3)
    model = InspectionModel(told)
    stages = backbone_stages(model.backbone)
    rate = {}
    for group in parameter_groups(stages, model.head, told):
        for parameter in group["params"]:  # type: ignore[attr-defined]
            rate[parameter] = group["lr"], group["weight_decay"]
    assert len(rate) == sum(1 for _ in model.parameters())
    for index, stage in enumerate(stages):
        for name, parameter in stage:
            expected = 0.02 * 0.5 ** (len(stages) - 1 - index)
            assert rate[parameter][0] == pytest.approx(expected)
            assert rate[parameter][1] == (0.3 if parameter.ndim > 1 and not name.endswith(".bias") else 0.0)
    assert all(rate[parameter][0] == 0.1 for parameter in model.head.parameters())


@pytest.mark.parametrize("backbone", ["tf_mobilenetv3_small_100", "mobilenetv2_100", "tf_efficientnet_lite0"])
def test_lora_starts_as_the_source_and_merges_without_a_trace(backbone: str) -> None:
    torch.manual_seed(0)
    model = InspectionModel(Recipe(backbone=backbone, source=find_source(backbone, from_scratch=True).about)).eval()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    pictures = torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8)
    plain = model.features(pictures)
    adapted = add_lora(model.backbone, 2)
    parameters = list(model.backbone.parameters())
    added = sum(one.numel() for one in parameters if one.requires_grad)
    assert added < 0.05 * sum(value.numel() for value in before.values())
    for started, same in zip(plain, model.features(pictures), strict=True):
        torch.testing.assert_close(started, same)
    for one in parameters:
        if one.requires_grad:
            torch.nn.init.normal_(one, std=0.05)
    trained = model.features(pictures)
    assert not torch.allclose(plain[0], trained[0])
    merge_lora(adapted)
    for learned, merged in zip(trained, model.features(pictures), strict=True):
        torch.testing.assert_close(learned, merged, rtol=1e-4, atol=1e-4)
    after = model.backbone.state_dict()
    assert {name: value.shape for name, value in after.items()} == {name: value.shape for name, value in before.items()}
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.endswith("weight") and after[name].ndim == 4 for name in changed)


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_the_rate_warms_up(schedule: str) -> None:
    trained = module("full", epochs=10, head_epochs=2, schedule=schedule, warmup=0.25)
    (optimizer,), schedulers = trained.configure_optimizers()
    full = [group["initial_lr"] for group in optimizer.param_groups]
    share = []
    for _ in range(40):
        share.append(optimizer.param_groups[-1]["lr"] / full[-1])
        optimizer.step()
        schedulers[0]["scheduler"].step()
    assert share[0] < 0.6
    assert max(share) == pytest.approx(1.0)
    if schedule == "cosine":
        assert share[7] == pytest.approx(1.0)  # the head's own phase ends at its full rate
        assert share[8] < 0.2  # the backbone joins gently
        assert share[-1] < 0.05
    else:
        assert share[-1] == pytest.approx(1.0)  # falls only when the score stands still
        plateau = schedulers[1]["scheduler"]
        for _ in range(6):
            plateau.step(0.5)
        assert optimizer.param_groups[-1]["lr"] < 0.5 * full[-1]

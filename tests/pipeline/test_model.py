from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from deploy.engines.onnxruntime import OnnxRuntimeEngine
from pipeline.evaluation.calibration import NONE, Calibration
from pipeline.evaluation.predict import torch_infer
from pipeline.export.graph import write_onnx
from pipeline.training.head import build_head, heatmap_size
from pipeline.training.losses import cell_truth, distillation_loss, mask_target, picture_loss, pixel_loss
from pipeline.training.model import InspectionModel
from pipeline.training.recipe import Recipe
from pipeline.training.weights import find_source

BACKBONES = (
    "mobilenetv2_100",
    "mobilenetv3_small_100",
    "tf_mobilenetv3_small_100",
    "mobilenetv3_large_100",
    "tf_mobilenetv3_large_100",
    "mobilenetv4_conv_small",
    "efficientnet_b0",
    "efficientnet_lite0",
    "tf_efficientnet_lite0",
)


def build(backbone: str, head: str = "localising", height: int = 96, width: int = 64) -> tuple[InspectionModel, Recipe]:
    torch.manual_seed(0)
    source = find_source(backbone, from_scratch=True)
    recipe = Recipe(backbone=backbone, head=head, height=height, width=width, source=source.about)
    model = InspectionModel(recipe)
    for _ in range(2):  # give the batch norms statistics that keep random activations in range
        model(torch.randint(0, 255, (4, 3, height, width), dtype=torch.uint8))
    return model.eval(), recipe


BETA = Calibration(method="beta", low=0.6, high=1.4, offset=-0.3)


@pytest.mark.parametrize(("head", "scale"), [("localising", NONE), ("pooled", BETA)])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_exported_graph_answers_as_the_model(backbone: str, head: str, scale: Calibration, tmp_path: Path) -> None:
    model, recipe = build(backbone, head)
    file = tmp_path / "model.onnx"
    write_onnx(model, scale, recipe.preprocessing(), file)
    engine, infer = OnnxRuntimeEngine(file), torch_infer(model, scale)
    frames = np.random.default_rng(0).integers(0, 255, (3, recipe.height, recipe.width, 3), np.uint8)
    for batch in (frames[:1], frames):
        ours, theirs = engine.infer(batch), infer(batch)
        np.testing.assert_allclose(ours.probability, theirs.probability, atol=1e-5)
        np.testing.assert_allclose(ours.heatmap, theirs.heatmap, atol=1e-4)
    cells = 8 if head == "localising" else 32
    assert ours.heatmap.shape == (3, recipe.height // cells, recipe.width // cells)
    np.testing.assert_allclose(ours.probability.sum(axis=1), 1, atol=1e-6)


def test_the_graph_holds_only_what_every_tensorrt_reads(tmp_path: Path) -> None:
    model, recipe = build("tf_mobilenetv3_small_100")
    write_onnx(model, BETA, recipe.preprocessing(), tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx")
    assert [(domain.domain, domain.version) for domain in graph.opset_import] == [("", 17)]
    operators = {node.op_type for node in graph.graph.node}
    assert operators.isdisjoint({"ScatterND", "NonZero", "Shape", "If", "Loop"})
    (frames,) = graph.graph.input
    shape = frames.type.tensor_type.shape.dim
    assert frames.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [dimension.dim_value for dimension in shape][1:] == [96, 64, 3]
    assert shape[0].dim_param == "n"


def test_colour_order_is_inside_the_graph() -> None:
    model, recipe = build("mobilenetv3_small_050", "pooled")
    frames = np.random.default_rng(1).integers(0, 255, (1, recipe.height, recipe.width, 3), np.uint8)
    rgb = torch.from_numpy(frames[..., ::-1].copy()).permute(0, 3, 1, 2)
    with torch.inference_mode():
        logit, _ = model(rgb)
    assert torch_infer(model, NONE)(frames).defect[0] == pytest.approx(float(logit.sigmoid()), abs=1e-6)


def test_mask_target_keeps_what_is_smaller_than_a_cell() -> None:
    mask = torch.zeros(1, 64, 64)
    mask[0, 17, 40] = 1
    target = mask_target(mask, 8, 8)
    assert target.sum() == 1
    assert target[0, 2, 5] == 1


def test_pixel_loss_ignores_pictures_without_masks() -> None:
    heatmap = torch.randn(2, 8, 8)
    target = torch.zeros(2, 8, 8)
    target[0, 3, 3] = 1
    known = torch.ones(2, 8, 8)
    known[1] = 0
    assert torch.isclose(pixel_loss(heatmap, target, known), pixel_loss(heatmap[:1], target[:1], known[:1]))
    assert pixel_loss(heatmap, target, torch.zeros(2, 8, 8)) == 0


def test_a_cell_is_known_where_a_defect_is_or_all_its_pixels_are() -> None:
    mask, known = torch.zeros(1, 16, 16), torch.ones(1, 16, 16)
    mask[0, 1, 1] = 1
    known[0, 3, 3] = 0  # in the defect's cell
    known[0, 12, 12] = 0  # in a cell without
    target, known_cells = cell_truth(mask, known, 2, 2)
    assert target.tolist() == [[[1, 0], [0, 0]]]
    assert known_cells.tolist() == [[[1, 1], [1, 0]]]


def test_pixel_loss_prefers_the_right_place() -> None:
    target = torch.zeros(1, 8, 8)
    target[0, 3, 3] = 1
    known = torch.ones(1, 8, 8)
    empty = torch.full((1, 8, 8), -6.0)
    right, wrong = empty.clone(), empty.clone()
    right[0, 3, 3], wrong[0, 6, 6] = 6.0, 6.0
    assert pixel_loss(right, target, known) < pixel_loss(empty, target, known) < pixel_loss(wrong, target, known)


def test_class_weight_makes_misses_dearer() -> None:
    logit, label = torch.tensor([0.0]), torch.tensor([1.0])
    assert picture_loss(logit, label, 3.0) == pytest.approx(3 * float(picture_loss(logit, label, 1.0)))


def test_focal_loss_lets_easy_pictures_count_less() -> None:
    easy, hard, label = torch.tensor([4.0]), torch.tensor([-1.0]), torch.tensor([1.0])
    plain = picture_loss(easy, label) / picture_loss(hard, label)
    focal = picture_loss(easy, label, focal_gamma=2.0) / picture_loss(hard, label, focal_gamma=2.0)
    assert focal < plain / 10
    assert torch.isclose(picture_loss(hard, label, focal_gamma=0.0), picture_loss(hard, label))


def test_the_pupil_is_punished_for_not_answering_as_its_teacher() -> None:
    heatmap = torch.randn(2, 4, 4)
    same = distillation_loss(torch.tensor([2.0, -2.0]), heatmap, torch.tensor([2.0, -2.0]), heatmap)
    other = distillation_loss(torch.tensor([-2.0, 2.0]), heatmap, torch.tensor([2.0, -2.0]), heatmap)
    elsewhere = distillation_loss(torch.tensor([2.0, -2.0]), -3 * heatmap, torch.tensor([2.0, -2.0]), heatmap)
    assert same < min(other, elsewhere)
    # Heatmaps of another size say nothing of each other.
    assert distillation_loss(torch.zeros(2), heatmap, torch.zeros(2), torch.zeros(2, 2, 2)) == pytest.approx(0.6931, abs=1e-3)


@pytest.mark.parametrize(("stride", "cells"), [(4, (24, 16)), (8, (12, 8)), (16, (6, 4))])
def test_the_heatmap_has_the_stride_it_is_told(stride: int, cells: tuple[int, int]) -> None:
    source = find_source("mobilenetv3_small_050", from_scratch=True)
    told = Recipe(backbone="mobilenetv3_small_050", heatmap_stride=stride, height=96, width=64, source=source.about)
    _, heatmap = InspectionModel(told).eval()(torch.zeros(1, 3, 96, 64))
    assert heatmap.shape[1:] == cells == heatmap_size(told)


@pytest.mark.parametrize("pooling", ["avg", "max", "avgmax", "top-k"])
def test_small_defects_survive_all_pooling_but_the_average(pooling: str) -> None:
    source = find_source("mobilenetv3_small_050", from_scratch=True)
    told = Recipe(backbone="mobilenetv3_small_050", head="pooled", pooling=pooling, height=320, width=320, source=source.about)
    head = build_head(told, [1, 1, 1], [8, 16, 32]).eval()
    torch.nn.init.ones_(head.classifier.weight)  # type: ignore[union-attr, arg-type]
    torch.nn.init.zeros_(head.classifier.bias)  # type: ignore[union-attr, arg-type]
    features = torch.zeros(1, 1, 10, 10)
    features[0, 0, 3, 3] = 10.0
    logit, _ = head([features, features, features])
    assert float(logit.detach()) == pytest.approx({"avg": 0.1, "max": 10.0, "avgmax": 5.05, "top-k": 1.0}[pooling])

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from deploy.engines.onnxruntime import OnnxRuntimeEngine
from pipeline.evaluation.predict import torch_infer
from pipeline.export.graph import write_onnx
from pipeline.training.losses import mask_target, picture_loss, pixel_loss
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


@pytest.mark.parametrize("head", ["localising", "pooled"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_exported_graph_answers_as_the_model(backbone: str, head: str, tmp_path: Path) -> None:
    model, recipe = build(backbone, head)
    file = tmp_path / "model.onnx"
    write_onnx(model, 1.7, recipe.preprocessing(), file)
    engine, infer = OnnxRuntimeEngine(file), torch_infer(model, 1.7)
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
    write_onnx(model, 1.0, recipe.preprocessing(), tmp_path / "model.onnx")
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
    assert torch_infer(model, 1.0)(frames).defect[0] == pytest.approx(float(logit.sigmoid()), abs=1e-6)


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
    first_only = pixel_loss(heatmap, target, torch.tensor([True, False]))
    assert torch.isclose(first_only, pixel_loss(heatmap[:1], target[:1], torch.tensor([True])))
    assert pixel_loss(heatmap, target, torch.tensor([False, False])) == 0


def test_pixel_loss_prefers_the_right_place() -> None:
    target = torch.zeros(1, 8, 8)
    target[0, 3, 3] = 1
    known = torch.tensor([True])
    empty = torch.full((1, 8, 8), -6.0)
    right, wrong = empty.clone(), empty.clone()
    right[0, 3, 3], wrong[0, 6, 6] = 6.0, 6.0
    assert pixel_loss(right, target, known) < pixel_loss(empty, target, known) < pixel_loss(wrong, target, known)


def test_class_weight_makes_misses_dearer() -> None:
    logit, label = torch.tensor([0.0]), torch.tensor([1.0])
    assert picture_loss(logit, label, 3.0) == pytest.approx(3 * float(picture_loss(logit, label, 1.0)))

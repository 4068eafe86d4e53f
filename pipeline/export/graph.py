"""The whole graph, as every runtime will see it: uint8 BGR in, probabilities and heatmap out."""

import copy
import math
import warnings
from pathlib import Path
from typing import cast

import onnx
import onnxruntime
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.nn.functional import softplus

from deploy.preprocess import Preprocessing
from pipeline.evaluation.calibration import Calibration
from pipeline.training.model import InspectionModel

OPSET = 17
"""TensorRT 8.x misreads the ReduceMean of later ones."""


class InspectionGraph(nn.Module):
    """Colour order, normalisation, backbone, head, calibration and softmax, so that nobody does them again elsewhere."""

    def __init__(self, model: InspectionModel, calibration: Calibration) -> None:
        super().__init__()
        self.model = model
        self.calibration = calibration
        self.register_buffer("bgr_to_rgb", torch.tensor([2, 1, 0]))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Frames N x H x W x 3, uint8, BGR -> probability N x 2 (good, defective), heatmap N x h x w in 0..1."""
        # Cast first: TensorRT takes uint8 into nothing else.
        pictures = frames.float().permute(0, 3, 1, 2).index_select(1, cast(Tensor, self.bgr_to_rgb))
        logit, heatmap = self.model(pictures)
        half = self.calibrated(logit).unsqueeze(1) / 2
        return torch.softmax(torch.cat([-half, half], dim=1), dim=1), heatmap.sigmoid()

    def calibrated(self, logit: Tensor) -> Tensor:
        """See Calibration.apply; only beta scaling needs more than a product and a sum."""
        scale = self.calibration
        if scale.low == scale.high:
            return logit * scale.low + scale.offset
        return scale.high * softplus(logit) - scale.low * softplus(-logit) + scale.offset


def write_onnx(model: InspectionModel, calibration: Calibration, spec: Preprocessing, file: Path) -> None:
    """Write the FP32 graph, dynamic in N only."""
    graph = InspectionGraph(copy.deepcopy(model), calibration).eval()
    example = torch.zeros(2, spec.height, spec.width, 3, dtype=torch.uint8)
    with_fixed_padding(graph, example)
    with warnings.catch_warnings():
        # torch's newer exporter cannot write opset 17, and the older one announces its own retirement.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph,
            (example,),
            str(file),
            input_names=["frames"],
            output_names=["probability", "heatmap"],
            dynamic_axes={name: {0: "n"} for name in ("frames", "probability", "heatmap")},
            opset_version=OPSET,
            dynamo=False,
        )
    fold_constants(file)


def fold_constants(file: Path) -> None:
    """Fold constants and batch norms, in place: TensorRT 8.5 wants pads as constants, quantisation wants plain convolutions."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(file)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(file)
    del graph.opset_import[:]  # onnxruntime names every domain it knows; only the standard one is used
    graph.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    for number, node in enumerate(graph.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    onnx.checker.check_model(graph)
    onnx.save(graph, file)


def with_fixed_padding(graph: nn.Module, example: Tensor) -> None:
    """Replace, in place, convolutions that compute TensorFlow's SAME padding at run time by a constant pad and a convolution.

    The input size is fixed, so the padding is; computed, it would be some twenty shape operations for each such layer.
    """
    sizes: dict[nn.Module, tuple[int, int]] = {}
    same = [module for module in graph.modules() if isinstance(module, Conv2dSame)]

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        sizes[layer] = (inputs[0].shape[-2], inputs[0].shape[-1])

    hooks = [module.register_forward_pre_hook(note) for module in same]
    with torch.inference_mode():
        graph(example)
    for hook in hooks:
        hook.remove()
    for parent in list(graph.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Conv2dSame):
                setattr(parent, name, _padded(child, sizes[child]))


def _padded(layer: Conv2dSame, size: tuple[int, int]) -> nn.Module:
    total = [
        max((math.ceil(side / stride) - 1) * stride + (kernel - 1) * dilation + 1 - side, 0)
        for side, kernel, stride, dilation in zip(size, layer.kernel_size, layer.stride, layer.dilation, strict=True)
    ]
    plain = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        cast(tuple[int, int], layer.kernel_size),
        cast(tuple[int, int], layer.stride),
        dilation=cast(tuple[int, int], layer.dilation),
        groups=layer.groups,
        bias=layer.bias is not None,
    )
    plain.load_state_dict(layer.state_dict())
    top, left = total[0] // 2, total[1] // 2
    return nn.Sequential(nn.ZeroPad2d((left, total[1] - left, top, total[0] - top)), plain)

"""What an engine really computes in: its own inspector is asked, layer by layer."""

import json
import re
from collections import Counter
from typing import Any

from deploy.engines.tensorrt.versions import is_strongly_typed
from deploy.errors import EngineError

WANTED = {"fp32": "FP32", "fp16": "FP16", "int8-qdq": "INT8"}
_TYPES = {"INT8": r"(?<![a-z])int8", "FP16": r"fp16|half", "FP32": r"fp32|float(?!\d|ing)"}
_MOVES = {"Reformat", "Constant", "NoOp", "Shuffle", "Slice"}


def layer_types(trt: Any, engine: Any) -> dict[str, int]:
    """How many computing layers read INT8, FP16 or FP32 (the smallest type of a layer counts); empty where it is not told."""
    told = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        layers = json.loads(told)["Layers"]
    except (ValueError, KeyError, TypeError):
        return {}
    counts: Counter[str] = Counter()
    for layer in layers:
        if not isinstance(layer, dict) or layer.get("LayerType") in _MOVES:
            continue
        read = " ".join(str(one.get("Format/Datatype", "")) for one in layer.get("Inputs") or [] if isinstance(one, dict)).lower()
        found = next((name for name, pattern in _TYPES.items() if re.search(pattern, read)), None)
        if found:
            counts[found] += 1
    return dict(counts)


def compare_types(trt: Any, counts: dict[str, int], precision: str) -> None:
    """Refuse an engine that computes in something else than was asked for.

    A weakly typed network (8.x) may run all in FP32 though INT8 or FP16 was allowed. A strongly typed one keeps the types of its
    graph, and its inspector shows a fused block as one layer by its outer types: there the counts only inform.
    """
    wanted = WANTED[precision]
    if is_strongly_typed(trt) or not counts or (set(counts) == {"FP32"} if precision == "fp32" else counts.get(wanted)):
        return
    found = ", ".join(f"{number} in {name}" for name, number in counts.items())
    raise EngineError(
        f"asked for {precision}, but the layers of the engine that TensorRT {trt.__version__} built run otherwise ({found}); "
        "use a precision that this GPU has kernels for"
    )


def describe(counts: dict[str, int], precision: str) -> str:
    """One clause for the engine's name."""
    if not counts:
        return "types of layers not told"
    return f"{counts.get(WANTED[precision], 0)} of {sum(counts.values())} layers in {WANTED[precision]}"

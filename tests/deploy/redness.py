"""A signed bundle without torch: a tiny graph that takes redness for a defect; and parts with and without a red spot."""

import json
from pathlib import Path

import cv2
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from deploy.bundle import sha256_of
from deploy.bundle_spec import BundleSpec, Data, GateEvidence, Judged, LeftOut, ModelFile, Signature, Source
from deploy.engines.onnxruntime import OnnxRuntimeEngine
from deploy.preprocess import Picture, Preprocessing, letterbox
from deploy.verdict import Thresholds

SIZE = 128


def drawn_part(defective: bool, side: int = 128) -> Picture:
    """A light grey part on a dark belt, side x side pixels; a defective one has a red spot."""
    picture = np.full((side, side, 3), 40, np.uint8)
    margin = side // 6
    picture[margin:-margin, margin:-margin] = 180
    if defective:
        cv2.circle(picture, (side // 2 + side // 8, side // 2), side // 12, (20, 20, 220), cv2.FILLED)
    return picture


def write_bundle(path: Path) -> Path:
    """`redness-1`: below 0.3 GOOD, above 0.6 DEFECTIVE. Needs the package onnx."""
    path.mkdir()
    _write_graph(path / "model.onnx")
    preprocessing = Preprocessing(height=SIZE, width=SIZE, pad_bgr=(40, 40, 40))
    frames = np.stack([letterbox(drawn_part(defective), preprocessing) for defective in (False, True)])
    engine = OnnxRuntimeEngine(path / "model.onnx")
    answer = engine.infer(frames)
    np.savez_compressed(path / "golden.npz", frames=frames, probability=answer.probability)
    (path / "report.html").write_text("<title>redness</title>\n", encoding="utf-8")
    gate = GateEvidence(pictures=2, auroc=1.0, auroc_fp32=1.0, agreement=1.0, escapes=0, escapes_fp32=0, max_difference=0.0)
    judged = Judged(thresholds=Thresholds(accept=0.3, reject=0.6), gate=gate)
    spec = BundleSpec(
        name="redness",
        version=1,
        created="2026-11-20T12:00:00+00:00",
        classes=["good", "defective"],
        preprocessing=preprocessing,
        models={"fp32": ModelFile(file="model.onnx", engines={"onnxruntime": judged}, golden=answer.defect.tolist())},
        left_out={"fp16": LeftOut(reason="no faster here")},
        source=Source(backbone="none", head="redness", origin="by hand", weights_sha256="0" * 64),
        data=Data(name="drawn", manifest_sha256="0" * 64, pictures={"test": 2}, groups={"test": 2}),
        calibration=None,
        software={},
        files={name: sha256_of(path / name) for name in ("model.onnx", "golden.npz", "report.html")},
    )
    sign(path, json.dumps(spec.model_dump(), indent=2).encode())
    return path


def sign(path: Path, raw: bytes) -> str:
    """Write this bundle.json, signed with a new key; its public half."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    (path / "bundle.json").write_bytes(raw)
    (path / "signature").write_bytes(Signature(public_key=public, signature=key.sign(raw).hex()).content())
    return public


def _write_graph(path: Path) -> None:
    """The heatmap is 4 x (red - green) averaged over 8 x 8 pixels, at most 1; the defect probability is its maximum."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    cells = SIZE // 8
    constants = {"red": 2, "green": 1, "gain": np.float32(4 / 255), "zero": np.float32(0), "one": np.float32(1), "axis": [1]}
    nodes = [
        helper.make_node("Cast", ["frames"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["pixels", "red"], ["r"], axis=3),
        helper.make_node("Gather", ["pixels", "green"], ["g"], axis=3),
        helper.make_node("Sub", ["r", "g"], ["redder"]),
        helper.make_node("Mul", ["redder", "gain"], ["gained"]),
        helper.make_node("Unsqueeze", ["gained", "axis"], ["plane"]),
        helper.make_node("AveragePool", ["plane"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Clip", ["pooled", "zero", "one"], ["clipped"]),
        helper.make_node("Squeeze", ["clipped", "axis"], ["heatmap"]),
        helper.make_node("ReduceMax", ["heatmap"], ["defect"], axes=[1, 2], keepdims=0),
        helper.make_node("Unsqueeze", ["defect", "axis"], ["defects"]),
        helper.make_node("Sub", ["one", "defects"], ["goods"]),
        helper.make_node("Concat", ["goods", "defects"], ["probability"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "redness",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", SIZE, SIZE, 3])],
        [
            helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["N", 2]),
            helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, ["N", cells, cells]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())

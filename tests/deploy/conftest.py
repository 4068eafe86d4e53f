"""A real bundle without torch: a tiny graph that takes redness for a defect, signed with a key made here."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from deploy.bundle import (
    Bundle,
    BundleSpec,
    Data,
    GateEvidence,
    Judged,
    LeftOut,
    ModelFile,
    Signature,
    Source,
    load_bundle,
    sha256_of,
)
from deploy.engines.onnxruntime import OnnxRuntimeEngine
from deploy.preprocess import Picture, Preprocessing, letterbox
from deploy.verdict import Thresholds

SIZE = 128
DrawPart = Callable[..., Picture]
BeltFrames = Callable[..., list[Picture]]


@pytest.fixture(scope="session")
def draw_part() -> DrawPart:
    """A light grey part on a dark belt, side x side; a defective one has a red spot."""

    def draw(defective: bool, side: int = 128) -> Picture:
        picture = np.full((side, side, 3), 40, np.uint8)
        margin = side // 6
        picture[margin:-margin, margin:-margin] = 180
        if defective:
            cv2.circle(picture, (side // 2 + side // 8, side // 2), side // 12, (20, 20, 220), cv2.FILLED)
        return picture

    return draw


@pytest.fixture(scope="session")
def belt_frames(draw_part: DrawPart) -> BeltFrames:
    """Frames of 480 x 240 with parts of 80 px travelling right at 12 px a frame; `offsets` is how far to the left each begins."""

    def draw(offsets: list[int], defective: set[int], speed: int = 12) -> list[Picture]:
        rng = np.random.default_rng(0)
        frames = []
        for step in range((480 + max(offsets, default=0)) // speed + 2):
            wide = np.full((240, 480 + 240, 3), 40.0)
            for index, offset in enumerate(offsets):
                left = 120 - offset + speed * step
                if 0 < left < 600:
                    wide[80:160, left : left + 80] = draw_part(index in defective, 120)[20:-20, 20:-20]
            drift = 1 + 0.1 * np.sin(step / 20)  # the lamp
            noisy = wide[:, 120:-120] * drift + rng.normal(0, 3, (240, 480, 3))
            frames.append(np.clip(noisy, 0, 255).astype(np.uint8))
        return frames

    return draw


@pytest.fixture(scope="session")
def write_video() -> Callable[[Path, list[Picture]], Path]:
    """An AVI at 25 frames per second."""

    def write(path: Path, frames: list[Picture]) -> Path:
        size = (frames[0].shape[1], frames[0].shape[0])
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, size)
        assert writer.isOpened()
        for frame in frames:
            writer.write(frame)
        writer.release()
        return path

    return write


class NetworkCamera:
    """Serves one picture as an MJPEG stream on loopback, 25 times a second, and can be unplugged and frozen."""

    def __init__(self, picture: Picture) -> None:
        self._jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
        self._port = 0
        self._frozen = threading.Event()
        self.plug_in()
        self.address = f"http://127.0.0.1:{self._port}/belt"

    def plug_in(self) -> None:
        camera, unplugged = self, threading.Event()

        class Stream(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(camera._jpeg)}\r\n\r\n"
                try:
                    while not unplugged.wait(0.04):
                        if not camera._frozen.is_set():
                            self.wfile.write(head.encode() + camera._jpeg + b"\r\n")
                except OSError:  # the reader has gone
                    pass

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._unplugged = unplugged
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Stream)
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def unplug(self) -> None:
        self._unplugged.set()
        self._server.shutdown()
        self._server.server_close()

    def freeze(self) -> None:
        self._frozen.set()


@pytest.fixture
def network_camera(draw_part: DrawPart) -> Iterator[NetworkCamera]:
    camera = NetworkCamera(draw_part(True))
    yield camera
    camera.unplug()


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory, draw_part: DrawPart) -> Path:
    """`redness-1`: below 0.3 GOOD, above 0.6 DEFECTIVE. Tests that change something make a copy."""
    pytest.importorskip("onnx", reason="the tiny graph of the test bundle is made with onnx")
    path = tmp_path_factory.mktemp("bundles") / "redness-1"
    path.mkdir()
    _write_graph(path / "model.onnx")
    preprocessing = Preprocessing(height=SIZE, width=SIZE, pad_bgr=(40, 40, 40))
    frames = np.stack([letterbox(draw_part(defective), preprocessing) for defective in (False, True)])
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
    _sign(path, json.dumps(spec.model_dump(), indent=2).encode(), Ed25519PrivateKey.generate())
    return path


@pytest.fixture(scope="session")
def bundle(bundle_path: Path) -> Bundle:
    return load_bundle(bundle_path)


def _sign(path: Path, raw: bytes, key: Ed25519PrivateKey) -> None:
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    (path / "bundle.json").write_bytes(raw)
    signature = Signature(public_key=public, signature=key.sign(raw).hex())
    (path / "signature").write_text(signature.model_dump_json(), encoding="utf-8")


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

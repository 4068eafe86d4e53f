"""What tests of the edge need: a bundle, pictures and films of parts, a network camera."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from deploy.bundle import Bundle, load_bundle
from deploy.preprocess import Picture
from tests.deploy.redness import drawn_part, write_bundle

DrawPart = Callable[..., Picture]
BeltFrames = Callable[..., list[Picture]]


@pytest.fixture(scope="session")
def draw_part() -> DrawPart:
    """A light grey part on a dark belt, side x side; a defective one has a red spot."""
    return drawn_part


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
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`redness-1`: below 0.3 GOOD, above 0.6 DEFECTIVE. Tests that change something make a copy."""
    pytest.importorskip("onnx", reason="the tiny graph of the test bundle is made with onnx")
    return write_bundle(tmp_path_factory.mktemp("bundles") / "redness-1")


@pytest.fixture(scope="session")
def bundle(bundle_path: Path) -> Bundle:
    return load_bundle(bundle_path)

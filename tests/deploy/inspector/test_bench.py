"""`inspector bench --source`, as a user gives it; and the speed, start and memory that the inspector is meant to have."""

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console

import deploy
from deploy.bench import process
from deploy.bench.command import bench_source
from deploy.bundle import sha256_of
from deploy.engines.onnxruntime import OnnxRuntimeEngine
from deploy.errors import InspectionError
from deploy.installation.machine import cores
from deploy.preprocess import Picture
from tests.deploy.commands import give
from tests.deploy.installation.conftest import sign

DrawPart = Callable[..., Picture]
WriteVideo = Callable[[Path, list[Picture]], Path]
MB_ALLOWED = 300
SECONDS_ALLOWED = 2.0
"""On a machine with nothing else to do; where several processes share a core, each is as much slower."""
TRIES = 3
"""Of which the best counts: the machine may be doing something else."""


@pytest.fixture(autouse=True)
def found_by_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that is measured needs to find the inspector from everywhere."""
    monkeypatch.setenv("PYTHONPATH", str(Path(deploy.__file__).parents[1]))


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory is not what is looked at."""
    monkeypatch.setattr(process, "WATCHED_S", 0.5)


def measured(folder: Path, bundle: Path, source: object, seconds: float) -> dict[str, Any]:
    """As `inspector bench` does it."""
    bench_source(bundle, str(source), None, seconds, folder / "figures" / "bench.json", Console(file=io.StringIO()))
    return figures(folder)


def figures(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "figures" / "bench.json").read_text(encoding="utf-8"))
    for name in ("raw", "whole"):
        loop = content[name]
        assert loop["verdicts"] > 0
        assert loop["per_second"] > 0
        assert 0 < loop["latency_ms"]["p50"] <= loop["latency_ms"]["p99"]
        assert all(0 <= part["p50"] <= part["p99"] for part in loop["parts_ms"].values())
    assert content["engine_per_second"] > 0
    assert 0 < content["started"]["first_verdict_s"] < 60
    assert 0 < content["started"]["steady_mb"] <= content["started"]["peak_mb"]
    return content


def test_a_video_is_replayed_without_drops(
    bundle_path: Path, tmp_path: Path, draw_part: DrawPart, write_video: WriteVideo
) -> None:
    write_video(tmp_path / "belt.avi", [draw_part(index % 2 == 0, 240) for index in range(12)])
    words = "--source", "belt.avi", "--seconds", "2", "--json", "figures/bench.json"
    done = give("bench", bundle_path, *words, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    found = figures(tmp_path)
    assert (found["bundle"], found["version"], found["precision"]) == ("redness", 1, "fp32")
    assert (found["live"], found["input"], found["picture"]) == (False, [128, 128], [240, 240])
    for name in ("raw", "whole"):
        assert set(found[name]["parts_ms"]) == {"read", "prepare", "infer", "decide", "record"}
        assert (found[name]["dropped"], found[name]["faulted"]) == (0, 0)
        assert 0 < found[name]["of_engine"] < 2
    assert found["whole"]["verdicts"] > 12, "it begins again at its end"
    assert 0 < found["of_reading"] < 2
    assert found["camera_per_second"] is None
    for word in ("bare engine", "loop, raw pictures", "loop, source", "only reading", "first verdict after", "MB"):
        assert word in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["belt.avi", "figures"], "its own record is thrown away"


@pytest.mark.usefixtures("short")
def test_a_folder_with_a_picture_that_cannot_be_read(bundle_path: Path, tmp_path: Path, draw_part: DrawPart) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"")
    cv2.imwrite(str(folder / "b.png"), draw_part(True, 200))
    found = measured(tmp_path, bundle_path, folder, 1)
    assert found["whole"]["faulted"] > 0


@pytest.mark.usefixtures("short")
def test_a_live_camera_has_its_rate_and_the_age_of_its_frames(bundle_path: Path, tmp_path: Path, network_camera: Any) -> None:
    found = measured(tmp_path, bundle_path, network_camera.address, 4)
    assert found["live"]
    assert 2 < found["camera_per_second"] < 30
    assert (found["reading_per_second"], found["of_reading"]) == (None, None)
    assert set(found["whole"]["parts_ms"]) == {"prepare", "infer", "decide", "record"}
    assert found["whole"]["per_second"] < 1.5 * found["camera_per_second"], "no frame twice"


@pytest.mark.parametrize(
    ("bundle", "source", "key", "message"),
    [
        (None, "nowhere.mp4", None, "nowhere.mp4: no such file or folder"),
        (None, "empty", None, "found no pictures in this folder"),
        (None, "broken", None, "can be read"),
        ("nothing", "broken", None, "no bundle.json found"),
        (None, "broken", "0" * 64, "was signed by"),
    ],
)
def test_what_cannot_be_measured_is_said(
    bundle: str | None, source: str, key: str | None, message: str, bundle_path: Path, tmp_path: Path
) -> None:
    for name in ("empty", "broken"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no picture")
    path, figures = tmp_path / bundle if bundle else bundle_path, tmp_path / "bench.json"
    with pytest.raises(InspectionError, match=message):
        bench_source(path, str(tmp_path / source), key, 1, figures, Console(file=io.StringIO()))
    assert not figures.exists()


def test_an_option_that_makes_no_sense_with_a_source_is_refused(bundle_path: Path, tmp_path: Path) -> None:
    done = give("bench", bundle_path, "--source", "belt.avi", "--threads", "1", cwd=tmp_path)
    assert done.returncode == 2
    assert "leave it out with --source" in " ".join(done.stderr.replace("│", " ").split())


@pytest.fixture(scope="module")
def default_bundle(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The default network with its random first weights, which is as fast as a trained one, by the side of its input."""
    pytest.importorskip("torch", reason="the default network is built with torch; install the extra `train`")

    def make(side: int) -> Path:
        import torch

        from pipeline.evaluation.calibration import NONE
        from pipeline.export.graph import write_onnx
        from pipeline.training.model import InspectionModel
        from pipeline.training.recipe import Recipe
        from pipeline.training.weights import find_source

        path = tmp_path_factory.mktemp("default") / f"default-{side}"
        shutil.copytree(bundle_path, path)
        torch.manual_seed(0)
        backbone = Recipe.model_fields["backbone"].default
        source = find_source(backbone, from_scratch=True).about
        recipe = Recipe(backbone=backbone, height=side, width=side, source=source)
        write_onnx(InspectionModel(recipe).eval(), NONE, recipe.preprocessing(), path / "model.onnx")
        frames = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), np.uint8)
        answer = OnnxRuntimeEngine(path / "model.onnx").infer(frames)
        np.savez_compressed(path / "golden.npz", frames=frames, probability=answer.probability)
        spec = json.loads((path / "bundle.json").read_text())
        spec["preprocessing"] = recipe.preprocessing().model_dump()
        spec["models"]["fp32"]["golden"] = answer.defect.tolist()
        spec["files"] |= {name: sha256_of(path / name) for name in ("model.onnx", "golden.npz")}
        sign(path, json.dumps(spec, indent=2).encode())
        return path

    return make


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, write_video: WriteVideo) -> Path:
    """640 x 480, with something to see."""
    rng = np.random.default_rng(0)
    frames = [cv2.resize(rng.integers(0, 256, (24, 32, 3), np.uint8), (640, 480)) for _ in range(20)]
    return write_video(tmp_path_factory.mktemp("video") / "line.avi", [np.asarray(frame, np.uint8) for frame in frames])


@pytest.mark.slow
@pytest.mark.parametrize(("side", "least"), [(320, 0.9), (224, 0.7)])
def test_the_whole_loop_keeps_its_share_of_the_bare_engine(
    side: int, least: float, default_bundle: Callable[[int], Path], video: Path, tmp_path: Path
) -> None:
    path, shares = default_bundle(side), []
    for _ in range(TRIES):
        shares.append(measured(tmp_path, path, video, 30)["raw"]["of_engine"])
        if shares[-1] >= least:
            return
    raise AssertionError(f"the loop has {shares} of the bare engine, expected {least} (load {os.getloadavg()[0]:.1f})")


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_the_first_verdict_comes_soon_and_memory_is_small(
    runtime: str, default_bundle: Callable[[int], Path], video: Path
) -> None:
    pytest.importorskip(runtime, reason=f"{runtime} is not installed; install the extra `cpu`")
    path = default_bundle(320)
    seconds = []
    for _ in range(TRIES):
        found = process.start([str(path), str(video), "--engine", runtime, "--precision", "fp32"])
        assert found.peak_mb is not None
        assert found.peak_mb < MB_ALLOWED
        seconds.append(round(found.first_verdict_s, 2))
        if seconds[-1] < SECONDS_ALLOWED * max(1.0, os.getloadavg()[0] / cores()):
            return
    raise AssertionError(f"the first verdict came after {seconds} s, expected {SECONDS_ALLOWED} (load {os.getloadavg()[0]:.1f})")

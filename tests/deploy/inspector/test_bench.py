"""`inspector bench --source`, as a user gives it; and the memory that the inspector is meant to have."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
from rich.console import Console

import deploy
from deploy.bench import process
from deploy.bench.command import bench_source
from deploy.errors import InspectionError
from deploy.preprocess import Picture
from tests.deploy.commands import give

DrawPart = Callable[..., Picture]
WriteVideo = Callable[[Path, list[Picture]], Path]
MB_ALLOWED = 300


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


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_memory_is_small(runtime: str, tmp_path: Path) -> None:
    """How fast it is, and how soon it starts, is printed by `make bench`: tests run side by side."""
    pytest.importorskip("torch", reason="the default network is built with torch; install the extra `train`")
    pytest.importorskip(runtime, reason=f"{runtime} is not installed; install the extra `cpu`")
    from tests.bench.loop import default_bundle, write_video

    path, video = default_bundle(320, tmp_path), write_video(tmp_path / "line.mp4")
    found = process.start([str(path), str(video), "--engine", runtime, "--precision", "fp32"])
    assert found.peak_mb is not None
    assert found.peak_mb < MB_ALLOWED

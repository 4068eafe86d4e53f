from pathlib import Path

import pytest
from pydantic import BaseModel

from deploy.cameras.checks import Checks
from deploy.errors import StationError
from deploy.inspector.settings import from_station
from deploy.station import (
    CameraSection,
    ChecksSection,
    PicturesSection,
    RecordSection,
    RegionSection,
    Station,
    is_station,
    load_station,
)


@pytest.mark.parametrize(
    ("camera", "expected"),
    [
        ("0", "0"),
        ("'0'", "0"),
        ("rtsp://anna:secret@camera/belt", "rtsp://anna:secret@camera/belt"),
        ("/data/belt.mp4", "/data/belt.mp4"),
        ("belt.mp4", "HERE/belt.mp4"),
    ],
)
def test_a_camera_is_any_source(camera: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "station.yaml"
    file.write_text(f"name: press-1\ncamera: {camera}\n")
    station = load_station(file)
    assert station.camera == expected.replace("HERE", str(tmp_path))
    assert "secret" not in repr(station)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("name: a\n", "the key camera is missing; add it: webcam number", id="missing"),
        pytest.param("name: a\ncamera: 0\nlamp: 1\n", "unknown key lamp; expected name, camera", id="unknown"),
        pytest.param("name: a\ncamera: 0\n1: x\n", "found a key that is no text to YAML", id="a number as a key"),
        pytest.param("name: a\ncamera: 0\non: x\n", "on, off, yes, no); expected name, camera", id="a truth value as a key"),
        pytest.param("1: x\n", "the key name is missing", id="only a number as a key"),
        pytest.param("name: a\ncamera: 0\n1: x\nlamp: 1\n", "take it out", id="two wrong keys"),
        pytest.param("name: a b\ncamera: 0\n", "name: string should match", id="name"),
        pytest.param("name: a\ncamera: [rtsp://u:secret@h]\n", "camera: input should be a valid string", id="kind"),
        pytest.param("", "found no keys", id="empty"),
        pytest.param("- 1\n", "found no keys", id="a list"),
        pytest.param("name: a\ncamera: rtsp://u:secret@h: [\n", "line 2 is no YAML", id="no YAML"),
        pytest.param(b"name: \xff\n", "not in UTF-8", id="no UTF-8"),
    ],
)
def test_what_is_wrong_is_said_without_passwords(content: str | bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "station.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(StationError) as caught:
        load_station(file)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_missing_file_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(StationError, match=r"No such file or directory.*with the keys name, camera"):
        load_station(tmp_path / "station.yaml")


SECTIONS = [Station, CameraSection, RegionSection, ChecksSection, PicturesSection, RecordSection]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_key_is_described(section: type[BaseModel]) -> None:
    assert all(field.description for field in section.model_fields.values())


LINE = """
name: press-1
bundle: bundles/demo-1
trusted_key: "KEY"
engine: openvino
precision: int8-cpu
deadline_ms: 120
cameras:
  - name: top
    source: rtsp://anna:secret@camera/belt
    settings: {exposure: 2000, rotation: 90}
    limit_s: 1.5
    max_age_ms: 300
    checks: {black_below: 16, frozen_s: 3}
    parts: belt
    crop: 320
    regions:
      - {name: near, roi: [0, 0, 320, 480]}
      - {name: far, polygon: [[320, 0], [640, 0], [640, 480]]}
  - {name: side, source: side.mp4}
record:
  folder: record
  pictures: {good_every: 10, quota_mb: 500, leave_free_mb: 50}
""".replace("KEY", "ab" * 32)


def test_a_line_of_several_cameras_and_regions(tmp_path: Path) -> None:
    file = tmp_path / "station.yaml"
    file.write_text(LINE)
    station = load_station(file)
    assert station.camera == "rtsp://anna:secret@camera/belt", "what `inspector capture` takes"
    assert "secret" not in repr(station)
    wanted = from_station(file)
    assert (wanted.bundle, wanted.out) == (tmp_path / "bundles" / "demo-1", tmp_path / "record")
    assert (wanted.engine, wanted.precision, wanted.trusted_key) == ("openvino", "int8-cpu", "ab" * 32)
    assert wanted.deadline_ms == 120
    top, side = wanted.cameras
    assert (top.name, top.limit_s, top.max_age_ms, top.crop) == ("top", 1.5, 300, 320)
    assert (top.settings.exposure, top.settings.rotation) == (2000, 90)
    assert top.checks == Checks(black_below=16, frozen_s=3)
    assert [region.name for region in top.regions] == ["near", "far"]
    assert (side.name, side.source, side.crop) == ("side", str(tmp_path / "side.mp4"), None)
    assert [region.name for region in side.regions] == [""]
    policy = wanted.policy
    assert (policy.good_every, policy.quota_bytes, policy.floor_bytes) == (10, 500_000_000, 50_000_000)


def test_the_short_form_runs_with_what_is_usual(tmp_path: Path) -> None:
    file = tmp_path / "station.yaml"
    file.write_text("name: press-1\ncamera: 0\nbundle: demo-1\n")
    wanted = from_station(file)
    assert wanted.out == tmp_path / "inspections" / "press-1"
    (camera,) = wanted.cameras
    assert (camera.source, camera.name, camera.crop, camera.checks) == ("0", "", None, Checks())


def test_a_station_without_a_bundle_collects_but_does_not_inspect(tmp_path: Path) -> None:
    file = tmp_path / "station.yaml"
    file.write_text("name: press-1\ncamera: 0\n")
    assert load_station(file).bundle is None
    with pytest.raises(StationError, match="the key bundle is missing; add it"):
        from_station(file)


ONE = "name: a\ncameras:\n  - {name: top, source: '0', MORE}\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(ONE.replace("MORE", "lamp: 1"), "unknown key cameras.0.lamp; expected name, source, settings", id="unknown"),
        pytest.param(
            ONE.replace("MORE", "settings: {shutter: 1}"),
            "unknown key cameras.0.settings.shutter; expected exposure",
            id="setting",
        ),
        pytest.param(ONE.replace("MORE", "settings: {exposure: -1}"), "cameras.0.settings.exposure", id="exposure"),
        pytest.param(ONE.replace("MORE", "limit_s: 0"), "expected seconds without a frame after which", id="limit"),
        pytest.param(
            ONE.replace("MORE", "checks: {black_below: 300}"), "cameras.0.checks.black_below: input should be", id="check"
        ),
        pytest.param(ONE.replace("MORE", "crop: 100"), "cameras.0 has a crop, which is for parts on a belt", id="crop"),
        pytest.param(
            ONE.replace("MORE", "regions: [{name: a}]"), "cameras.0.regions.0 needs either roi or polygon", id="no shape"
        ),
        pytest.param(
            ONE.replace("MORE", "regions: [{name: a, roi: [0, 0, 9, -1]}]"), "cameras.0.regions.0.roi: input should be", id="roi"
        ),
        pytest.param(
            ONE.replace("MORE", "regions: [{name: a, roi: [0, 0, 9, 9]}, {name: a, roi: [0, 0, 9, 9]}]"),
            "cameras.0 has regions of the same name 'a'",
            id="regions of one name",
        ),
        pytest.param(ONE.replace("MORE", "parts: some"), "cameras.0.parts: input should be 'whole' or 'belt'", id="parts"),
        pytest.param("name: a\ncameras: [{name: top}]\n", "the key cameras.0.source is missing; add it", id="no source"),
        pytest.param("name: a\ncamera: 0\ncameras: [{source: '0'}]\n", "has both camera and cameras", id="both forms"),
        pytest.param("name: a\ncameras: [{source: 0}, {name: b, source: 1}]\n", "one of them without a name", id="no name"),
        pytest.param("name: a\ncameras: [{name: b, source: 0}, {name: b, source: 1}]\n", "cameras of the same name", id="names"),
        pytest.param("name: a\ncameras: []\n", "the key camera is missing", id="no cameras"),
        pytest.param("name: a\ncamera: 0\ntrusted_key: abc\n", "trusted_key: string should match", id="key"),
        pytest.param("name: a\ncamera: 0\nengine: tensorflow\n", "engine: input should be 'onnxruntime'", id="engine"),
        pytest.param("name: a\ncamera: 0\ndeadline_ms: 0\n", "expected milliseconds from a part's last capture", id="deadline"),
        pytest.param(
            "name: a\ncamera: 0\nrecord: {pictures: {quota: 1}}\n",
            "unknown key record.pictures.quota; expected good_every",
            id="pictures",
        ),
    ],
)
def test_what_is_wrong_with_a_line_is_said_with_its_place(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "station.yaml"
    file.write_text(content)
    with pytest.raises(StationError) as caught:
        load_station(file)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("source", "expected"),
    [("station.yaml", True), ("a/S.YML", True), ("belt.mp4", False), ("0", False), ("http://camera/s.yaml", False)],
)
def test_which_source_is_a_station(source: str, expected: bool) -> None:
    assert is_station(source) == expected

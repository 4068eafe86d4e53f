from pathlib import Path

import pytest

from deploy.errors import StationError
from deploy.station import Station, is_station, load_station


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


def test_every_key_is_described() -> None:
    assert all(field.description for field in Station.model_fields.values())


@pytest.mark.parametrize(
    ("source", "expected"),
    [("station.yaml", True), ("a/S.YML", True), ("belt.mp4", False), ("0", False), ("http://camera/s.yaml", False)],
)
def test_which_source_is_a_station(source: str, expected: bool) -> None:
    assert is_station(source) == expected

import re
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from deploy.errors import SignatureError
from pipeline.export.signing import KEY_VARIABLE, PRIVATE, PUBLIC, key_folder, keygen_command, public_key, sign, signing_key


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_key_pair_signs_and_its_one_line_is_what_stations_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "keys"
    keygen_command(out)
    assert {file.name for file in out.iterdir()} == {PRIVATE, PUBLIC}
    assert stat.S_IMODE((out / PRIVATE).stat().st_mode) == 0o600
    line = (out / PUBLIC).read_text()
    assert re.fullmatch(r"[0-9a-f]{64}\n", line)

    monkeypatch.setenv(KEY_VARIABLE, str(out / PRIVATE))
    key, file, made = signing_key()
    assert (file, made) == (out / PRIVATE, False)
    signature = sign(b"content", key)
    assert signature.public_key == public_key(key) == line.strip()
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(line)).verify(bytes.fromhex(signature.signature), b"content")

    said = capsys.readouterr().out
    for expected in (str(out / PRIVATE), str(out / PUBLIC), line.strip(), f"{KEY_VARIABLE}={out / PRIVATE}", "--trust"):
        assert expected in said
    assert "PRIVATE KEY" not in said


def test_a_pair_in_the_usual_place_needs_no_variable(capsys: pytest.CaptureFixture[str]) -> None:
    keygen_command(key_folder())
    _, file, made = signing_key()
    assert (file, made) == (key_folder() / PRIVATE, False)
    assert "pipeline export signs with it from now on" in capsys.readouterr().out


def test_the_first_export_writes_the_same_pair() -> None:
    key, file, made = signing_key()
    assert made
    assert file.with_name(PUBLIC).read_text() == public_key(key) + "\n"


@pytest.mark.parametrize("name", [PRIVATE, PUBLIC])
def test_no_key_is_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("kept")
    with pytest.raises(SignatureError, match=f"{name} exists already and is kept"):
        keygen_command(tmp_path)
    assert (tmp_path / name).read_text() == "kept"
    assert {file.name for file in tmp_path.iterdir()} == {name}


def test_a_second_pair_leaves_the_first(tmp_path: Path) -> None:
    keygen_command(tmp_path)
    before = [(tmp_path / name).read_bytes() for name in (PRIVATE, PUBLIC)]
    with pytest.raises(SignatureError, match="exists already"):
        keygen_command(tmp_path)
    assert [(tmp_path / name).read_bytes() for name in (PRIVATE, PUBLIC)] == before

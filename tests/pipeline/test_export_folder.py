"""The folder that an export grows in: never shared, and nothing of another one's in it."""

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.errors import GateFailed
from pipeline.export.folder import bundle_of, growing, label_of, set_aside

WORKING = """
import sys
from pathlib import Path
from pipeline.export.folder import growing
with growing(Path(sys.argv[1]), "parts") as folder:
    (folder / "model.onnx").write_text("mine")
    print(folder.name, flush=True)
    sys.stdin.read()
    print((folder / "model.onnx").read_text(), flush=True)
"""


def test_two_exports_at_once_have_a_folder_each(tmp_path: Path) -> None:
    line = [sys.executable, "-c", WORKING, str(tmp_path)]
    other = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "parts-1.partial\n"
        with growing(tmp_path, "parts") as folder:
            assert folder.name == "parts-2.partial"
            (folder / "model.onnx").write_text("another")
        assert other.communicate("")[0] == "mine\n"
    finally:
        other.kill()
        other.wait()


def test_what_an_interrupted_export_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "parts-3").mkdir()
    (tmp_path / "parts-4.partial").mkdir()
    (tmp_path / "parts-4.partial" / "model.onnx").write_text("half")
    (tmp_path / "other-9.partial").mkdir()
    with growing(tmp_path, "parts") as folder:
        assert folder.name == "parts-4.partial"
        assert not list(folder.iterdir())
        assert bundle_of(folder) == (tmp_path / "parts-4", "parts", 4)
    assert (tmp_path / "other-9.partial").exists()


def test_what_was_refused_before_makes_room(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with growing(tmp_path, "parts") as folder:
            (folder / "frontier.txt").write_text(text)
            assert set_aside(folder).name == "parts-1.refused"
    assert (tmp_path / "parts-1.refused" / "frontier.txt").read_text() == "second"


@pytest.mark.parametrize("name", ["", ".", "..", "x" * 201])
def test_a_name_that_no_inspector_takes_is_refused(name: str) -> None:
    with pytest.raises(GateFailed, match="give another --name"):
        label_of(name)


def test_other_characters_become_dashes() -> None:
    assert label_of("Teile links/rechts") == "Teile-links-rechts"

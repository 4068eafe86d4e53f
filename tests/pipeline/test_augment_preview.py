"""`pipeline augment-preview`, as a user calls it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from deploy.errors import DatasetError, InspectionError, RunError
from deploy.preprocess import read_picture
from pipeline.cli import app
from pipeline.data.augment.sheet import MAKER

EVERYTHING = """
height: 96
width: 96
augmentation: {right_angles: true, gamma: 0.4, saturation: 0.3, hue: 0.05, blur: 1.5, noise: 10, cutout: 0.3, cut_paste: 1.0}
"""
NOTHING = """
height: 96
width: 96
augmentation: {flip_horizontal: false, flip_vertical: false, rotation: 0, shift: 0, scale: 0, brightness: 0, contrast: 0}
"""


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    root = tmp_path / "parts"
    random = np.random.default_rng(0)
    for name in ("good/a.png", "good/b.png", "good/c.png", "defective/dent/d.png", "defective/$crack/e.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name), random.integers(90, 110, (60, 90, 3), np.uint8))
    mask = np.zeros((60, 90), np.uint8)
    mask[20:30, 30:40] = 255
    (root / "masks" / "dent").mkdir(parents=True)
    cv2.imwrite(str(root / "masks" / "dent" / "d.png"), mask)
    return root


def preview(*words: object) -> str:
    done = CliRunner().invoke(app, ["augment-preview", *map(str, words)])
    if done.exception:
        raise done.exception
    return " ".join(done.output.split())


def lines_of(sheet: Path) -> int:
    """Height of a sheet in rows of tiles."""
    height = int(read_picture(sheet).shape[0])
    return round((height - 72) / 316)


def test_a_row_for_every_kind_and_every_switch(parts: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(EVERYTHING)
    out = tmp_path / "sheet.png"
    said = preview(parts, "--recipe", tmp_path / "recipe.yaml", "--out", out)
    assert f"{out}: 19 rows" in said  # two good, two types, fifteen switches
    assert "switch it off in the recipe" in said
    first = out.read_bytes()
    assert MAKER.encode() in first
    assert lines_of(out) > 8
    preview(parts, "--recipe", tmp_path / "recipe.yaml", "--out", out)
    assert out.read_bytes() == first, "same seed, same variants; an earlier preview is replaced"
    preview(parts, "--recipe", tmp_path / "recipe.yaml", "--out", out, "--seed", 1)
    assert out.read_bytes() != first


def test_what_does_nothing_is_told(parts: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(NOTHING)
    said = preview(parts, "--recipe", tmp_path / "recipe.yaml", "--out", tmp_path / "sheet.png")
    assert "every switch of the augmentation is off" in said
    assert lines_of(tmp_path / "sheet.png") == 4
    (parts / "masks" / "dent" / "d.png").unlink()
    (tmp_path / "recipe.yaml").write_text(EVERYTHING)
    said = preview(parts, "--recipe", tmp_path / "recipe.yaml", "--out", tmp_path / "sheet.png")
    assert "cut_paste does nothing: no picture has a mask" in said
    assert "18 rows" in said


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        ("sheet.jpg", RunError, "ends in .png"),
        ("parts/good/a.png", RunError, "is no earlier preview"),
        ("missing/sheet.png", DatasetError, "is no folder"),
    ],
)
def test_nothing_is_overwritten(parts: Path, tmp_path: Path, out: str, error: type[InspectionError], message: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    picture = (parts / "good" / "a.png").read_bytes()
    with pytest.raises(error, match=message):
        preview(parts, "--out", tmp_path / out)
    assert sorted(tmp_path.rglob("*")) == before
    assert (parts / "good" / "a.png").read_bytes() == picture


def test_right_angles_of_a_wide_input_are_refused(parts: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("{height: 64, width: 96, augmentation: {right_angles: true}}")
    with pytest.raises(RunError, match="use a square input"):
        preview(parts, "--recipe", tmp_path / "recipe.yaml", "--out", tmp_path / "sheet.png")

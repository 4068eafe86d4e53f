import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from deploy.errors import DatasetError, RunError
from pipeline.data.manifest import Manifest, check_unchanged, read_manifest, slug, write_manifest
from pipeline.data.masks import hash_place
from pipeline.data.prepare import prepare
from pipeline.data.split.rules import describe_rule, rule_of
from pipeline.data.survey import survey


def test_unreadable_pictures_are_told_and_left_out(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = sorted((dataset / "good").iterdir())
    good[0].write_bytes(b"")
    good[1].write_text("I am no picture")
    jpeg = cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
    good[2].write_bytes(jpeg[: len(jpeg) // 2])
    manifest = prepare(dataset)
    assert len(manifest.samples) == 48 - 3
    said = " ".join(capsys.readouterr().out.split())
    assert "left out 3 of 48 pictures" in said
    for reason in ("is empty (0 bytes)", "not a readable picture", "is truncated"):
        assert reason in said


def test_manifest_is_written_and_read_back(dataset: Path, tmp_path: Path) -> None:
    manifest = prepare(dataset)
    write_manifest(manifest, tmp_path)
    assert read_manifest(tmp_path) == manifest
    header = (tmp_path / "manifest.csv").read_text().splitlines()[0]
    assert header.startswith("path,sha256,label,type,group,split")


def test_an_edited_manifest_is_refused(dataset: Path, tmp_path: Path) -> None:
    write_manifest(prepare(dataset), tmp_path)
    file = tmp_path / "manifest.csv"
    file.write_text(file.read_text().replace(",good,", ",defective,", 1))
    with pytest.raises(RunError, match="was edited"):
        read_manifest(tmp_path)


def test_hash_does_not_depend_on_place_or_order(dataset: Path) -> None:
    manifest = prepare(dataset)
    moved = tuple(replace(sample, origin="/elsewhere") for sample in reversed(manifest.samples))
    assert Manifest("other name", moved).sha256() == manifest.sha256()
    assert Manifest("parts", manifest.samples[1:]).sha256() != manifest.sha256()
    made_otherwise: list[dict[str, Any]] = [{"parent": "another"}, {"seed": 1}, {"rule": "time:time"}]
    for other in made_otherwise:
        assert replace(manifest, **other).sha256() != manifest.sha256()
        assert replace(manifest, **other).content_sha256() == manifest.content_sha256()


@pytest.mark.parametrize("field", [{"rule": "fold:1of5"}, {"seed": 7}, {"parent": "another"}])
def test_how_a_version_came_about_cannot_be_edited(field: dict[str, object], dataset: Path, tmp_path: Path) -> None:
    write_manifest(prepare(dataset), tmp_path)
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **field}))
    with pytest.raises(RunError, match="was edited"):
        read_manifest(tmp_path)


def test_an_unknown_rule_is_told() -> None:
    for use in (describe_rule, lambda rule: rule_of(rule, 0)):
        with pytest.raises(RunError, match="the rule 'weather:sun'; expected one of: group, brought, time, slice, fold; "):
            use("weather:sun")


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("parts", "parts"),
        ("line 2/parts (new)", "line-2-parts-new-"),
        ("Gehäuse", "Gehäuse"),
        ("Geha\u0308use", "Gehäuse"),
        ("部品", "部品"),
        ("детали_1.2", "детали_1.2"),
        ("हिस्से", "हिस्से"),
        ("../../etc", "etc"),
        ("..", "dataset"),
        (".hidden", "hidden"),
        ("???", "dataset"),
        ("", "dataset"),
    ],
)
def test_a_name_becomes_a_folder_of_its_own(name: str, folder: str) -> None:
    assert slug(name) == folder


def test_changed_and_missing_pictures_are_refused(dataset: Path) -> None:
    samples = survey(prepare(dataset).samples).samples
    check_unchanged(samples)
    cv2.imwrite(str(samples[0].file), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DatasetError, match="changed since"):
        check_unchanged(samples)
    samples[0].file.unlink()
    with pytest.raises(DatasetError, match="is gone"):
        check_unchanged(samples)


def test_changed_masks_are_refused(dataset: Path) -> None:
    samples = survey(prepare(dataset).samples).samples
    first = next(sample for sample in samples if sample.label == "defective")
    mask = dataset / "mask.png"
    cv2.imwrite(str(mask), np.zeros((40, 56), np.uint8))
    masked = replace(first, mask="mask.png")
    masked = replace(masked, mask_sha256=hash_place(masked))
    check_unchanged([masked, *samples])
    cv2.imwrite(str(mask), np.full((40, 56), 255, np.uint8))
    with pytest.raises(DatasetError, match=r"the mask of .*\.png changed since it entered the manifest; put back"):
        check_unchanged([masked, *samples])
    mask.unlink()
    with pytest.raises(DatasetError, match="is gone"):
        check_unchanged([masked, *samples])

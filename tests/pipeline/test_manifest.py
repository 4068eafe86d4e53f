from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from deploy.errors import DatasetError, RunError
from pipeline.data.duplicates import SAME, group_near_duplicates, nearest_known
from pipeline.data.manifest import Manifest, check_unchanged, hash_readable, read_manifest, write_manifest
from pipeline.data.prepare import prepare
from pipeline.data.sample import Sample


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


def test_changed_and_missing_pictures_are_refused(dataset: Path) -> None:
    samples, _ = hash_readable(prepare(dataset).samples)
    check_unchanged(samples)
    cv2.imwrite(str(samples[0].file), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DatasetError, match="changed since"):
        check_unchanged(samples)
    samples[0].file.unlink()
    with pytest.raises(DatasetError, match="is gone"):
        check_unchanged(samples)


def scene(seed: int) -> np.typing.NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(size=(12, 12, 1)).astype(np.float32)
    smooth = cv2.resize(noise, (200, 160), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + 40 * smooth[..., None].repeat(3, 2), 0, 255).astype(np.uint8)


def test_look_alikes_become_groups_and_are_met_again(tmp_path: Path) -> None:
    files = []
    for part in range(4):
        for exposure, gain in enumerate((1.0, 0.8, 1.15)):
            file = tmp_path / f"{part}_{exposure}.png"
            cv2.imwrite(str(file), np.clip(scene(part) * gain, 0, 255).astype(np.uint8))
            files.append(file)
    samples = [Sample(str(tmp_path), file.name, "good", sha256=file.name * 3) for file in files]
    groups = [sample.group for sample in group_near_duplicates(samples)]
    assert len(set(groups)) == 4
    assert all(len(set(groups[start : start + 3])) == 1 for start in range(0, 12, 3))

    again = tmp_path / "again.jpg"
    cv2.imwrite(str(again), scene(2))
    other = tmp_path / "other.png"
    cv2.imwrite(str(other), scene(9))
    new = [Sample(str(tmp_path), file.name, "good", sha256=file.name) for file in (again, other)]
    assert [distance <= SAME for distance, _ in nearest_known(new, samples)] == [True, False]

import json
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.errors import RunError
from pipeline.data.manifest import Manifest
from pipeline.data.manifest.differences import Change, Differences, compare_manifests, diff_command
from pipeline.data.manifest.versions import read_history, write_versions
from pipeline.data.sample import Sample
from tests.pipeline.conftest import sample

A, B, C = (
    replace(sample("a"), split="train"),
    replace(sample("b"), split="test"),
    replace(sample("c", "dent"), split="validation"),
)
OLD = Manifest("parts", (A, B, C))
FIELDS = (
    "added",
    "removed",
    "changed_content",
    "changed_mask",
    "relabelled",
    "retyped",
    "regrouped",
    "moved",
    "test_into_training",
)


def against(*samples: Sample) -> Differences:
    return compare_manifests(OLD, Manifest("parts", samples, 2, OLD.sha256()))


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ((C, B, A), {}),
        ((A, B, C, replace(sample("d"), split="train")), {"added": ("d/0.png",)}),
        ((A, C), {"removed": ("b/0.png",)}),
        ((replace(A, sha256="other"), B, C), {"changed_content": ("a/0.png",)}),
        ((A, B, replace(C, mask_sha256="other")), {"changed_mask": ("c/0.png",)}),
        ((replace(A, label="defective", defect_type="dent"), B, C), {"relabelled": (Change("a/0.png", "good", "defective"),)}),
        ((A, B, replace(C, defect_type="crack")), {"retyped": (Change("c/0.png", "dent", "crack"),)}),
        ((replace(A, group="g"), B, C), {"regrouped": (Change("a/0.png", "a", "g"),)}),
        ((replace(A, split="test"), B, C), {"moved": (Change("a/0.png", "train", "test"),)}),
        (
            (A, replace(B, split="train"), C),
            {"moved": (Change("b/0.png", "test", "train"),), "test_into_training": ("b/0.png",)},
        ),
        (
            (A, replace(B, path="renamed.png", split="train"), C),
            {"added": ("renamed.png",), "removed": ("b/0.png",), "test_into_training": ("renamed.png",)},
        ),
        (  # one path from two folders, as retraining may bring it
            (A, B, C, replace(A, origin="/new", sha256="new")),
            {"added": ("a/0.png",)},
        ),
    ],
)
def test_what_changed(samples: tuple[Sample, ...], expected: dict[str, object]) -> None:
    found = against(*samples)
    assert {field: getattr(found, field) for field in FIELDS if getattr(found, field)} == expected
    assert found.is_parent
    assert found.same == (not expected)


def test_the_json_names_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = Manifest("parts", (replace(A, group="g"), replace(B, split="train")), 2, "someone else")
    first, second = write_versions([OLD, new], tmp_path)
    diff_command(first, second, tmp_path / "out" / "diff.json")
    content = json.loads((tmp_path / "out" / "diff.json").read_text())
    assert content.keys() == {"is_parent", "same", "old", "new", "counts", *FIELDS}
    assert content["old"]["name"] == "parts-v1"
    assert content["new"]["version"] == 2
    assert content["is_parent"] is False
    assert content["counts"]["validation"] == {"good": {"old": 0, "new": 0}, "dent": {"old": 1, "new": 0}}
    assert content["moved"] == [{"path": "b/0.png", "before": "test", "after": "train"}]
    said = " ".join(capsys.readouterr().out.split())
    assert "parts-v2 does not name parts-v1 as its parent" in said
    assert "WARNING: 1 pictures that parts-v1 tests on are learned from in parts-v2 (first: b/0.png)" in said


def test_a_folder_that_is_no_manifest_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="expected a manifest version or a run folder"):
        diff_command(tmp_path, tmp_path)


def test_versions_are_numbered_and_nothing_half_written_counts(tmp_path: Path) -> None:
    assert read_history(tmp_path / "none", "parts").next_version == 1
    (tmp_path / "parts-v7.partial").mkdir()
    (tmp_path / "parts-b-v9").mkdir()
    two, ten = replace(OLD, version=2), replace(OLD, version=10, rule="slice:line=B", seed=3, leakage="LEAKAGE")
    fold = replace(OLD, version=11, rule="fold:1of5")
    write_versions([ten, two, fold], tmp_path)
    history = read_history(tmp_path, "parts")
    assert (history.versions, history.folds, history.next_version) == ((two, ten), (fold,), 12)
    assert (tmp_path / "parts-v11-fold1of5").is_dir()
    assert not list(tmp_path.glob("*v1*.partial"))


def test_leakage_is_part_of_the_hash(tmp_path: Path) -> None:
    leaking = replace(OLD, leakage="LEAKAGE ALLOWED: all")
    assert leaking.sha256() != OLD.sha256()
    (folder,) = write_versions([leaking], tmp_path)
    about = json.loads((folder / "manifest.json").read_text())
    assert about["leakage"] == "LEAKAGE ALLOWED: all"
    assert about["overview"]["parts"]["test"]["good"] == {"pictures": 1, "groups": 1}
    (folder / "manifest.json").write_text(json.dumps({**about, "leakage": ""}))
    with pytest.raises(RunError, match="was edited"):
        read_history(tmp_path, "parts")

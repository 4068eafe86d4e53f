"""From pictures to versions of their split, and what trains on them, through the commands a user gives."""

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from deploy.preprocess import read_picture
from pipeline.data.demo.line import write_demo_dataset
from tests.integration.test_journey import BACKBONE, give, give_here

TINY = ("--backbone", BACKBONE, "--from-scratch", "--input-size", "64", "--epochs", "1")
Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 parts, two pictures of each."""
    folder = tmp_path_factory.mktemp("rendered") / "line"
    write_demo_dataset(folder, parts=36, exposures=2)
    return folder


@pytest.fixture
def line(rendered: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(rendered, tmp_path / "line"))


def read(file: Path) -> Rows:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def write(file: Path, rows: Rows) -> None:
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def parts(folder: Path) -> dict[str, str]:
    return {row["path"]: row["split"] for row in read(folder / "manifest.csv")}


def about(folder: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((folder / "manifest.json").read_text())
    return content


def add_part(line: Path, template: str, names: Sequence[str], group: str) -> None:
    """More pictures of a known or a new part: a picture there is, with a corner of its own in each."""
    rows = read(line / "groups.csv")
    picture = read_picture(line / template)
    for number, name in enumerate(names):
        picture[:8, :8] = number + 1
        picture[8:40, 8:40] = np.random.default_rng(len(name)).integers(0, 255, (32, 32, 3), np.uint8)
        cv2.imwrite(str(line / name), picture)
        rows.append({"file": name, "group": group, "exposure": str(number)})
    write(line / "groups.csv", rows)


def test_versions_grow_and_tell_what_changed(line: Path, tmp_path: Path) -> None:
    said = give("pipeline", "split", line, home=tmp_path)
    assert "demo-line-v1, split by group: pictures / groups" in said
    assert "defective parts: without a single miss they show, with 95 % confidence, an escape rate below" in said
    first, second = tmp_path / "manifests" / "demo-line-v1", tmp_path / "manifests" / "demo-line-v2"
    assert about(first)["parent"] is None
    assert "nothing changed since demo-line-v1: nothing is written" in give_here(
        "pipeline", "split", line, "--seed", 5, home=tmp_path
    )
    assert not second.exists()

    before = parts(first)
    tested = next(path for path, part in before.items() if part == "test" and path.startswith("good/"))
    group = next(row["group"] for row in read(line / "groups.csv") if row["file"] == tested)
    add_part(line, tested, ["good/again_0.png", "good/again_1.png"], group)
    add_part(line, tested, ["good/new_0.png", "good/new_1.png"], "a-new-part")
    learned = [path for path, part in before.items() if part == "train" and path.startswith("good/")]
    gone, changed = line / learned[0], line / learned[1]
    gone.unlink()
    write(line / "groups.csv", [row for row in read(line / "groups.csv") if row["file"] != learned[0]])
    cv2.imwrite(str(changed), 255 - read_picture(changed))
    said = give_here("pipeline", "split", line, home=tmp_path)
    assert "since demo-line-v1, whose pictures keep their part: 4 pictures added: good/again_0.png" in said
    assert f"1 pictures removed: {learned[0]}" in said
    assert f"1 pictures with other content under the same name: {learned[1]}" in said
    assert about(second)["parent"] == about(first)["sha256"]
    now = parts(second)
    assert {path: part for path, part in now.items() if path in before} == {
        path: part for path, part in before.items() if path != learned[0]
    }
    assert now["good/again_0.png"] == now["good/again_1.png"] == "test"
    assert now["good/new_0.png"] == now["good/new_1.png"]

    said = give_here("pipeline", "manifest", "diff", first, second, "--out", tmp_path / "diff.json", home=tmp_path)
    assert "demo-line-v2 names demo-line-v1 as its parent" in said
    assert "4 pictures added" in said
    assert "WARNING" not in said
    assert json.loads((tmp_path / "diff.json").read_text())["removed"] == [learned[0]]

    said = give_here("pipeline", "split", line, "--fresh", "--seed", 9, home=tmp_path)
    assert "since demo-line-v2, all split afresh" in said
    assert "are learned from in demo-line-v3" in said
    assert about(tmp_path / "manifests" / "demo-line-v3")["parent"] == about(second)["sha256"]


def test_the_same_pictures_give_the_same_version_wherever_they_lie(line: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "renamed"
    for file in sorted(line.rglob("*"), reverse=True):
        if file.is_file():
            (other / file.relative_to(line)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, other / file.relative_to(line))
    hashes = []
    for number, (folder, seed) in enumerate([(line, 3), (other, 3), (line, 4)]):
        give_here("pipeline", "split", folder, "--seed", seed, "--out", tmp_path / str(number), home=tmp_path)
        hashes.append(about(tmp_path / str(number) / "demo-line-v1")["sha256"])
    assert hashes[0] == hashes[1] != hashes[2]


def test_folds_times_and_slices(line: Path, tmp_path: Path) -> None:
    rows = read(line / "groups.csv")
    groups = sorted({row["group"] for row in rows})
    for row in rows:
        day = groups.index(row["group"])
        row |= {"line": "B" if day % 5 == 0 else "A", "time": f"2026-03-{1 + day // 24:02d}T{day % 24:02d}:0{row['exposure']}:00"}
    rows[0]["line"] = "A" if rows[0]["line"] == "B" else "B"
    write(line / "groups.csv", rows)
    (line / "dataset.yaml").write_text("name: parts\nslices: [line, time]\n")

    out = tmp_path / "manifests"
    said = give_here("pipeline", "split", line, "--folds", 3, home=tmp_path)
    assert "parts, 3 folds: what each fold tests on" in said
    tests = [{path for path, part in parts(out / f"parts-v1-fold{fold}of3").items() if part == "test"} for fold in (1, 2, 3)]
    assert sum(map(len, tests)) == len(set.union(*tests)) == len(rows)
    assert "nothing changed since parts-v1-fold1of3" in give_here("pipeline", "split", line, "--folds", 3, home=tmp_path)

    said = give_here("pipeline", "split", line, "--by-time", home=tmp_path)
    assert "a line drifts" in said
    time_of = {row["file"]: row["time"] for row in rows}
    by_time = parts(out / "parts-v2")
    newest = {part: [time_of[path] for path, one in by_time.items() if one == part] for part in ("train", "validation", "test")}
    assert max(newest["train"]) < min(newest["validation"])
    assert max(newest["validation"]) < min(newest["test"])

    refused = give_here("pipeline", "split", line, "--test-slice", "line=B", home=tmp_path, code=1)
    assert "parts-v2 was split by time (time), and a version grows by the rule it has" in refused
    said = give_here("pipeline", "split", line, "--test-slice", "line=B", "--fresh", home=tmp_path)
    assert f"1 groups (first: {rows[0]['group']}) hold pictures of line=B and others: all of their pictures are test" in said
    line_of = {row["file"]: row["line"] for row in rows}
    straddling = {row["file"] for row in rows if row["group"] == rows[0]["group"]}
    by_line = parts(out / "parts-v3")
    assert {path for path, part in by_line.items() if part == "test"} == {p for p in line_of if line_of[p] == "B"} | straddling


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("split", "line", "--test-slice", "line=B"), "no picture has a column 'line'; there are: exposure"),
        (("split", "line", "--test-slice", "exposure=7"), "no picture has exposure=7; exposure is one of: 0, 1"),
        (("split", "line", "--test-slice", "B"), "--test-slice 'B'; expected COLUMN=VALUE"),
        (("split", "line", "--by-time"), "no picture has a column 'time'"),
        (("split", "line", "--folds", "2"), "2 folds; expected 3 or more"),
        (("split", "line", "--folds", "90"), "too few for 90 folds"),
        (("split", "line", "--folds", "3", "--by-time"), "give one of them"),
        (("split", "nowhere"), "nowhere does not exist"),
        (("manifest", "diff", "line", "line"), "expected a manifest version or a run folder"),
    ],
)
def test_bad_input_gets_one_clear_sentence(words: tuple[str, ...], expected: str, rendered: Path) -> None:
    said = give_here("pipeline", *words, home=rendered.parent, code=1)
    assert expected in said
    assert not (rendered.parent / "manifests").exists()


def test_a_run_is_of_exactly_one_version(line: Path, tmp_path: Path) -> None:
    give_here("pipeline", "split", line, home=tmp_path)
    version = tmp_path / "manifests" / "demo-line-v1"
    refused = give_here("pipeline", "train", version, *TINY, "--resplit", home=tmp_path, code=1)
    assert "is there to train on exactly its split; leave --resplit out" in refused
    said = give("pipeline", "train", version, *TINY, home=tmp_path)
    sha256 = str(about(version)["sha256"])
    assert f"demo-line-v1 (sha256 {sha256[:12]}): 72 pictures, unchanged" in said
    run = tmp_path / "runs" / "demo-line-0001"
    assert about(run) == about(version)
    assert parts(run) == parts(version)
    metrics = json.loads((run / "metrics.json").read_text())
    assert {key: metrics["manifest"][key] for key in ("name", "version", "sha256", "parent")} == {
        "name": "demo-line-v1",
        "version": 1,
        "sha256": sha256,
        "parent": None,
    }
    report = (run / "report.html").read_text()
    assert f"Trained on demo-line-v1, manifest sha256 {sha256[:12]}" in report
    assert 'class="alarm"' not in report

    said = give_here("pipeline", "evaluate", run, version, home=tmp_path)
    tested = [path for path, part in parts(version).items() if part == "test"]
    assert f"demo-line-v1: {len(tested)} test pictures" in said
    assert "flatter" not in said

    for path in tested[:2]:
        cv2.imwrite(str(line / path), 255 - read_picture(line / path))
    refused = give_here("pipeline", "train", version, *TINY, home=tmp_path, code=1)
    assert f"{tested[0]} changed since it entered the manifest (the first of 2 among 72 pictures)" in refused
    (line / tested[1]).unlink()
    assert f"{tested[1]} is gone" in give_here("pipeline", "train", version, *TINY, home=tmp_path, code=1)


def with_a_leak(line: Path, move: Callable[[int, dict[str, str]], str]) -> Path:
    """The dataset as a CSV with a split of its own, by part and then as `move` says."""
    rows = read(line / "groups.csv")
    groups = sorted({row["group"] for row in rows})
    listed = []
    for number, row in enumerate(rows):
        place = ("train", "train", "train", "validation", "test")[groups.index(row["group"]) % 5]
        folder = row["file"].split("/")
        label, kind = ("good", "") if folder[0] == "good" else ("defective", folder[1])
        entry = {"path": row["file"], "label": label, "defect_type": kind, "group": row["group"], "split": place}
        listed.append(entry | {"split": move(number, entry)})
    write(line / "parts.csv", listed)
    (line / "dataset.yaml").unlink()
    return line / "parts.csv"


def test_a_split_that_leaks_is_refused_or_told_for_ever(line: Path, tmp_path: Path) -> None:
    source = with_a_leak(line, lambda number, row: "train" if row["split"] == "test" and number % 2 else row["split"])
    refused = give_here("pipeline", "train", source, *TINY, home=tmp_path, code=1)
    assert "the split leaks: 7 of 7 test pictures have a sibling in training (7 of the same group); first: " in refused
    assert "--resplit" in refused
    assert "--allow-leakage" in refused
    assert not (tmp_path / "runs").exists()
    assert "the split leaks" in give_here("pipeline", "split", source, home=tmp_path, code=1)

    warning = "LEAKAGE ALLOWED: 7 of 7 test pictures have a sibling in training"
    said = give_here("pipeline", "train", source, *TINY, "--allow-leakage", home=tmp_path)
    assert said.count(warning) == 2  # before training, and below the figures
    run = tmp_path / "runs" / "parts-0001"

    def check(folder: Path, warning: str = warning) -> None:
        assert json.loads((folder / "metrics.json").read_text())["caveats"][0].startswith(warning)
        report = (folder / "report.html").read_text()
        assert f'<p class="alarm">{warning}' in report
        assert report.index(warning) < report.index("<h1>")
        assert "never learned from" not in report

    check(run)
    assert str(about(run)["leakage"]).startswith(warning)
    assert warning in give_here("pipeline", "evaluate", run, "--out", tmp_path / "later", home=tmp_path)
    check(tmp_path / "later")
    write_demo_dataset(tmp_path / "other", parts=12, exposures=1, seed=7, types=("dent",))
    assert warning in give_here("pipeline", "evaluate", run, tmp_path / "other", "--out", tmp_path / "on-other", home=tmp_path)
    check(tmp_path / "on-other")

    assert warning in give_here("pipeline", "export", run, "--budget", "10s", home=tmp_path)
    bundle = tmp_path / "bundles" / "parts-1"
    assert json.loads((bundle / "bundle.json").read_text())["data"]["leakage"].startswith(warning)
    assert warning in (bundle / "report.html").read_text()

    said = give_here("pipeline", "retrain", run, tmp_path / "other", "--epochs", "1", home=tmp_path)
    assert f"old run: {warning}" in said
    warning_too = warning.replace("7 of 7", "7 of 10")  # three new pictures are tested on
    assert f"new run: {warning_too}" in said
    check(tmp_path / "runs" / "parts-0002", warning_too)
    comparison = json.loads((tmp_path / "runs" / "parts-0002" / "comparison.json").read_text())
    assert comparison["comparisons"][0]["old"]["caveats"][0].startswith(warning)
    assert comparison["comparisons"][0]["new"]["caveats"][0].startswith(warning_too)

    refused = give_here("pipeline", "train", run, *TINY, home=tmp_path, code=1)  # its manifest is a version too
    assert "the split leaks" in refused
    assert "or train on it all the same with --allow-leakage" in refused


def test_guessed_groups_are_told(line: Path, tmp_path: Path) -> None:
    (line / "groups.csv").unlink()
    (line / "dataset.yaml").write_text("name: parts\n")
    said = give_here("pipeline", "split", line, home=tmp_path)
    assert "nobody named the parts: " in said
    assert "clusters of pictures that look alike stand in for groups" in said

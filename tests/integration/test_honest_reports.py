"""A model that learned nothing, and one that learned the wrong thing: the evidence says so."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from deploy.preprocess import read_picture
from pipeline.data.demo.line import write_demo_dataset
from tests.integration.test_journey import give_here

pytestmark = pytest.mark.slow
STARTER = ("--input-size", "128")


def test_shuffled_labels_give_no_thresholds(tmp_path: Path) -> None:
    """Whole parts get another label by lot: there is nothing to learn, and the report says so instead of a threshold."""
    line = tmp_path / "line"
    write_demo_dataset(line, 120)
    shuffle_labels(line)
    said = give_here("pipeline", "train", line, *STARTER, "--epochs", "3", home=tmp_path)
    metrics = json.loads((tmp_path / "runs/demo-line-0001/metrics.json").read_text())
    assert metrics["auroc"]["low"] < 0.5 < metrics["auroc"]["high"]
    assert metrics["unproven"].startswith("no evidence that this model separates")
    assert "No evidence that this model separates" in said
    page = (tmp_path / "runs/demo-line-0001/report.html").read_text()
    assert "No evidence that this model separates" in page


def test_a_stamp_beside_the_part_is_exposed(tmp_path: Path) -> None:
    """Whoever made the defective samples stamped them in a corner. Without masks a model reads the stamp, and looks perfect."""
    line = tmp_path / "line"
    write_demo_dataset(line, 120, types=("scratch", "dent"))
    for file in line.glob("defective/*/*"):
        stamp(file)
    (tmp_path / "no-masks.yaml").write_text("pixel_loss: 0\n")
    give_here("pipeline", "train", line, *STARTER, "--epochs", "8", "--recipe", tmp_path / "no-masks.yaml", home=tmp_path)
    run = tmp_path / "runs/demo-line-0001"
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["auroc"]["value"] > 0.95
    assert metrics["localised"]["high"] < 0.5
    said = give_here("pipeline", "robustness", run, home=tmp_path)
    assert "corner: covering the corners changes" in said
    assert "the model may be reading something there rather than the part" in said


def shuffle_labels(line: Path) -> None:
    rows = list(csv.DictReader((line / "groups.csv").read_text().splitlines()))
    groups = sorted({row["group"] for row in rows})
    lot = dict(zip(groups, np.random.default_rng(0).permutation(len(groups)) % 2, strict=True))
    for row in rows:
        old = line / row["file"]
        row["file"] = f"{'defective/any' if lot[row['group']] else 'good'}/{old.parent.name}-{old.name}"
        (line / row["file"]).parent.mkdir(parents=True, exist_ok=True)
        old.rename(line / row["file"])
    shutil.rmtree(line / "masks")
    for left in [one for one in line.glob("defective/*") if one.name != "any"]:
        left.rmdir()
    with (line / "groups.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def stamp(file: Path) -> None:
    picture = read_picture(file)
    cv2.rectangle(picture, (2, 2), (2 + picture.shape[1] // 8, 2 + picture.shape[1] // 8), (40, 40, 220), -1)
    cv2.imwrite(str(file), picture)

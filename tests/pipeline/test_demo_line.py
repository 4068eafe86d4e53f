import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from deploy.errors import DatasetError
from deploy.preprocess import read_picture
from pipeline.data.demo.camera import STILL
from pipeline.data.demo.conveyor import HEIGHT, WIDTH, plan_conveyor
from pipeline.data.demo.line import DEFECT_TYPES, write_conveyor, write_demo_dataset
from pipeline.data.demo.stills import LotPart, made_part, plan_lot, take_still

BETWEEN_BELT_AND_METAL = 80


def written(directory: Path) -> dict[str, bytes]:
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("demo") / "line"
    write_demo_dataset(directory, parts=14, exposures=2, defective_share=0.5, seed=3)
    return directory


def test_layout_and_counts(dataset: Path) -> None:
    assert len(list((dataset / "good").iterdir())) == 14
    assert {folder.name for folder in (dataset / "defective").iterdir()} == set(DEFECT_TYPES)
    for folder in (dataset / "defective").iterdir():
        pictures = {path.name for path in folder.iterdir()}
        assert len(pictures) in (2, 4)  # 7 defective parts over 6 types
        assert pictures == {path.name for path in (dataset / "masks" / folder.name).iterdir()}
    about = yaml.safe_load((dataset / "dataset.yaml").read_text(encoding="utf-8"))
    assert (about["name"], about["licence"], about["slices"]) == ("demo-line", "CC0-1.0", ["exposure"])
    assert not dataset.with_name("line.partial").exists()


def test_groups_name_every_picture_and_keep_a_part_together(dataset: Path) -> None:
    listed = rows(dataset / "groups.csv")
    pictures = {path.relative_to(dataset).as_posix() for top in ("good", "defective") for path in (dataset / top).rglob("*.png")}
    assert {row["file"] for row in listed} == pictures
    assert len(listed) == len(pictures)
    for row in listed:
        assert Path(row["file"]).stem == f"{row['group']}_{row['exposure']}"
    assert len({row["group"] for row in listed}) == 14
    assert all(row["group"].startswith("s3p") for row in listed)


def test_masks_fit_their_pictures(dataset: Path) -> None:
    for path in (dataset / "masks").rglob("*.png"):
        mask = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
        assert mask is not None
        picture = read_picture(dataset / "defective" / path.relative_to(dataset / "masks"))
        assert mask.shape == picture.shape[:2] == (STILL, STILL)
        assert set(np.unique(mask)) == {0, 255}
        assert np.count_nonzero(mask) >= 40
        assert not np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).any()


def test_same_arguments_write_the_same_bytes(dataset: Path, tmp_path: Path) -> None:
    write_demo_dataset(tmp_path / "again", parts=14, exposures=2, defective_share=0.5, seed=3)
    assert written(tmp_path / "again") == written(dataset)


def test_another_seed_writes_other_pictures_under_other_names(dataset: Path, tmp_path: Path) -> None:
    write_demo_dataset(tmp_path / "other", parts=3, exposures=1, defective_share=0.4, types=["dent"], seed=4)
    here, there = (
        {name: data for name, data in written(path).items() if name.endswith(".png")} for path in (dataset, tmp_path / "other")
    )
    assert len(there) == 4
    assert not {Path(name).stem for name in here} & {Path(name).stem for name in there}
    assert not set(here.values()) & set(there.values())


def test_types_not_asked_for_are_absent_and_change_no_part(dataset: Path, tmp_path: Path) -> None:
    write_demo_dataset(tmp_path / "two", parts=14, exposures=2, defective_share=0.5, types=["stain", "crack"], seed=3)
    assert {path.name for path in (tmp_path / "two" / "defective").iterdir()} == {"crack", "stain"}
    assert {path.name for path in (tmp_path / "two" / "masks").iterdir()} == {"crack", "stain"}
    before, after = written(dataset), written(tmp_path / "two")
    shared = before.keys() & after.keys() - {"groups.csv", "dataset.yaml"}
    assert {name for name in before if name.startswith("good/")} <= shared
    assert any(name.startswith("masks/") for name in shared)
    assert all(before[name] == after[name] for name in shared)


@pytest.mark.parametrize("defect_type", DEFECT_TYPES)
def test_a_defect_shows_and_changes_nothing_outside_its_mask(defect_type: str) -> None:
    for index in range(6):
        part = LotPart("any", index, defect_type)
        spoilt, mask = take_still(5, index, made_part(5, part), exposure=index % 3)
        good, nothing = take_still(5, index, made_part(5, replace(part, defect_type=None)), exposure=index % 3)
        assert not nothing.any()
        change = np.abs(spoilt.astype(float) - good.astype(float)).max(axis=2)
        near = cv2.dilate(mask, np.ones((9, 9), np.uint8)) > 0
        assert change[~near].max() < 12
        # Visible: a good part of the mask differs by far more than noise (about 2), dust and tool marks do.
        assert np.quantile(change[mask > 0], 0.85) > 18


def test_metal_stands_out_from_the_belt() -> None:
    for index in range(8):
        grey = cv2.cvtColor(take_still(6, index, made_part(6, LotPart("any", index, None)), exposure=0)[0], cv2.COLOR_BGR2GRAY)
        metal = grey > BETWEEN_BELT_AND_METAL
        assert 0.28 < metal.mean() < 0.36  # the plate without its holes
        belt = cv2.erode((~metal).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        assert grey[belt].max() < 60
        assert np.quantile(grey[metal], 0.1) > 105
        assert np.quantile(grey[metal], 0.9) < 235


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"types": ["dent", "hole_missing"]}, "unknown defect type hole_missing.*missing_hole"),
        ({"parts": 5}, "3 good and 2 defective.*6 defect types"),
        ({"parts": 0, "defective_share": 0.0}, "0 good"),
        ({"types": []}, "no defect types|at least 1"),
        ({"defective_share": 1.0}, "share is 1.0"),
        ({"seed": -1}, "seed is -1"),
        ({"exposures": 0}, "0 exposures"),
    ],
)
def test_arguments_that_cannot_be_met(tmp_path: Path, arguments: dict[str, object], said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        write_demo_dataset(tmp_path / "no", **arguments)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_share_of_none_makes_only_good_parts(tmp_path: Path) -> None:
    tmp_path.joinpath("good-only").mkdir()  # an empty folder is welcome
    write_demo_dataset(tmp_path / "good-only", parts=2, exposures=1, defective_share=0.0)
    assert {path.name for path in (tmp_path / "good-only").iterdir()} == {"good", "groups.csv", "dataset.yaml"}


def test_what_is_there_already_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for write in (write_demo_dataset, write_conveyor):
        with pytest.raises(DatasetError, match="not an empty folder"):
            write(tmp_path)
        with pytest.raises(DatasetError, match="not an empty folder"):
            write(tmp_path / "mine.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    for write in (write_demo_dataset, write_conveyor):
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "cut", progress=interrupt)
    assert not list(tmp_path.iterdir())


def test_truth_agrees_with_the_video(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_conveyor(
        tmp_path / "belt", parts=4, defective_share=0.5, types=["dent", "scratch"], progress=lambda *call: calls.append(call)
    )
    truth = rows(tmp_path / "belt" / "truth.csv")
    assert [row["part"] for row in truth] == [f"s1000p{index:04d}" for index in range(4)]
    assert sorted(row["defect_type"] for row in truth) == ["", "", "dent", "scratch"]
    assert all((row["label"] == "defective") == bool(row["defect_type"]) for row in truth)

    video = cv2.VideoCapture(str(tmp_path / "belt" / "belt.avi"))
    assert video.get(cv2.CAP_PROP_FPS) == 25
    whole: list[int] = []  # frames in which as many plates are wholly in view as the truth says
    frames = 0
    spans = [(int(row["first_frame"]), int(row["last_frame"])) for row in truth]
    while True:
        there, frame = video.read()
        if not there:
            break
        assert frame.shape == (HEIGHT, WIDTH, 3)
        metal = (cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) > BETWEEN_BELT_AND_METAL).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(metal)
        boxes = stats[1:][stats[1:, cv2.CC_STAT_AREA] > 2000]
        left, right = boxes[:, cv2.CC_STAT_LEFT], boxes[:, cv2.CC_STAT_LEFT] + boxes[:, cv2.CC_STAT_WIDTH]
        for first, last in spans:
            if frames in (first, last):
                assert np.any((left > 0) & (right < WIDTH))
            if frames == first:
                assert left.min() < 20  # it has only just come in
            if frames == last:
                assert right.max() > WIDTH - 20
        inside = sum(first <= frames <= last for first, last in spans)
        whole.append(int(np.count_nonzero((left > 0) & (right < WIDTH))) - inside)
        frames += 1
    video.release()
    assert calls == [(done, frames) for done in range(1, frames + 1)]
    # Seen from the pixels a plate may count as whole one frame longer: the truth keeps a pixel of margin on either side.
    assert all(0 <= extra <= 1 for extra in whole)
    assert sum(whole) <= 2 * len(truth)


def test_the_belt_moves_steadily_with_gaps_that_vary() -> None:
    lot = plan_lot(24, 0.4, DEFECT_TYPES, 1000)
    conveyor = plan_conveyor(lot, 1000)
    assert 600 <= len(conveyor.travel) <= 800
    speed = np.diff(conveyor.travel)
    assert speed.min() >= 12
    assert speed.max() <= 16
    centres = np.array([passage.start for passage in conveyor.passages])
    pitch = -np.diff(centres)
    assert pitch.min() > 190 + 30
    assert np.count_nonzero(pitch < 190 + 62) >= 3  # close together
    assert np.count_nonzero(pitch > 172 + WIDTH) >= 2  # nothing but belt in view
    firsts = [passage.first_frame for passage in conveyor.passages]
    assert firsts == sorted(set(firsts))

import csv
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from deploy.capture.collection import Collection
from deploy.errors import DatasetError
from deploy.preprocess import Picture, read_picture


@pytest.fixture
def picture() -> Picture:
    return np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)


@contextmanager
def opened(folder: Path, station: str | None = None) -> Iterator[Collection]:
    with closing(Collection(folder, station)) as collection:
        yield collection


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "groups.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_picture_is_saved_without_loss_and_listed(tmp_path: Path, picture: Picture) -> None:
    with opened(tmp_path / "new" / "parts", "press-1") as collection:
        group = collection.name_group(1)
        file = collection.add(picture, "defective/dent", group)
        assert collection.counts() == {"defective/dent": 1}
    folder = tmp_path / "new" / "parts"
    assert (read_picture(folder / file) == picture).all()
    assert group.startswith("press-1-")
    (row,) = rows(folder)
    assert (row["file"], row["group"], row["station"]) == (file, group, "press-1")
    assert row["time"].endswith("+00:00")


def test_removing_leaves_neither_picture_nor_line(tmp_path: Path, picture: Picture) -> None:
    with opened(tmp_path) as collection:
        kept = collection.add(picture, "good", "p-1")
        file = collection.add(picture, "good", "p-1")
        assert file != kept
        collection.remove(file)
        assert collection.counts() == {"good": 1}
    assert [row["file"] for row in rows(tmp_path)] == [kept]
    assert [path.name for path in (tmp_path / "good").iterdir()] == [Path(kept).name]


def test_sessions_of_the_same_second_share_no_name(tmp_path: Path, picture: Picture) -> None:
    for _ in range(3):
        with opened(tmp_path) as collection:
            collection.add(picture, "good", collection.name_group(1))
    assert len({row["group"] for row in rows(tmp_path)}) == len({row["file"] for row in rows(tmp_path)}) == 3


def test_two_captures_do_not_write_into_one_folder(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(DatasetError, match="another capture is writing here"):
        Collection(tmp_path)
    with opened(tmp_path):
        pass


def test_a_picture_without_its_line_gets_it_back(tmp_path: Path, picture: Picture) -> None:
    with opened(tmp_path) as collection:
        group = collection.name_group(1)
        collection.add(picture, "good", group)
        collection.add(picture, "good", group)
    before = (tmp_path / "groups.csv").read_text()
    # The last line cut off within the group's name, as a power cut may leave it.
    (tmp_path / "groups.csv").write_text(before[: before.rindex(group) + 9])
    (tmp_path / "good" / f".{group}_09.png.part").write_bytes(b"half")
    with opened(tmp_path) as collection:
        assert [note.partition(" ")[2] for note in collection.notes] == [
            f"had no line in groups.csv (an earlier session was cut short): part {group}"
        ]
    assert [row["group"] for row in rows(tmp_path)] == [group, group]
    assert (tmp_path / "groups.csv").read_text().endswith("\n")
    assert len(list((tmp_path / "good").iterdir())) == 2
    with opened(tmp_path) as collection:
        assert collection.notes == []


def test_a_line_follows_a_picture_that_was_moved_to_its_right_class(tmp_path: Path, picture: Picture) -> None:
    with opened(tmp_path) as collection:
        file = collection.add(picture, "good", collection.name_group(1))
    (before,) = rows(tmp_path)
    (tmp_path / "defective" / "dent").mkdir(parents=True)
    (tmp_path / file).rename(tmp_path / "defective" / "dent" / Path(file).name)
    with opened(tmp_path) as collection:
        assert len(collection.notes) == 1
        assert collection.counts() == {"defective/dent": 1}
    (after,) = rows(tmp_path)
    assert after == before | {"file": f"defective/dent/{Path(file).name}"}


def test_thousands_of_moved_pictures_are_followed_at_once(tmp_path: Path) -> None:
    count = 5000
    (tmp_path / "defective" / "dent").mkdir(parents=True)
    names = [f"20250101T000000Z-{number}_01.png" for number in range(count)]
    for name in names:
        (tmp_path / "defective" / "dent" / name).touch()
    (tmp_path / "groups.csv").write_text("file,group\n" + "".join(f"good/{name},g-{name}\n" for name in names))
    start = time.process_time()
    with opened(tmp_path) as collection:
        assert len(collection.notes) == count
    assert time.process_time() - start < 10  # over a minute where each is compared with every other
    assert {row["file"]: row["group"] for row in rows(tmp_path)} == {f"defective/dent/{name}": f"g-{name}" for name in names}


def test_names_that_moved_twice_are_not_guessed(tmp_path: Path) -> None:
    for kind in ("dent", "scratch"):
        (tmp_path / "defective" / kind).mkdir(parents=True)
        (tmp_path / "defective" / kind / "a.png").touch()
    (tmp_path / "groups.csv").write_text("file,group\ngood/a.png,p\n")
    with pytest.raises(DatasetError, match="names no group for 2 of 2 pictures"):
        Collection(tmp_path)


@pytest.mark.parametrize(
    ("opener", "listed", "filled"),
    [
        pytest.param("press-1", "", "press-1", id="this station"),
        pytest.param(None, "good/x.png,x,,press-1\n", "press-1", id="another session's"),
        pytest.param("press", "", "", id="a station that nobody told of"),
        pytest.param(None, "", "", id="no station"),
    ],
)
def test_a_line_that_is_put_back_names_its_station(
    opener: str | None, listed: str, filled: str, tmp_path: Path, picture: Picture
) -> None:
    with opened(tmp_path, "press-1") as collection:
        file = collection.add(picture, "good", collection.name_group(1))
    (tmp_path / "groups.csv").write_text(f"file,group,time,station\n{listed}")
    with opened(tmp_path, opener):
        pass
    (row,) = (row for row in rows(tmp_path) if row["file"] == file)
    assert row["station"] == filled


def test_a_table_with_other_columns_keeps_them(tmp_path: Path, picture: Picture) -> None:
    (tmp_path / "good").mkdir()
    cv2.imwrite(str(tmp_path / "good" / "a.png"), picture)
    (tmp_path / "groups.csv").write_text("group,line,file\nold,7,good/a.png")
    with opened(tmp_path, "press-1") as collection:
        assert "no column station" in collection.notes[0]
        file = collection.add(picture, "good", "press-1-new")
    assert (tmp_path / "groups.csv").read_text() == f"group,line,file\nold,7,good/a.png\npress-1-new,,{file}\n"


@pytest.mark.parametrize(
    ("files", "table", "message"),
    [
        pytest.param(["good/a.png"], None, "holds 1 pictures but no groups.csv", id="no table"),
        pytest.param(["ok/a.png"], None, "holds 1 pictures but no groups.csv", id="no table, class folders"),
        pytest.param(["good/a.png"], "file,group\n", "names no group for 1 of 1 pictures", id="a stranger"),
        pytest.param(["good/a.png"], "file,group\ngood/a.png,\n", "names no group for 1 of 1 pictures", id="no group"),
        pytest.param(["train/good/a.png"], "file,group\ntrain/good/a.png,p\n", "split into folders such as train/", id="split"),
        pytest.param([], "part\n", "file, group is missing", id="another table"),
    ],
)
def test_a_folder_that_would_need_guessing_is_refused_unchanged(
    files: list[str], table: str | None, message: str, tmp_path: Path
) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_bytes(b"a picture")
    if table is not None:
        (tmp_path / "groups.csv").write_text(table)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(DatasetError, match=message):
        Collection(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_masks_are_no_pictures_of_parts(tmp_path: Path) -> None:
    (tmp_path / "masks" / "dent").mkdir(parents=True)
    (tmp_path / "masks" / "dent" / "a.png").write_bytes(b"a mask")
    with opened(tmp_path) as collection:
        assert collection.counts() == {}


def test_a_picture_whose_line_cannot_be_written_is_not_kept(
    tmp_path: Path, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with opened(tmp_path) as collection:
        monkeypatch.setattr("deploy.capture.collection.append_row", full)
        with pytest.raises(DatasetError, match=r"was not saved \(No space left on device\)"):
            collection.add(picture, "good", "p-1")
        monkeypatch.undo()
        assert collection.counts() == {}
        collection.add(picture, "good", "p-1")
    assert len(rows(tmp_path)) == 1
    assert len(list((tmp_path / "good").iterdir())) == 1


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="cannot be used as a folder"):
        Collection(tmp_path / "file")

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.errors import DatasetError
from pipeline.data.layouts import check_classes, read_dataset
from tests.pipeline.conftest import MakeFiles

LAYOUTS = {
    "own": (
        ["good/a.png", "defective/dent/b.png", "defective/crack/c.jpg", "masks/dent/b.png"],
        {("good", "", ""): 1, ("defective", "dent", ""): 1, ("defective", "crack", ""): 1},
    ),
    "one defective folder": (["ok/a.png", "ng/b.png"], {("good", "", ""): 1, ("defective", "defective", ""): 1}),
    "class folders": (["normal/a.png", "Scratch/b.bmp"], {("good", "", ""): 1, ("defective", "Scratch", ""): 1}),
    "class folders with a split": (
        ["train/good/a.png", "train/defective/b.png", "valid/good/c.png", "test/defective/d.png"],
        {
            ("good", "", "train"): 1,
            ("defective", "defective", "train"): 1,
            ("good", "", "validation"): 1,
            ("defective", "defective", "test"): 1,
        },
    ),
    "MVTec AD": (
        ["train/good/000.png", "test/good/000.png", "test/hole/000.png", "ground_truth/hole/000_mask.png"],
        {("good", "", "train"): 1, ("good", "", "test"): 1, ("defective", "hole", "test"): 1},
    ),
    "nested and hidden": (
        ["good/line1/a.png", "good/.thumbs/x.png", "good/.y.png", "dent/b.tiff"],
        {("good", "", ""): 1, ("defective", "dent", ""): 1},
    ),
    "masks among the pictures": (
        ["good/a.png", "good/masks/a.png", "defective/scratch/b.png", "defective/masks/scratch/b.png"],
        {("good", "", ""): 1, ("defective", "scratch", ""): 1},
    ),
    "masks in class folders": (
        [
            "good/a.png",
            "dent/c.png",
            "dent/masks/c.png",
            "scratch/b.png",
            "scratch/x/Ground_Truth/b.png",
            "bad/d.png",
            "bad/masks/d.png",
        ],
        {("good", "", ""): 1, ("defective", "dent", ""): 1, ("defective", "scratch", ""): 1, ("defective", "defective", ""): 1},
    ),
    "an empty split folder": (
        ["good/a.png", "dent/b.png", "test/masks/dent/b.png"],
        {("good", "", ""): 1, ("defective", "dent", ""): 1},
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_are_read_as_they_are(layout: str, tmp_path: Path, write_pictures: MakeFiles) -> None:
    names, expected = LAYOUTS[layout]
    write_pictures(tmp_path, names)
    samples = read_dataset(tmp_path).samples
    assert Counter((sample.label, sample.defect_type, sample.split) for sample in samples) == expected


def test_masks_are_found_in_both_layouts(tmp_path: Path, write_pictures: MakeFiles) -> None:
    for layout in ("own", "MVTec AD"):
        write_pictures(tmp_path / layout, LAYOUTS[layout][0])
        masks = [sample.mask for sample in read_dataset(tmp_path / layout).samples if sample.mask]
        assert len(masks) == 1
        assert (tmp_path / layout / masks[0]).is_file()


def test_csv_layout(tmp_path: Path, write_pictures: MakeFiles) -> None:
    write_pictures(tmp_path, ["x/1.png", "x/2.png"])
    table = tmp_path / "parts.csv"
    table.write_text("path,label,defect_type,group,split\nx/1.png,good,,p1,train\nx/2.png,defective,dent,p2,test\n")
    dataset = read_dataset(table)
    assert dataset.name == "parts"
    assert dataset.groups_from == "csv"
    assert [(s.label, s.defect_type, s.group, s.split) for s in dataset.samples] == [
        ("good", "", "p1", "train"),
        ("defective", "dent", "p2", "test"),
    ]


def test_card_names_good_classes_and_groups(tmp_path: Path, write_pictures: MakeFiles) -> None:
    write_pictures(tmp_path, ["fine/p01_a.png", "fine/p02_a.png", "dent/p03_a.png"])
    (tmp_path / "dataset.yaml").write_text("name: plates\ngood: [fine]\ngroup_regex: '(p\\d+)'\n")
    dataset = read_dataset(tmp_path)
    assert dataset.name == "plates"
    assert sorted((sample.label, sample.group) for sample in dataset.samples) == [
        ("defective", "p03"),
        ("good", "p01"),
        ("good", "p02"),
    ]


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda root: root / "nowhere", "does not exist"),
    "a file": (lambda root: _text(root / "notes.txt", "hello"), "expected a dataset folder"),
    "CSV without labels": (lambda root: _text(root / "a.csv", "path\nx.png\n"), "label is missing"),
    "CSV with a strange label": (lambda root: _text(root / "b.csv", "path,label\nx.png,maybe\n"), "line 2: label 'maybe'"),
    "CSV with a strange split": (lambda root: _text(root / "c.csv", "path,label,split\nx.png,good,exam\n"), "split 'exam'"),
    "CSV with some groups": (
        lambda root: _text(root / "d.csv", "path,label,group\nx.png,good,1\ny.png,bad,\n"),
        "1 of 2 pictures",
    ),
    "CSV with some splits": (
        lambda root: _text(root / "e.csv", "path,label,split\nx.png,good,train\ny.png,bad\n"),
        "a split for 1 of 2",
    ),
    "CSV in another encoding": (lambda root: _latin(root / "f.csv"), "not in UTF-8"),
    "broken regex": (lambda root: _text(root / "dataset.yaml", "group_regex: '(p'\n").parent, "is no regex"),
    "unknown key in the card": (lambda root: _text(root / "dataset.yaml", "nmae: x\n").parent, "nmae"),
    "regex that finds nothing": (lambda root: _text(root / "dataset.yaml", "group_regex: '(zz)'\n").parent, "finds no group in"),
    "a slice nobody names": (
        lambda root: _text(root / "h.csv", "path,label,camera\nx.png,good,1\n", "slices: [line]"),
        r"slice 'line', but .*h\.csv has no such column; it has camera",
    ),
    "a slice without groups.csv": (
        lambda root: _text(root / "dataset.yaml", "slices: [line]\n").parent,
        "does not exist; slices",
    ),
    "a column of the manifest": (lambda root: _text(root / "i.csv", "path,label,sha256\nx.png,good,1\n"), "a column 'sha256'"),
    "a column twice": (lambda root: _text(root / "j.csv", "path,label,line,line\nx.png,good,1,2\n"), "two columns called line"),
    "a time that is none": (
        lambda root: _text(root / "k.csv", "path,label,time\nx.png,good,2026-03-01\ny.png,bad,yesterday\n"),
        "line 3: time 'yesterday'; expected ISO 8601",
    ),
    "times with and without a zone": (
        lambda root: _text(root / "l.csv", "path,label,time\nx.png,good,2026-03-01T10:00Z\ny.png,bad,2026-03-01T10:00\n"),
        "line 2 tells the zone of its time, line 3 does not",
    ),
    "too many cells": (lambda root: _text(root / "m.csv", "path,label\nx.png,good,red, green\n"), "line 2 has more cells"),
    "a picture twice": (
        lambda root: _text(root / "n.csv", "path,label\nx.png,good\nx.png,bad\n"),
        "line 3: x.png is listed a second",
    ),
    "a picture without a name": (lambda root: _text(root / "o.csv", "path,label\n,good\n"), "line 2 names no picture"),
    "a mask that is missing": (
        lambda root: _text(root / "p.csv", "path,label,mask\nx.png,bad,m/x.png\n"),
        "line 2: the mask m/x.png does not exist",
    ),
    "a picture twice in groups.csv": (
        lambda root: _text(root / "groups.csv", "file,group\ngood/a.png,1\ndent/b.png,2\ngood/a.png,3\n").parent,
        r"names good/a\.png twice \(first: line 2\)",
    ),
    "a group called like a guessed one": (
        lambda root: _text(root / "groups.csv", "file,group\ngood/a.png,1\ndent/b.png,like-2\n").parent,
        "groups.csv line 3: group 'like-2'; 'like-' begins the names of groups that are guessed: rename",
    ),
    "a group called like a guessed one in a CSV": (
        lambda root: _text(root / "q.csv", "path,label,group\nx.png,good,like-1\n"),
        "line 2: group 'like-1'",
    ),
    "a regex that finds groups called like guessed ones": (
        lambda root: _text(root / "q.csv", "path,label\nlike-1.png,good\n", "group_regex: '(like-.)'"),
        "group_regex .* and like-1.png: group 'like-1'",
    ),
    "a slice in both tables": (
        lambda root: _text(
            _text(root / "groups.csv", "file,group,line\nx.png,1,2\n").with_name("r.csv"), "path,label,line\nx.png,good,3\n"
        ),
        "both have a column 'line'",
    ),
    "semicolons, and a column is missing": (
        lambda root: _text(root / "groups.csv", "file;part\ngood/a.png;1\n").parent,
        "has the columns file, part; group is missing",
    ),
    "too many semicolons": (lambda root: _text(root / "s.csv", "path;label\nx.png;good;red\n"), "is a semicolon not in quotes"),
    "folders beside the split": (
        lambda root: _folder(root / "test" / "good", root / "good" / "a.png"),
        "pictures both in test/ and in dent/ beside it; put all of them into train",
    ),
    "groups for some only": (lambda root: _text(root / "groups.csv", "file,group\n").parent, "no group for 2 of 2"),
}


def _folder(folder: Path, picture: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(picture.read_bytes())
    return folder.parents[1]


def _latin(file: Path) -> Path:
    file.write_bytes("path,label\nstück.png,good\n".encode("latin-1"))
    return file


def _text(file: Path, content: str, card: str = "") -> Path:
    file.write_text(content)
    if card:
        (file.parent / "dataset.yaml").write_text(card)
    return file


@pytest.mark.parametrize("case", BAD)
def test_bad_datasets_get_one_clear_sentence(case: str, tmp_path: Path, write_pictures: MakeFiles) -> None:
    write_pictures(tmp_path, ["good/a.png", "dent/b.png"])
    make, expected = BAD[case]
    with pytest.raises(DatasetError, match=expected):
        read_dataset(make(tmp_path))


@pytest.mark.parametrize(
    ("names", "expected"),
    [([], "no readable pictures"), (["good/a.png"], "1 good and 0 defective"), (["bad/a.png"], "0 good and 1 def")],
)
def test_one_class_is_not_enough(names: list[str], expected: str, tmp_path: Path, write_pictures: MakeFiles) -> None:
    write_pictures(tmp_path, names)
    with pytest.raises(DatasetError, match=expected):
        check_classes(read_dataset(tmp_path).samples, tmp_path)


def test_further_columns_are_slices(tmp_path: Path, write_pictures: MakeFiles) -> None:
    write_pictures(tmp_path, ["good/a.png", "dent/b.png"])
    header, rows = (
        "file,group,line,time,camera",
        "good/a.png,1,L1,2026-03-01T11:20:00+01:00,7\ndent/b.png,2,,2026-03-02T00:00Z,8\n",
    )
    (tmp_path / "groups.csv").write_text(f"{header}\n{rows}")
    (tmp_path / "t.csv").write_text(
        f"{header.replace('file', 'path')},label\n{rows}".replace(",7", ",7,ok").replace(",8", ",8,bad")
    )
    expected = {
        "good/a.png": (("camera", "7"), ("line", "L1"), ("time", "2026-03-01T10:20:00+00:00")),
        "dent/b.png": (("camera", "8"), ("time", "2026-03-02T00:00:00+00:00")),
    }
    for source in (tmp_path, tmp_path / "t.csv"):
        assert {sample.path: sample.slices for sample in read_dataset(source).samples} == expected
        (tmp_path / "dataset.yaml").write_text("slices: [line, camera]\n")
        narrowed = {sample.path: sample.slices for sample in read_dataset(source).samples}
        assert narrowed == {path: slices[:-1] for path, slices in expected.items()}
        (tmp_path / "dataset.yaml").unlink()


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_spreadsheets_may_separate_as_they_like(separator: str, tmp_path: Path, write_pictures: MakeFiles) -> None:
    write_pictures(tmp_path, ["good/a.png", "dent/b.png", "dent/c.png"])
    lines = ["file,group,line", r" good\a.png , part1,L1", r".\dent\b.png,part1 ,L2", ",,", "dent/c.png,part2, L2 "]
    (tmp_path / "groups.csv").write_bytes("\r\n".join(lines).replace(",", separator).encode("utf-8-sig"))
    by_folder = read_dataset(tmp_path).samples
    assert [(sample.path, sample.group) for sample in by_folder] == [
        ("dent/b.png", "part1"),
        ("dent/c.png", "part2"),
        ("good/a.png", "part1"),
    ]
    assert by_folder[1].slices == (("line", "L2"),)
    lines = ["path,label,defect_type,group,split,mask"]
    lines += [r" good\a.png , good ,, p1, train,", r"dent\b.png, bad, dent , p1 ,train ,dent\c.png"]
    (tmp_path / "t.csv").write_text("\n".join(lines).replace(",", separator))
    good, bad = read_dataset(tmp_path / "t.csv").samples
    assert (good.path, good.label, good.group, good.split) == ("good/a.png", "good", "p1", "train")
    assert (bad.path, bad.defect_type, bad.group, bad.split, bad.mask) == ("dent/b.png", "dent", "p1", "train", "dent/c.png")


def test_a_table_wins_over_folders_that_name_no_class(tmp_path: Path, write_pictures: MakeFiles) -> None:
    write_pictures(tmp_path, ["images/a.png", "images/b.png", "test/c.png"])
    (tmp_path / "labels.csv").write_text("path;label\nimages/a.png;good\nimages/b.png;bad\n")
    dataset = read_dataset(tmp_path)
    assert [(sample.path, sample.label) for sample in dataset.samples] == [
        ("images/a.png", "good"),
        ("images/b.png", "defective"),
    ]
    assert dataset.notes == ()
    (tmp_path / "labels2.csv").write_text("path,label\n")
    with pytest.raises(
        DatasetError, match=r"holds 2 tables, labels\.csv and labels2\.csv .* name the file, or say --layout folders"
    ):
        read_dataset(tmp_path)


def test_a_table_that_excel_saved_in_another_encoding_is_not_passed_over(tmp_path: Path, write_pictures: MakeFiles) -> None:
    write_pictures(tmp_path, ["images/a.png"])
    _latin(tmp_path / "labels.csv")
    with pytest.raises(DatasetError, match=r"labels\.csv is not in UTF-8"):
        read_dataset(tmp_path)


def test_a_table_that_is_passed_over_is_named(tmp_path: Path, write_pictures: MakeFiles) -> None:
    write_pictures(tmp_path, ["good/a.png", "dent/b.png"])
    (tmp_path / "labels.csv").write_text("path,label\ngood/a.png,bad\n")
    (tmp_path / "other.csv").write_text("a,b\n")
    assert read_dataset(tmp_path).notes == (
        "1 table has the columns path,label and is not read: name the file to read it (labels.csv)",
    )
    assert read_dataset(tmp_path, "folders").notes == ()


def test_groups_of_a_table_may_stand_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label,line\nx/p1_a.png,good,L1\nx/p2_a.png,bad,\n")
    (tmp_path / "dataset.yaml").write_text("group_regex: '(p\\d)'\nslices: [line]\n")
    dataset = read_dataset(tmp_path / "t.csv")
    assert dataset.groups_from == "group_regex"
    assert [(sample.group, sample.slices) for sample in dataset.samples] == [("p1", (("line", "L1"),)), ("p2", ())]
    (tmp_path / "groups.csv").write_text("file,group,camera\nx/p1_a.png,g,1\nx/p2_a.png,h,2\n")
    (tmp_path / "dataset.yaml").write_text("slices: [line, camera]\n")
    dataset = read_dataset(tmp_path)
    assert dataset.groups_from == "groups.csv"
    assert [(sample.group, sample.slices) for sample in dataset.samples] == [
        ("g", (("camera", "1"), ("line", "L1"))),
        ("h", (("camera", "2"),)),
    ]
    (tmp_path / "groups.csv").write_text("file,group,camera\nx/p1_a.png,g,1\n")
    with pytest.raises(DatasetError, match="names no group for 1 of 2 pictures"):
        read_dataset(tmp_path)


def test_names_that_are_not_in_utf_8_are_left_out_and_told(tmp_path: Path, write_pictures: MakeFiles) -> None:
    write_pictures(tmp_path, ["good/a.png", "dent/b.png"])
    content = (tmp_path / "good/a.png").read_bytes()
    try:
        (tmp_path / os.fsdecode(b"good/pr\xfcf.png")).write_bytes(content)
    except OSError:
        pytest.skip("this file system takes no such names")
    (tmp_path / os.fsdecode(b"kratz\xe9r")).mkdir()
    (tmp_path / os.fsdecode(b"kratz\xe9r/x.png")).write_bytes(content)
    dataset = read_dataset(tmp_path)
    assert [sample.path for sample in dataset.samples] == ["dent/b.png", "good/a.png"]
    assert dataset.notes == (r"2 file names are not in UTF-8 and are left out: rename them (first: good/pr\xfcf.png)",)
    with pytest.raises(DatasetError, match=r"kratz\\xe9r is not in UTF-8; rename"):
        read_dataset(tmp_path / os.fsdecode(b"kratz\xe9r"))


def test_a_table_names_masks(tmp_path: Path, write_pictures: MakeFiles) -> None:
    write_pictures(tmp_path, ["a.png", "b.png", "m/a.png"])
    (tmp_path / "t.csv").write_text("path,label,mask\na.png,bad,m/a.png\nb.png,good,m/b.png\n")
    assert [sample.mask for sample in read_dataset(tmp_path / "t.csv").samples] == ["m/a.png", ""]


MASKS: dict[str, tuple[list[str], list[str]]] = {
    "split inside": (
        ["train/dent/1.png", "test/dent/1.png", "masks/train/dent/1.png", "masks/test/dent/1.png"],
        ["masks/test/dent/1.png", "masks/train/dent/1.png"],
    ),
    "split outside": (
        ["train/dent/1.png", "test/dent/1.png", "train/masks/dent/1.png", "test/masks/dent/1.png"],
        ["test/masks/dent/1.png", "train/masks/dent/1.png"],
    ),
    "only one has one": (["train/dent/1.png", "test/dent/1.png", "masks/train/dent/1.png"], ["", "masks/train/dent/1.png"]),
    "shared folder, other names": (
        ["train/dent/1.png", "test/dent/2.png", "masks/dent/1.png", "masks/dent/2.png"],
        ["masks/dent/2.png", "masks/dent/1.png"],
    ),
    "folders in a class": (
        ["dent/x/1.png", "dent/y/1.png", "masks/dent/x/1.png", "masks/dent/y/1.png"],
        ["masks/dent/x/1.png", "masks/dent/y/1.png"],
    ),
    "beside the pictures": (
        ["defective/b.png", "defective/masks/b.png", "dent/c.png", "dent/ground_truth/c_mask.png"],
        ["defective/masks/b.png", "dent/ground_truth/c_mask.png"],
    ),
    "beside the types": (
        ["defective/dent/b.png", "defective/masks/dent/b.png"],
        ["defective/masks/dent/b.png"],
    ),
    "ground truth in the split": (
        ["train/dent/1.png", "test/dent/1.png", "test/ground_truth/dent/1_mask.png"],
        ["test/ground_truth/dent/1_mask.png", ""],
    ),
}


@pytest.mark.parametrize("case", MASKS)
def test_the_nearest_mask_is_taken(case: str, tmp_path: Path, write_pictures: MakeFiles) -> None:
    names, expected = MASKS[case]
    write_pictures(tmp_path, names)
    assert [sample.mask for sample in read_dataset(tmp_path).samples] == expected


@pytest.mark.parametrize(
    "pictures", [("train/dent/1.png", "test/dent/1.png"), ("dent/x/1.png", "dent/y/1.png"), ("dent/1.png", "dent/1.jpg")]
)
def test_a_mask_that_two_pictures_would_share_is_refused(
    pictures: tuple[str, str], tmp_path: Path, write_pictures: MakeFiles
) -> None:
    write_pictures(tmp_path, [*pictures, "masks/dent/1.png"])
    with pytest.raises(DatasetError, match=r"masks/dent/1\.png would be the mask of 2 pictures"):
        read_dataset(tmp_path)

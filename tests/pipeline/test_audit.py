"""`pipeline audit` on datasets with faults put in on purpose: every one is found, named, and decides the exit code."""

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier

from deploy.bundle import sha256_of
from deploy.errors import DatasetError
from deploy.preprocess import Picture
from pipeline.cli import main
from pipeline.data.audit import command as command_module
from pipeline.data.audit import shortcuts as shortcuts_module
from pipeline.data.audit.command import audit_command, gather
from pipeline.data.audit.files import check_files
from pipeline.data.audit.finding import Checked, Material
from pipeline.data.audit.input_size import check_input_size
from pipeline.data.audit.labels import check_labels, find_contradictions, rank_labels
from pipeline.data.audit.leakage import Siblings, check_leakage, find_siblings
from pipeline.data.audit.probe import out_of_fold
from pipeline.data.audit.proof import check_proof
from pipeline.data.audit.shortcuts import check_shortcuts
from pipeline.data.layouts import read_dataset
from pipeline.data.lookalikes import LookAlikes
from pipeline.data.manifest import Manifest, write_manifest
from pipeline.data.sample import Sample
from pipeline.data.survey.facts import ARRAYS, Facts, pack, unpack
from tests.integration.test_journey import command, give, start, wait_for
from tests.pipeline.test_lookalikes import scene, turned

Json = dict[str, Any]
SIDE = 96
HOSTILE = "<img src=x onerror=alert(1)>.png"
NO_SIBLINGS = Siblings((), (), None)


@pytest.fixture(autouse=True)
def without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have source weights: what is found must not depend on it."""
    monkeypatch.delenv("INSPECTOR_WEIGHTS", raising=False)


def part(seed: int, side: int = SIDE) -> Picture:
    """A part like no other, in colour."""
    return np.asarray(scene(seed, side) * np.array([0.7, 0.85, 1.0]), np.uint8)


def letters(number: int) -> str:
    """A name without a number: one that counts would be a trace of its own."""
    return chr(97 + number // 26) + chr(97 + number % 26)


def put(file: Path, picture: npt.NDArray[np.generic], kind: str = "") -> None:
    """Write a picture under any name, as `kind` or as what its name says."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(cv2.imencode(kind or file.suffix, np.ascontiguousarray(picture))[1].tobytes())


def put_parts(root: Path, good: int, dent: int, side: int = SIDE, first: int = 0) -> Path:
    """Good and dented parts, one picture of each."""
    for number in range(good):
        put(root / "good" / f"g{letters(number)}.png", part(first + number, side))
    for number in range(dent):
        put(root / "defective" / "dent" / f"d{letters(number)}.png", part(first + 500 + number, side))
    return root


def name_groups(root: Path, group_of: Callable[[str], str]) -> None:
    """Write groups.csv for all pictures."""
    files = sorted(file.relative_to(root).as_posix() for file in root.rglob("*") if file.suffix in (".png", ".jpg"))
    (root / "groups.csv").write_text("file,group\n" + "".join(f"{file},{group_of(file)}\n" for file in files))


def found(checked: Checked, severity: str) -> list[str]:
    return [finding.what for finding in checked.findings if finding.severity == severity]


def leakage(root: Path) -> Checked:
    material = gather(root)
    return check_leakage(material, find_siblings(material))


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """Give a command in this process; returns its exit code and what it said."""
    monkeypatch.setattr(sys, "argv", ["pipeline", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    said = capsys.readouterr()
    return int(stopped.value.code or 0), " ".join((said.out + said.err).split())


def read(folder: Path) -> Json:
    content: Json = json.loads((folder / "audit.json").read_text())
    return content


def told(figures: Json, severity: str) -> list[str]:
    return [finding["what"] for finding in figures["findings"] if finding["severity"] == severity]


# 1. files, through the real command -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with a fault of every kind among 34 sound parts; audited, with the report in out/faulty."""
    home = tmp_path_factory.mktemp("files")
    root = put_parts(home / "faulty", 29, 5)
    good = root / "good"
    whole = cv2.imencode(".jpg", part(100))[1].tobytes()
    (good / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (good / "empty.png").write_bytes(b"")
    (good / "text.png").write_text("no picture")
    put(good / "misnamed.jpg", part(101), ".png")
    (good / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    put(good / "twelve.png", part(102).astype(np.uint16) << 4)
    put(good / "dark.png", (part(103) * 0.02).astype(np.uint8))
    put(good / "blurred.png", cv2.GaussianBlur(part(104), (0, 0), 6))
    put(good / HOSTILE, part(105)[:80, :64])
    put(good / "grey.png", scene(106, SIDE))
    (root / "defective" / "<b onclick=alert(2)>").mkdir()
    put(root / "defective" / "<b onclick=alert(2)>" / "x.png", part(107))
    (root / "dataset.yaml").write_text("name: '<svg onload=alert(3)>'\n")
    give("pipeline", "audit", root, "--out", home / "out", home=home, code=1)
    return home


def report_of(home: Path) -> Path:
    (folder,) = (home / "out").iterdir()
    return folder


def test_every_faulty_file_is_named(faulty: Path) -> None:
    figures = read(report_of(faulty))
    assert figures["result"] == "warnings"
    assert sorted(figures["unreadable"]) == ["good/empty.png", "good/text.png", "good/truncated.jpg"]
    reasons = figures["unreadable_reasons"]
    assert "0 bytes" in reasons["good/empty.png"]
    assert "not a readable picture" in reasons["good/text.png"]
    assert "truncated" in reasons["good/truncated.jpg"]
    assert not set(figures["unreadable"]) & set(figures["pictures"])
    assert figures["wrongly_named"] == {"good/misnamed.jpg": "PNG"}
    assert figures["ignored_files"] == ["good/phone.heic"]
    assert figures["unusual"]["16 bit"] == ["good/twelve.png"]
    assert figures["unusual"]["grey"] == ["good/grey.png"]
    assert figures["unusual"]["not 96 x 96"] == [f"good/{HOSTILE}"]
    outliers = {what: {one["path"] for one in some} for what, some in figures["outliers"].items()}
    assert outliers["nearly black"] == {"good/dark.png"}
    assert outliers["far darker or brighter than the others"] >= {"good/dark.png", "good/twelve.png"}
    assert "good/blurred.png" in outliers["far less sharp than the others"]
    assert not set.union(*outliers.values()) & {f"good/g{letters(number)}.png" for number in range(20)}


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        (r"\b3\b.*cannot be read", None),
        (r"misnamed\.jpg is a PNG", None),
        (r"kinds that are not read.*good/phone\.heic", None),
        (r"16 bit.*more than 12.*16 times too dark", None),
        (r"^1 pictures are 16 bit, unlike the others", "good/twelve.png: 96 x 96, 16 bit, colour"),
        (r"^1 pictures are grey, unlike the others", "good/grey.png: 96 x 96, 8 bit, grey"),
        (r"96 x 96", "onerror=alert(1)&gt;.png: 64 x 80, 8 bit, colour"),
        (r"nearly black", "good/dark.png: "),
        (r"fewer than 5 parts.*<b onclick=alert\(2\)>$", None),
    ],
)
def test_every_fault_is_a_warning_and_is_shown(sentence: str, shown: str | None, faulty: Path) -> None:
    warnings = told(read(report_of(faulty)), "warning")
    assert any(re.search(sentence, what) for what in warnings), warnings
    assert shown is None or shown in (report_of(faulty) / "audit.html").read_text()


class Tags(HTMLParser):
    """Everything of a page that could load or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.pictures = 0
        self.bad: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "iframe", "object", "embed", "svg", "b", "base", "form") and attrs:
            self.bad.append(tag)
        for name, value in attrs:
            if name.startswith("on") or name in ("href", "srcset", "background", "action"):
                self.bad.append(f"{tag} {name}")
            if name == "src":
                self.pictures += 1
                if not (value or "").startswith("data:image/jpeg;base64,/9j/"):
                    self.bad.append(f"{tag} src={value}")


def test_the_report_is_one_page_that_runs_nothing(faulty: Path) -> None:
    page = (report_of(faulty) / "audit.html").read_text()
    assert not re.search(r"https?://|@import|url\(", page)
    tags = Tags()
    tags.feed(page)
    assert tags.bad == []
    assert tags.pictures >= 5
    assert "&lt;img src=x onerror=alert(1)&gt;.png" in page
    assert "&lt;b onclick=alert(2)&gt;" in page
    assert "&lt;svg onload=alert(3)&gt;" in page


def test_a_second_audit_says_the_same(faulty: Path, tmp_path: Path) -> None:
    assert audit_command(faulty / "faulty", tmp_path, None, None) == 1
    (again,) = tmp_path.iterdir()
    assert sorted(file.name for file in again.iterdir()) == ["audit.html", "audit.json"]
    for name in ("audit.json", "audit.html"):
        assert (again / name).read_bytes() == (report_of(faulty) / name).read_bytes()


def test_sound_files_give_no_warning(tmp_path: Path) -> None:
    checked = check_files(gather(put_parts(tmp_path / "parts", 12, 8)))
    assert (found(checked, "warning"), found(checked, "error")) == ([], [])
    assert checked.figures == {
        "unreadable": [],
        "unreadable_reasons": {},
        "bad_masks": {},
        "wrongly_named": {},
        "ignored_files": [],
        "unusual": {},
        "outliers": checked.figures["outliers"],
    }
    assert not any("black" in what or "white" in what for what in checked.figures["outliers"])


# 2. leakage -----------------------------------------------------------------------------------------------------------------

TESTED: Mapping[str, tuple[str, Callable[[Picture], Picture], str]] = {
    "quarter.png": ("gab", lambda one: np.rot90(one), r"look-alike: (shifted|turned)"),
    "turned.png": ("gac", lambda one: turned(one, 37), r"look-alike: turned or mirrored$"),
    "mirrored.png": ("gad", lambda one: one[:, ::-1], r"look-alike: (shifted|turned).*"),
    "darker.png": ("gae", lambda one: (one * 0.5).astype(np.uint8), r"look-alike: shifted, mirrored or a quarter turn"),
    "resaved.jpg": ("gaf", lambda one: one, r"look-alike: the same picture saved again$"),
    "same.png": ("gag", lambda one: one, r"same file$"),
}
"""Test picture -> the training picture it was made from, how, and the reason that must be told."""


def put_leaks(root: Path, split: bool) -> Path:
    """Parts, six of which have a sibling; with `split`, it is in the test part and they are in training."""
    put_parts(root / "train" if split else root, 24, 12, 128)
    put_parts(root / "test" if split else root / "more", 6, 5, 128, first=200)
    if not split:
        for file in sorted((root / "more").rglob("*.png")):
            file.rename(root / file.parent.relative_to(root / "more") / f"more-{file.name}")
        shutil.rmtree(root / "more")
    for name, (source, change, _) in TESTED.items():
        original = cv2.imread(str((root / "train" if split else root) / "good" / f"{source}.png"))
        assert original is not None
        put((root / "test" if split else root) / "good" / name, change(original.astype(np.uint8)))
    return root


@pytest.fixture
def no_shortcuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole audit less the one check that takes seconds."""
    monkeypatch.setattr(command_module, "check_shortcuts", lambda material: Checked((), {"shortcuts": []}))


@pytest.mark.usefixtures("no_shortcuts")
def test_siblings_in_the_test_part_are_found(tmp_path: Path) -> None:
    root = put_leaks(tmp_path / "leaking", split=True)
    assert audit_command(root, tmp_path / "out", None, None) == 2
    figures = read(tmp_path / "out" / "leaking")
    leaks = {leak["test"]: leak for leak in figures["leaks"]}
    assert len(leaks) == len(figures["leaks"]) == figures["leaking_test_pictures"] == len(TESTED)
    for name, (source, _, reason) in TESTED.items():
        leak = leaks[f"test/good/{name}"]
        assert leak["train"] == f"train/good/{source}.png"
        assert re.match(reason, leak["reason"]), leak
        assert leak["part"] == "test"
        assert leak["sibling_part"] in ("train", "validation")  # which is taken from the training part, where there is none
    (what,) = told(figures, "error")
    assert what.startswith(f"the split leaks: {len(TESTED)} of 17 test pictures have a sibling outside the test part (")
    assert figures["split"] == "brought"
    assert figures["result"] == "errors"
    assert sorted(map(len, figures["clusters"])) == [2] * len(TESTED)
    page = (tmp_path / "out" / "leaking" / "audit.html").read_text()
    assert "Do not train on this as it is." in page
    assert "train/good/gac.png (look-alike: turned or mirrored)" in page


def test_a_leaking_validation_part_is_told_too(tmp_path: Path) -> None:
    root = put_leaks(tmp_path / "leaking", split=True)
    (root / "test").rename(root / "val")
    put_parts(root / "test", 3, 3, 128, first=300)
    checked = leakage(root)
    assert {leak["part"] for leak in checked.figures["leaks"]} == {"validation"}
    assert checked.figures["leaking_test_pictures"] == 0
    assert found(checked, "error")


def test_the_same_pictures_split_by_their_groups_do_not_leak(tmp_path: Path) -> None:
    root = put_leaks(tmp_path / "parts", split=False)
    name_groups(root, lambda file: TESTED[Path(file).name][0] if Path(file).name in TESTED else Path(file).stem)
    material = gather(root)
    siblings = find_siblings(material)
    checked = check_leakage(material, siblings)
    assert checked.figures["leaks"] == []
    assert checked.figures["look_alikes_of_one_group"] == 1
    for one in (checked, check_labels(material, siblings), check_proof(material), check_files(material)):
        assert found(one, "error") == []
    assert found(checked, "warning") == []


def test_the_same_pictures_without_named_groups_are_grouped_by_their_looks(tmp_path: Path) -> None:
    checked = leakage(put_leaks(tmp_path / "parts", split=False))
    assert checked.figures["leaks"] == []
    clusters = {frozenset(cluster) for cluster in checked.figures["clusters"]}
    assert clusters == {frozenset({f"good/{source}.png", f"good/{name}"}) for name, (source, _, _) in TESTED.items()}


def test_a_named_group_in_two_parts_is_a_leak_though_its_pictures_look_different(tmp_path: Path) -> None:
    rows = ["path,label,group,split"]
    for number in range(16):
        for place, seed in (("train", number), ("test", 100 + number)):
            name = f"{place}-{letters(number)}.png"
            put(tmp_path / name, part(seed))
            group = f"p{number}" if number < 2 else f"{place}{number}"
            rows.append(f"{name},{'good' if number % 2 else 'defective'},{group},{place}")
    (tmp_path / "parts.csv").write_text("\n".join(rows) + "\n")
    checked = leakage(tmp_path / "parts.csv")
    leaks = [(leak["test"], leak["train"], leak["reason"]) for leak in checked.figures["leaks"]]
    assert leaks == [("test-aa.png", "train-aa.png", "group"), ("test-ab.png", "train-ab.png", "group")]
    assert "(2 group)" in found(checked, "error")[0]


def test_one_part_under_two_names_is_a_warning(tmp_path: Path) -> None:
    root = put_parts(tmp_path / "parts", 20, 12)
    for number in range(12):  # the second pictures of the first four are named as other parts
        put(root / "good" / f"again{letters(number)}.png", part(number)[:, ::-1])
    known = [f"good/again{letters(number)}.png" for number in range(4, 12)]
    name_groups(root, lambda file: f"g{Path(file).stem[-2:]}" if file in known else Path(file).stem)
    checked = leakage(root)
    assert 0.5 < checked.figures["look_alikes_of_one_group"] < 1
    assert {Path(leak["test"]).stem[-1] for leak in checked.figures["leaks"]} <= set("abcd")
    assert checked.figures["leaks"]
    assert found(checked, "error") == []
    (what,) = found(checked, "warning")
    assert re.search(r"\d of \d+ test pictures look like", what)


@pytest.mark.parametrize("brought", [False, True])
def test_look_alikes_are_not_believed_where_all_parts_look_alike(brought: bool, tmp_path: Path) -> None:
    rows = ["path,label,group,split"]
    for design in range(10):
        for number in range(5):
            name = f"{letters(design)}-{letters(number)}.png"
            put(tmp_path / name, (0.8 * part(design) + 0.2 * part(1000 + 10 * design + number)).astype(np.uint8))
            place = ("train", "train", "validation", "test", "test")[number] if brought else ""
            rows.append(f"{name},{'good' if number % 2 else 'defective'},{name[:-4]},{place}")
    (tmp_path / "parts.csv").write_text("\n".join(rows) + "\n")
    material = gather(tmp_path / "parts.csv")
    assert len(material.look_alikes.links) > 50  # they do look alike
    siblings = find_siblings(material)
    assert not siblings.trusted
    checked = check_leakage(material, siblings)
    assert checked.figures["leaks"] == []
    assert (found(checked, "error"), found(checked, "warning")) == ([], [])
    assert any(what.startswith("only 0% of look-alikes are of one of the groups named") for what in found(checked, "note"))
    assert not find_contradictions(material, siblings)


def test_parts_that_cannot_be_told_apart_are_an_error_where_nobody_named_them(tmp_path: Path) -> None:
    for number in range(30):
        noise = np.random.default_rng(number).normal(0, 2, (SIDE, SIDE, 3))
        put(tmp_path / "good" / f"g{letters(number)}.png", np.clip(part(0) + noise, 0, 255).astype(np.uint8))
    put_parts(tmp_path, 0, 12)
    (what,) = found(leakage(tmp_path), "error")
    assert what == "one cluster holds 30 of 42 pictures: parts cannot be told apart by their looks"


# 3. labels ------------------------------------------------------------------------------------------------------------------


def test_one_file_with_both_labels_is_an_error(tmp_path: Path) -> None:
    root = put_parts(tmp_path / "parts", 20, 12)
    shutil.copyfile(root / "good" / "gac.png", root / "defective" / "dent" / "copy.png")
    material = gather(root)
    checked = check_labels(material, find_siblings(material))
    (what,) = found(checked, "error")
    assert "twice, with both labels" in what
    (one,) = checked.figures["contradictions"]
    assert (one["kind"], one["good"], one["defective"]) == ("same file", ["good/gac.png"], ["defective/dent/copy.png"])
    assert {doubt["path"] for doubt in checked.figures["suspicious_labels"][:2]} == {"good/gac.png", "defective/dent/copy.png"}


def test_a_group_with_both_labels_is_a_warning(tmp_path: Path) -> None:
    root = put_parts(tmp_path / "parts", 20, 12)
    name_groups(root, lambda file: "twosided" if Path(file).stem in ("gaa", "daa") else Path(file).stem)
    material = gather(root)
    checked = check_labels(material, find_siblings(material))
    assert found(checked, "error") == []
    assert any(re.search("parts .*good and .*defective pictures", what) for what in found(checked, "warning"))
    (one,) = checked.figures["contradictions"]
    expected = {"kind": "group", "name": "twosided", "good": ["good/gaa.png"], "defective": ["defective/dent/daa.png"]}
    assert one == expected


@pytest.mark.parametrize("named", [False, True])
def test_a_flipped_label_among_siblings_is_the_most_suspicious(named: bool, tmp_path: Path) -> None:
    root = put_parts(tmp_path / "parts", 20, 12)
    for number in range(20):
        for view, picture in enumerate((part(number)[::-1], turned(part(number), 60))):
            label = "defective/dent" if (number, view) == (7, 1) else "good"
            put(root / label / f"view{letters(view)}{letters(number)}.png", picture)
    if named:
        name_groups(root, lambda file: f"g{Path(file).stem[-2:]}" if "view" in file else Path(file).stem)
    material = gather(root)
    checked = check_labels(material, find_siblings(material))
    first, second, *_ = checked.figures["suspicious_labels"]
    assert first["path"] == "defective/dent/viewabah.png"
    assert (first["label"], first["siblings"], first["contradicting"], first["confidence"]) == ("dent", 2, 2, None)
    assert second["score"] > first["score"]
    assert checked.figures["labels_judged_by"] == "siblings"
    assert any("1 labels are suspicious (by their siblings alone" in what for what in found(checked, "warning"))
    assert [one["kind"] for one in checked.figures["contradictions"]] == ["group" if named else "look-alikes"]


def by_hand(rows: Sequence[tuple[bool, str]], features: npt.NDArray[np.float16] | None = None, split: str = "") -> Material:
    """Material without pictures: (defective, group) of each."""
    samples = tuple(
        Sample("/data", f"{number:03d}.png", "defective" if bad else "good", "dent" if bad else "", group, split=split)  # type: ignore[arg-type]
        for number, (bad, group) in enumerate(rows)
    )
    return Material(
        source=Path("/data"),
        name="parts",
        groups_from="groups.csv",
        groups_are_named=True,
        notes=(),
        samples=samples,
        facts=(),
        skipped=(),
        bad_masks=(),
        look_alikes=LookAlikes((), np.arange(len(samples)), (), ""),
        features=features,
        split_is_brought=False,
    )


def test_a_flipped_label_without_siblings_is_found_by_the_probe() -> None:
    truth = [number % 2 == 1 for number in range(80)]
    features = np.random.default_rng(0).normal(0, 1, (80, 600))
    features[:, :150] += np.where(truth, 2.0, -2.0)[:, None]
    rows = [(bad != (number == 33), f"p{number}") for number, bad in enumerate(truth)]
    material = by_hand(rows, features.astype(np.float16))
    doubts = rank_labels(material, NO_SIBLINGS)
    assert (doubts[0].path, doubts[0].label, doubts[0].siblings) == ("033.png", "good", 0)
    assert doubts[0].confidence is not None
    assert doubts[0].confidence < 0.5
    assert all((doubt.confidence or 0) > 0.5 for doubt in doubts[1:])
    checked = check_labels(material, NO_SIBLINGS)
    assert checked.figures["labels_judged_by"] == "siblings and a cross-validated probe"


# 4. shortcuts ---------------------------------------------------------------------------------------------------------------


def shortcut_case(case: str, folder: Path) -> Material:
    """60 parts; in what they differ beside their texture is told by `case`."""
    random = np.random.default_rng(5)
    numbers = random.permutation(600)[:60]
    numbers = np.sort(numbers) if case == "order of file names" else numbers
    for index, number in enumerate(numbers.tolist()):
        bad = index >= 30
        width = 64 + int(random.integers(6)) + (4 if bad and case == "size and aspect" else 0)
        light = random.uniform(0.7, 0.9) + (0.15 if bad and case == "mean colour" else 0)
        picture = cv2.resize(part(index, 64), (width, 64))
        picture = np.clip(light * (picture - picture.mean() + 110), 0, 255).astype(np.uint8)
        put(folder / ("defective/dent" if bad else "good") / f"part_{number:04d}.png", picture)
    return gather(folder)


def small_forest(trees: int, **options: Any) -> BaseEstimator:
    return RandomForestClassifier(trees // 4, **options | {"n_jobs": 1})


@pytest.mark.parametrize("case", ["size and aspect", "mean colour", "order of file names", "none"])
def test_what_gives_the_label_away_is_told_and_nothing_else(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The same, sooner: with 60 pictures a quarter of the trees will do, and threads only cost time.
    monkeypatch.setattr(shortcuts_module, "RandomForestClassifier", small_forest)
    checked = check_shortcuts(shortcut_case(case, tmp_path))
    figures = {one["name"]: one for one in checked.figures["shortcuts"]}
    assert figures.keys() == {"size and aspect", "mean colour", "order of file names", "thumbnail"}
    alarms = {name for name, one in figures.items() if one["alarm"]}
    # An even light is plain to see in a thumbnail, too.
    assert alarms - ({"thumbnail"} if case == "mean colour" else set()) == {case} - {"none"}
    assert len(found(checked, "warning")) == len(alarms)
    assert all(re.search(r"alone tells good from defective with AUROC 0?\.?[\d.]+", what) for what in found(checked, "warning"))


@pytest.mark.parametrize(
    ("good", "dent"),
    [(1, 1), (2, 1), (6, 1), (9, 0)],
)
def test_too_few_groups_to_look_for_shortcuts(good: int, dent: int, tmp_path: Path) -> None:
    checked = check_shortcuts(gather(put_parts(tmp_path, good, dent)))
    assert found(checked, "note") == ["too few groups of each class to look for shortcuts"]
    assert checked.figures == {"shortcuts": []}


# 5. what the data can prove -------------------------------------------------------------------------------------------------


def test_57_defective_parts_prove_five_percent() -> None:
    rows = [(False, f"g{number}") for number in range(20)] + [(True, f"d{number // 2}") for number in range(114)]
    checked = check_proof(by_hand(rows, split="test"))
    proof = checked.figures["proof"]
    assert (proof["defective_parts"], proof["good_parts"], proof["defective_test_parts"]) == (57, 20, 57)
    assert proof["escapes_below"] == pytest.approx(1 - 0.05 ** (1 / 57))
    assert any("57 defective parts" in what and "below 5.1% (95 %)" in what for what in found(checked, "note"))
    assert found(checked, "warning") == found(checked, "error") == []
    assert checked.figures["balance"]["dent"] == {
        "pictures": 114,
        "groups": 57,
        "split": {"train": 0, "validation": 0, "test": 114},
    }


@pytest.mark.parametrize(("parts", "warned"), [(4, True), (5, False)])
def test_types_with_too_few_parts_are_told(parts: int, warned: bool) -> None:
    rows = [(False, f"g{number}") for number in range(20)] + [(True, f"d{number % parts}") for number in range(40)]
    warnings = found(check_proof(by_hand(rows)), "warning")
    assert len(warnings) == warned
    assert all("fewer than 5 parts" in what and "dent" in what for what in warnings)


@pytest.mark.parametrize(("kind", "missing"), [("good", "defective"), ("defective", "good")])
def test_one_class_alone_is_an_error(
    kind: str, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_parts(tmp_path / "parts", 8 * (kind == "good"), 8 * (kind == "defective"))
    code, said = call(monkeypatch, capsys, "audit", tmp_path / "parts", "--out", tmp_path / "out")
    assert code == 2
    figures = read(tmp_path / "out" / "parts")
    assert told(figures, "error") == [f"only 0 {missing} parts: training, validation and test each need one of their own"]
    assert figures["proof"]["escapes_below"] == 1 if kind == "good" else figures["proof"]["good_parts"] == 0
    page = (tmp_path / "out" / "parts" / "audit.html").read_text()
    assert ("There are no defective parts: nothing can be shown of escapes." in page) == (kind == "good")
    assert "only 0" in said


@pytest.mark.usefixtures("no_shortcuts")
def test_a_single_picture_is_audited(tmp_path: Path) -> None:
    put_parts(tmp_path / "parts", 1, 0)
    assert audit_command(tmp_path / "parts", tmp_path / "out", None, None) == 2


# 6. input size --------------------------------------------------------------------------------------------------------------


def put_masked(root: Path, side: int, defect: int, masks: int, empty: int = 0, width: int = 0) -> Material:
    """Parts of `side` pixels with square defects of `defect`, of which `masks` have a mask and `empty` have an empty one."""
    width = width or side
    for number in range(6):
        put(root / "good" / f"g{letters(number)}.png", cv2.resize(part(number, 64), (width, side)))
    for number in range(max(6, masks + empty)):
        put(root / "defective" / "dent" / f"d{letters(number)}.png", cv2.resize(part(100 + number, 64), (width, side)))
        mask = np.zeros((side, width), np.uint8)
        if number < masks:
            mask[10 : 10 + defect, 20 : 20 + defect] = 255
            mask[0, 0] = 255  # a speck
        if number < masks + empty:
            put(root / "masks" / "dent" / f"d{letters(number)}.png", mask)
    return gather(root)


@pytest.mark.parametrize(
    ("defect", "wanted", "advised"),
    [
        (64, 224, 224),  # 28 pixels at 224
        (20, 416, 416),  # 20 of 512 pixels: 16 of them at 410
        (12, 704, 512),  # would need more than the picture has
        (4, 1024, 512),  # more than any input
    ],
)
def test_the_input_shows_the_smallest_defect(defect: int, wanted: int, advised: int, tmp_path: Path) -> None:
    checked = check_input_size(put_masked(tmp_path, 512, defect, 5))
    figures = checked.figures["input_size"]
    assert (figures["wanted"], figures["advised"], figures["empty_masks"]) == (wanted, advised, 0)
    assert figures["pixels_at_224"]["dent"] == pytest.approx(defect / 512 * 224)
    (what,) = found(checked, "note")
    assert f"use an input of {advised} or more" in what
    assert ("a lens or camera that shows more would help" in what) == (advised < wanted)
    assert checked.findings[0].advice == f"pipeline train ... --input-size {advised}"


def test_empty_masks_are_counted(tmp_path: Path) -> None:
    checked = check_input_size(put_masked(tmp_path, 128, 40, 5, empty=3))
    assert checked.figures["input_size"]["empty_masks"] == 3
    assert found(checked, "warning") == ["3 masks are empty"]


def test_masks_that_are_all_empty_are_not_no_masks(tmp_path: Path) -> None:
    warnings = found(check_input_size(put_masked(tmp_path, 64, 8, 0, empty=6)), "warning")
    assert len(warnings) == 1
    assert "6 masks are empty" in warnings[0]


def test_a_mask_that_does_not_fit_is_an_error_and_the_rest_is_audited(tmp_path: Path) -> None:
    put_masked(tmp_path, 128, 40, 5)
    put(tmp_path / "masks" / "dent" / "dab.png", np.zeros((5, 5), np.uint8))
    (tmp_path / "masks" / "dent" / "dac.png").write_text("no picture")
    material = gather(tmp_path)
    checked = check_files(material)
    assert checked.figures["bad_masks"].keys() == {"masks/dent/dab.png", "masks/dent/dac.png"}
    assert any(what.startswith("2 masks cannot be used") for what in found(checked, "error"))
    assert len(material.samples) == 12
    assert check_input_size(material).figures["input_size"]["pixels_at_224"]["dent"] == pytest.approx(70)


def test_no_masks_is_a_note(tmp_path: Path) -> None:
    checked = check_input_size(put_masked(tmp_path, 64, 8, 0))
    assert checked.figures["input_size"] is None
    assert [finding.severity for finding in checked.findings] == ["note"]
    assert found(checked, "note")[0].startswith("no masks")


def test_wide_pictures_are_told(tmp_path: Path) -> None:
    checked = check_input_size(put_masked(tmp_path, 100, 40, 5, width=300))
    assert any(what.startswith("pictures are 3.00 times as wide as high") for what in found(checked, "note"))


# 7. the command -------------------------------------------------------------------------------------------------------------


def test_a_manifest_version_of_sound_parts_is_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    put_parts(tmp_path / "parts", 24, 20, 64)
    name_groups(tmp_path / "parts", lambda file: Path(file).stem)
    assert call(monkeypatch, capsys, "split", "parts")[0] == 0
    code, said = call(monkeypatch, capsys, "audit", "manifests/parts-v1")
    assert code == 0
    figures = read(tmp_path / "audits" / "parts-v1")
    assert figures["result"] == "clean"
    assert (figures["split"], figures["groups"], figures["dataset"]) == ("brought", 44, "parts-v1")
    assert (figures["leaks"], figures["contradictions"], figures["clusters"], figures["unreadable"]) == ([], [], [], [])
    assert "report: audits/parts-v1/audit.html figures: audits/parts-v1/audit.json" in said


def test_a_missing_dataset_is_an_error_of_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = call(monkeypatch, capsys, "audit", "nowhere")
    assert code == 2
    assert said == "error: nowhere does not exist; expected a dataset folder or a CSV file (see datasets/README.md)"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("notes.txt",), "notes.txt is a file; expected a dataset folder or a .csv with the columns path,label"),
        (("list.csv",), "list.csv has the columns name; path, label is missing"),
        (("empty",), "empty holds no readable pictures in a known layout"),
        (("unreadable",), "unreadable holds no readable pictures in a known layout"),
        (("parts", "--layout", "unknown"), "no layout is called 'unknown'; expected one of: folders, csv, coco, voc, labelme"),
        (("parts", "--layout", "coco"), "is not in the layout coco"),
        (("ungrouped",), "names no group for 1 of 2 pictures (first: good/gab.png)"),
    ],
)
def test_what_cannot_be_audited_is_an_error_of_one_sentence(
    words: tuple[str, ...], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("x")
    Path("list.csv").write_text("name\nx\n")
    Path("empty").mkdir()
    Path("unreadable/good").mkdir(parents=True)
    Path("unreadable/good/a.png").write_text("no picture")
    put_parts(Path("parts"), 2, 0)
    put_parts(Path("ungrouped"), 2, 0)
    Path("ungrouped/groups.csv").write_text("file,group\ngood/gaa.png,a\n")
    code, said = call(monkeypatch, capsys, "audit", *words)
    assert code == 2
    assert said.count("error: ") == 1
    assert expected in said[said.index("error: ") :]
    assert not Path("audits").exists()


@pytest.mark.usefixtures("no_shortcuts")
def test_what_is_no_fault_of_the_pictures_does_not_look_like_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    put_parts(Path("parts"), 6, 6)
    call(monkeypatch, capsys, "split", "parts")
    Path("taken").write_text("x")
    listed = Path("manifests/parts-v1/manifest.csv")
    for words, expected in (
        (("parts", "--weights", "none.safetensors"), "none.safetensors does not exist"),
        (("manifests/parts-v1",), "was edited after it was made"),
    ):
        if words == ("manifests/parts-v1",):
            listed.write_text(listed.read_text().replace(",good,", ",defective,", 1))
        code, said = call(monkeypatch, capsys, "audit", *words)
        assert (code, said.count("error: ")) == (2, 1), words
        assert expected in said
    code, said = call(monkeypatch, capsys, "audit", "parts", "--out", "taken/here")
    assert code == 2
    assert "error: taken/here" in said


@pytest.mark.usefixtures("no_shortcuts")
def test_a_layout_of_a_manifest_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    put_parts(Path("parts"), 6, 6)
    call(monkeypatch, capsys, "split", "parts")
    code, said = call(monkeypatch, capsys, "audit", "manifests/parts-v1", "--layout", "coco")
    assert code == 2
    assert "leave --layout out" in said


def test_a_picture_that_changed_after_the_split_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    put_parts(Path("parts"), 6, 6)
    call(monkeypatch, capsys, "split", "parts")
    put(Path("parts/good/gaa.png"), part(77))
    code, said = call(monkeypatch, capsys, "audit", "manifests/parts-v1")
    assert code == 2
    assert "good/gaa.png changed since it entered the manifest" in said


def test_the_figures_have_the_documented_keys(faulty: Path) -> None:
    figures = read(report_of(faulty))
    assert figures.keys() >= {
        "dataset", "result", "groups_from", "groups", "pictures", "notes", "findings", "unreadable", "outliers", "clusters",
        "leaks", "contradictions", "suspicious_labels", "shortcuts", "balance", "proof", "input_size", "split",
    }  # fmt: skip
    root = faulty / "faulty"
    assert len(figures["pictures"]) == len(set(figures["pictures"])) == 34 + 7
    assert all((root / path).is_file() for path in [*figures["pictures"], *figures["unreadable"]])
    assert all(path in figures["pictures"] for cluster in figures["clusters"] for path in cluster)
    assert all(len(cluster) > 1 for cluster in figures["clusters"])
    assert all(one.keys() == {"name", "auroc", "alarm"} for one in figures["shortcuts"])
    scores = [one["score"] for one in figures["suspicious_labels"]]
    assert scores == sorted(scores)
    assert {one["check"] for one in figures["findings"]} <= {"files", "leakage", "labels", "shortcuts", "proof", "input size"}


def test_ctrl_c_leaves_the_last_report_as_it_was(tmp_path: Path) -> None:
    root = put_parts(tmp_path / "parts", 3, 3, 512)
    for number in range(297):  # each of its own bytes, so that each is measured
        whole = (root / "good" / f"g{letters(number % 3)}.png").read_bytes()
        (root / "good" / f"h{letters(number)}.png").write_bytes(whole)
    before = tmp_path / "audits" / "parts" / "audit.json"
    before.parent.mkdir(parents=True)
    before.write_text("the last one")
    words, environment = command("pipeline", "audit", root, home=tmp_path)
    cache = tmp_path / "cache"
    process = start(words, environment | {"INSPECTOR_CACHE": str(cache), "OMP_NUM_THREADS": "1"}, tmp_path)
    try:
        wait_for(lambda: any(cache.glob("pictures-*.sqlite")), process)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) not in (0, 1, 2)  # no verdict on the data
    finally:
        process.kill()
    assert [file.name for file in before.parent.iterdir()] == ["audit.json"]
    assert before.read_text() == "the last one"


def test_a_stop_in_the_middle_of_the_checks_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_: Material) -> Checked:
        raise KeyboardInterrupt

    monkeypatch.setattr(command_module, "check_shortcuts", stop)
    put_parts(tmp_path / "parts", 4, 4)
    with pytest.raises(KeyboardInterrupt):
        audit_command(tmp_path / "parts", tmp_path / "out", None, None)
    assert not (tmp_path / "out").exists()


# 8. anything ----------------------------------------------------------------------------------------------------------------

unit = st.floats(0, 1)
an_array = {name: arrays.arrays(kind, shape) for name, (kind, shape) in ARRAYS.items()}
any_facts = st.builds(
    Facts,
    width=st.integers(1, 10**6),
    height=st.integers(1, 10**6),
    grey=st.booleans(),
    bits=st.sampled_from([8, 16]),
    used_bits=st.integers(1, 16),
    brightness=unit,
    sharpness=st.floats(0, 1e300),
    colour=st.tuples(unit, unit, unit),
    format=st.sampled_from(["JPEG", "PNG", "BMP", "TIFF", "WEBP", "unknown"]),
    **an_array,
)


@settings(deadline=None, max_examples=50)
@given(st.text("0123456789abcdef", min_size=64, max_size=64), any_facts)
def test_facts_come_back_from_the_cache_as_they_went_in(sha256: str, facts: Facts) -> None:
    again, known = unpack(pack(sha256, facts))
    assert again == sha256
    for name in ARRAYS:
        assert np.array_equal(getattr(known, name), getattr(facts, name))
        assert getattr(known, name).dtype == getattr(facts, name).dtype
    nothing = {name: np.zeros(0, kind) for name, (kind, _) in ARRAYS.items()}
    assert repr(replace(known, **nothing)) == repr(replace(facts, **nothing))  # type: ignore[arg-type]


labelled = st.lists(st.tuples(st.booleans(), st.sampled_from("abcdefgh")), min_size=1, max_size=24)


@settings(deadline=None, max_examples=150)
@given(labelled)
def test_every_picture_is_judged_by_models_that_never_saw_its_group_or_none_is(rows: list[tuple[bool, str]]) -> None:
    samples = by_hand(rows).samples
    table = np.arange(len(rows), dtype=np.float32)[:, None]
    seen: list[set[str]] = []

    class Judge(BaseEstimator):  # type: ignore[misc]
        def fit(self, learned: npt.NDArray[np.float32], defective: npt.NDArray[np.bool_]) -> "Judge":
            assert 0 < defective.sum() < len(defective)
            self.known_ = {rows[int(index)][1] for index in learned[:, 0]}
            return self

        def predict_proba(self, judged: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
            assert len(judged) > 0
            seen.append({rows[int(index)][1] for index in judged[:, 0]})
            assert not seen[-1] & self.known_
            return np.full((len(judged), 2), 0.5)

    chance = out_of_fold(lambda learned: Judge(), table, samples)
    if chance is None:
        assert not seen
    else:
        assert chance.tolist() == [0.5] * len(rows)
        assert set.union(*seen) == {group for _, group in rows}
    groups = [{group for bad, group in rows if bad == label} for label in (False, True)]
    if all(len(some) > 4 for some in groups) and not groups[0] & groups[1]:
        assert chance is not None


@settings(deadline=None, max_examples=25)
@given(labelled, st.integers(1, 40))
def test_labels_are_ranked_by_the_probe_whatever_the_groups(rows: list[tuple[bool, str]], width: int) -> None:
    features = np.random.default_rng(0).normal(size=(len(rows), width)).astype(np.float16)
    doubts = rank_labels(by_hand(rows, features), NO_SIBLINGS)
    assert len(doubts) == len(rows)
    assert all(doubt.confidence is None or 0 <= doubt.confidence <= 1 for doubt in doubts)


@given(labelled)
def test_all_labels_are_ranked_by_their_siblings(rows: list[tuple[bool, str]]) -> None:
    doubts = rank_labels(by_hand(rows), NO_SIBLINGS)
    assert sorted(doubt.path for doubt in doubts) == [f"{number:03d}.png" for number in range(len(rows))]
    assert [doubt.score for doubt in doubts] == sorted(doubt.score for doubt in doubts)
    for doubt in doubts:
        assert 0 <= doubt.contradicting <= doubt.siblings
        assert 0 <= doubt.score <= 1


# Names and groups that once were too much ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_shortcuts")
def test_a_file_name_that_is_no_utf8_is_audited(tmp_path: Path) -> None:
    root = put_parts(tmp_path / "parts", 12, 8)
    put(root / "good" / os.fsdecode(b"\xfcber.png"), part(300)[:80])
    audit_command(root, tmp_path / "out", None, None)
    figures = read(tmp_path / "out" / "parts")
    assert len(figures["pictures"]) == 20
    assert any("not in UTF-8" in note and "xfcber.png" in note for note in figures["notes"])
    assert "xfcber.png" in (tmp_path / "out" / "parts" / "audit.html").read_text()


@pytest.mark.usefixtures("no_shortcuts")
@pytest.mark.parametrize("name", ["parts [/A]", "parts [red]", "[/]"])
def test_a_dataset_name_with_brackets_is_printed_as_it_is(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = put_parts(tmp_path / "parts", 4, 4)
    (root / "dataset.yaml").write_text(f"name: '{name}'\n")
    audit_command(root, tmp_path / "out", None, None)
    assert f"{name}: 8 pictures" in capsys.readouterr().out


def test_a_named_group_must_not_be_called_as_guessed_ones_are(tmp_path: Path) -> None:
    root = put_parts(tmp_path / "parts", 4, 4)
    name_groups(root, lambda file: f"like-{Path(file).stem}")
    with pytest.raises(DatasetError, match="group 'like-"):
        gather(root)


def test_a_leak_is_told_once_for_the_surest_reason(tmp_path: Path) -> None:
    """Two copies of one training picture in test: the second is linked to the first, not to the training picture."""
    put_parts(tmp_path / "train", 24, 10)
    put_parts(tmp_path / "test", 5, 5, first=200)
    for name in ("copy.png", "xcopy.png"):
        shutil.copyfile(tmp_path / "train" / "good" / "gac.png", tmp_path / "test" / "good" / name)
    leaks = leakage(tmp_path).figures["leaks"]
    assert [(leak["test"], leak["reason"]) for leak in leaks] == [
        ("test/good/copy.png", "same file"),
        ("test/good/xcopy.png", "same file"),
    ]


def test_parts_in_a_rigid_fixture_are_not_one_picture_with_two_labels(tmp_path: Path) -> None:
    """Parts of one design that differ by sensor noise and a small scratch, each named: none of them is there twice."""
    for number in range(40):
        picture = part(0, 256) + np.random.default_rng(number).normal(0, 2, (256, 256, 3))
        if number >= 25:
            cv2.line(picture, (40 + 4 * number, 60), (60 + 4 * number, 80), (20, 20, 20), 2)
        folder = "defective/dent" if number >= 25 else "good"
        put(tmp_path / folder / f"p{letters(number)}.png", np.clip(picture, 0, 255).astype(np.uint8))
    name_groups(tmp_path, lambda file: Path(file).stem)
    material = gather(tmp_path)
    siblings = find_siblings(material)
    assert found(check_labels(material, siblings), "error") == []
    assert check_leakage(material, siblings).figures["leaks"] == []


def test_pictures_of_one_name_from_two_datasets_keep_their_facts(tmp_path: Path) -> None:
    """As in the manifest of a run that was retrained on new pictures."""
    for folder, first in (("old", 0), ("new", 50)):
        put_parts(tmp_path / folder, 8, 6, 96 if folder == "old" else 64, first)
    samples = [
        replace(one, group=f"{one.origin}{one.path}", split="train", sha256=sha256_of(one.file))
        for folder in ("old", "new")
        for one in read_dataset(tmp_path / folder).samples
    ]
    (tmp_path / "version").mkdir()
    write_manifest(Manifest("parts", tuple(samples)), tmp_path / "version")
    material = gather(tmp_path / "version")
    assert len(material.samples) == 28
    for sample, facts in zip(material.samples, material.facts, strict=True):
        assert facts.width == (96 if sample.origin.endswith("old") else 64)

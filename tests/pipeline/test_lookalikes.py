from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.preprocess import Picture
from pipeline.data.groups import compare, group_by_look, is_guessed, met_before
from pipeline.data.lookalikes.bursts import find_bursts, number_in
from pipeline.data.sample import Sample
from pipeline.data.survey import survey
from pipeline.data.survey.cache import Cache, stamp

PARTS = 40


def scene(seed: int, side: int = 160) -> Picture:
    """A surface like no other, with structure fine and coarse."""
    random = np.random.default_rng(seed)
    surface = sum(
        cv2.resize(random.normal(size=(cells, cells)), (side, side), interpolation=cv2.INTER_CUBIC) for cells in (8, 20, 40)
    )
    return np.repeat(np.clip(128 + 25 * np.asarray(surface)[..., None], 0, 255), 3, 2).astype(np.uint8)


def turned(picture: Picture, degrees: float) -> Picture:
    side = picture.shape[0]
    turn = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), degrees, 1)
    return np.asarray(cv2.warpAffine(picture, turn, (side, side), borderMode=cv2.BORDER_REFLECT), np.uint8)


SIBLINGS: dict[str, Callable[[Picture], Picture]] = {
    "darker": lambda one: (one * 0.5).astype(np.uint8),
    "lit from one side": lambda one: (one * np.linspace(0.35, 1, one.shape[1])[None, :, None]).astype(np.uint8),
    "mirrored": lambda one: one[:, ::-1],
    "upside down": lambda one: one[::-1],
    "a quarter turn": lambda one: np.rot90(one),
    "turned by 33 degrees": lambda one: turned(one, 33),
    "turned by 121 degrees, mirrored and darker": lambda one: (turned(one[:, ::-1], 121) * 0.6).astype(np.uint8),
    "cropped": lambda one: one[4:-2, 3:-4],
    "noisy": lambda one: np.clip(one + np.random.default_rng(1).normal(0, 6, one.shape), 0, 255).astype(np.uint8),
}


def write(folder: Path, pictures: dict[str, Picture]) -> list[Sample]:
    folder.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        cv2.imwrite(str(folder / name), picture)
    return [Sample(str(folder), name, "good") for name in pictures]


@pytest.mark.parametrize("change", SIBLINGS)
def test_a_sibling_is_found_and_nothing_else_is(change: str, tmp_path: Path) -> None:
    pictures = {f"part{chr(97 + seed % 26)}{chr(97 + seed // 26)}.png": scene(seed) for seed in range(PARTS)}
    pictures["sibling.png"] = np.ascontiguousarray(SIBLINGS[change](scene(7)))
    look_alikes = compare(survey(write(tmp_path, pictures)))
    assert [(link.first, link.second) for link in look_alikes.links] == [(7, PARTS)]


def test_parts_of_one_design_are_told_apart_by_what_they_do_not_share(tmp_path: Path) -> None:
    design = scene(99).astype(np.float32)
    pictures = {}
    for seed in range(PARTS):
        own = 0.75 * design + 0.25 * scene(seed)
        pictures[f"a{chr(97 + seed // 10)}{seed % 10}.png"] = own.astype(np.uint8)
        pictures[f"b{chr(97 + seed // 10)}{seed % 10}.png"] = (own[:, ::-1] * 0.8).astype(np.uint8)
    samples, _ = group_by_look(survey(write(tmp_path, pictures)))
    group = {sample.path: sample.group for sample in samples}
    assert all(group[path] == group["b" + path[1:]] for path in group if path.startswith("a"))
    assert len(set(group.values())) >= PARTS - 2  # one false link in a hundred pictures is accepted


def test_repeats_and_siblings_of_known_pictures_are_met_again(tmp_path: Path) -> None:
    known, _ = group_by_look(survey(write(tmp_path / "old", {f"p{seed}.png": scene(seed) for seed in range(PARTS)})))
    assert all(is_guessed(sample) for sample in known)
    cv2.imwrite(str(tmp_path / "again.jpg"), scene(2), [cv2.IMWRITE_JPEG_QUALITY, 80])
    new = write(tmp_path, {"turned.png": turned(scene(5), 70), "other.png": scene(77)})
    again, turn, other = met_before([Sample(str(tmp_path), "again.jpg", "good"), *new], known)
    assert (again.repeats, again.groups) == (True, (known[2].group,))
    assert (turn.repeats, turn.groups) == (False, (known[5].group,))
    assert (other.repeats, other.groups) == (False, ())


def test_parts_in_one_fixture_are_not_one_picture_saved_again(tmp_path: Path) -> None:
    design = scene(99).astype(np.float32)
    pictures = {}
    for seed in range(PARTS):
        noise = np.random.default_rng(seed).normal(0, 2, design.shape)
        pictures[f"part{chr(97 + seed % 26)}{chr(97 + seed // 26)}.png"] = np.clip(design + noise, 0, 255).astype(np.uint8)
    known, _ = group_by_look(survey(write(tmp_path / "old", dict(list(pictures.items())[:30]))))
    new = write(tmp_path / "new", dict(list(pictures.items())[30:]))
    assert not any(one.repeats for one in met_before(new, known))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_pictures_and_flat_ones_are_no_trouble(count: int, tmp_path: Path) -> None:
    flat = {f"flat{index}.png": np.full((20 + index, 30, 3), 40 * index, np.uint8) for index in range(count)}
    assert len(set(compare(survey(write(tmp_path, flat))).clusters.tolist())) >= 1


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("good/exp1_num_262480.jpg", 262480),
        ("20260301_102030.png", 20260301102030),
        ("line-2/part.png", None),
        ("a7_b12.png", 12),
        ("a12_b7.png", 12),
        ("x/٣.png", None),
    ],
)
def test_the_number_of_a_file(path: str, number: int | None) -> None:
    assert number_in(path) == number


def bursts(numbers: Sequence[int], clusters: Sequence[int]) -> list[tuple[int, int]] | None:
    found = find_bursts([f"shot_{number}.png" for number in numbers], np.array(clusters))
    return None if found is None else [(int(first), int(second)) for first, second in found.pairs]


def test_bursts_that_look_alikes_confirm_join_what_looks_different() -> None:
    numbers = [100 * part + shot for part in range(10) for shot in range(4)]
    clusters = [part for part in range(10) for _ in range(4)]
    clusters[3] = 99  # the last shot of the first part shows its other side
    assert (2, 3) in (bursts(numbers, clusters) or [])
    assert len(bursts(numbers, clusters) or []) == 30


@pytest.mark.parametrize(
    ("why", "numbers", "clusters"),
    [
        ("a plain counter", list(range(40)), [index // 4 for index in range(40)]),
        ("numbers that mean something else", [100 * part + shot for part in range(10) for shot in range(4)], list(range(40))),
        ("no numbers", [], []),
        ("all in one cluster", [100 * part + shot for part in range(10) for shot in range(4)], [0] * 40),
    ],
)
def test_bursts_that_nothing_confirms_are_left_alone(why: str, numbers: list[int], clusters: list[int]) -> None:
    assert bursts(numbers, clusters) is None


@given(st.lists(st.tuples(st.integers(0, 10**15), st.integers(0, 5)), max_size=60))
def test_bursts_take_any_numbers(pictures: list[tuple[int, int]]) -> None:
    bursts([number for number, _ in pictures], [cluster for _, cluster in pictures])


def test_what_is_known_is_not_read_again_unless_the_file_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path / "cache"))
    samples = write(tmp_path / "parts", {"a.png": scene(1), "b.png": scene(2)})
    first = survey(samples)
    read: list[Path] = []

    def measure(path: Path) -> object:
        read.append(path)
        return original(path)

    original = survey.__globals__["measure"]
    monkeypatch.setitem(survey.__globals__, "measure", measure)
    second = survey(samples)
    assert read == []
    assert [one.sha256 for one in second.samples] == [one.sha256 for one in first.samples]
    assert all(np.array_equal(one.polar, other.polar) for one, other in zip(first.facts, second.facts, strict=True))
    assert first.facts[0].colour == second.facts[0].colour
    cv2.imwrite(str(samples[1].file), scene(3))
    assert survey(samples).samples[1].sha256 != first.samples[1].sha256
    assert read == [samples[1].file]


def test_a_broken_or_forbidden_cache_is_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "torn.sqlite").write_bytes(b"SQLite format 3\0" + bytes(range(200)))
    for cache in (Cache("torn", tmp_path), Cache("no", tmp_path / "torn.sqlite" / "folder")):
        with cache:
            assert cache.get(["x"]) == {}
            cache.put({"x": b"y"})
    with Cache("torn", tmp_path) as mended:
        assert mended.get(["x"]) == {"x": b"y"}
    assert stamp(tmp_path / "absent") is None

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.engines import Answer
from deploy.errors import DatasetError, EngineError
from deploy.preprocess import Picture, Preprocessing
from deploy.verdict import Thresholds
from pipeline.data.sample import Sample
from pipeline.evaluation.decision import Decision
from pipeline.evaluation.metrics import PartScore
from pipeline.evaluation.predict import Infer
from pipeline.evaluation.robustness.card import RobustnessCard, Strain, robustness_card
from pipeline.evaluation.robustness.conditions import CONDITIONS, LIGHT, Condition, change
from pipeline.evaluation.robustness.findings import find
from pipeline.evaluation.robustness.kept import made_from, read_card, write_card
from pipeline.evaluation.robustness.outcome import Outcome, mildest, outcome_of

BY_NAME = {condition.name: condition for condition in CONDITIONS}
SIDE = 64
SPEC = Preprocessing(height=SIDE, width=SIDE, pad_bgr=(0, 0, 0))
THRESHOLDS = Thresholds(accept=0.3, reject=0.7)
LIMIT = 0.01
each_condition = pytest.mark.parametrize("condition", CONDITIONS, ids=lambda one: one.name)


def scene(height: int, width: int) -> Picture:
    """Large shapes with a fine texture, as a line has them: what is near looks alike."""
    random = np.random.default_rng(7)
    shapes = cv2.resize(random.uniform(50, 200, (5, 7, 3)), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(shapes + random.normal(0, 6, (height, width, 1)), 0, 255), np.uint8)


def difference(one: Picture, other: Picture) -> float:
    return float(np.abs(one.astype(np.float64) - other).mean())


@each_condition
@settings(max_examples=10, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 99))
def test_any_picture_keeps_its_shape_and_comes_out_the_same_again(
    condition: Condition, height: int, width: int, seed: int
) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    before = picture.copy()
    for level in condition.levels:
        changed = change(picture, condition, level, f"{seed:x}")
        assert changed.shape == picture.shape
        assert changed.dtype == np.uint8
        assert (changed == change(picture, condition, level, f"{seed:x}")).all()
    assert (picture == before).all()


@each_condition
def test_a_graver_level_changes_more(condition: Condition) -> None:
    picture = scene(200, 600)  # a blur of less than half a pixel is none
    for side in ([one for one in condition.levels if one < 0], [one for one in condition.levels if one > 0]):
        amounts = [difference(picture, change(picture, condition, level, "5a")) for level in side]
        assert amounts == sorted(set(amounts))
        assert all(amount > 0 for amount in amounts)


@each_condition
def test_no_strength_is_no_change(condition: Condition) -> None:
    picture = scene(60, 90)
    if condition.name == "jpeg":
        assert difference(picture, change(picture, condition, 100, "5a")) < 1.5
    else:
        assert (change(picture, condition, 0, "5a") == picture).all()


@pytest.mark.parametrize("name", ["noise", "dust"])
def test_what_is_random_differs_from_picture_to_picture(name: str) -> None:
    picture = scene(60, 90)
    one, other = (change(picture, BY_NAME[name], 30, sha256) for sha256 in ("aa", "bb"))
    assert (one != other).any()


def flat(grey: int, height: int = 100, width: int = 100) -> Picture:
    return np.full((height, width, 3), grey, np.uint8)


@pytest.mark.parametrize("stops", [-1, -0.5, 0.5, 1])
def test_a_stop_is_twice_the_light_until_white_clips(stops: float) -> None:
    picture = np.arange(256, dtype=np.uint8)[:, None, None].repeat(3, 2)
    changed = change(picture, BY_NAME["exposure"], stops, "5a")[:, 0, 0]
    expected = np.minimum(LIGHT * 2**stops, 1)
    assert np.abs(LIGHT[changed] - expected).max() < 0.006  # half a grey level near white


@pytest.mark.parametrize(("grey", "share"), [(0, 0.25), (255, 1.0), (128, 0.7298)])
def test_noise_has_the_strength_it_says_and_grey_stays_grey(grey: int, share: float) -> None:
    noisy = change(flat(grey, 300, 300), BY_NAME["noise"], 16, "5a")
    assert (noisy == noisy[..., :1]).all()
    off = noisy[..., 0].astype(np.float64) - grey
    power = (off**2).mean() * (1 if grey == 128 else 2)  # at black and at white half of it is clipped
    assert np.sqrt(power) == pytest.approx(16 * share, rel=0.015)


def test_colour_has_noise_in_each_channel() -> None:
    picture = np.full((50, 50, 3), (40, 90, 160), np.uint8)
    noisy = change(picture, BY_NAME["noise"], 16, "5a").astype(float) - picture
    assert abs(np.corrcoef(noisy[..., 0].ravel(), noisy[..., 2].ravel())[0, 1]) < 0.1


@pytest.mark.parametrize("per_mille", [1, 2, 4, 8])
def test_a_point_out_of_focus_is_a_disc_of_that_radius(per_mille: float) -> None:
    picture = flat(0, 1001, 301)
    picture[500, 150] = 255
    plane = change(picture, BY_NAME["blur"], per_mille, "5a")[..., 0]
    reach = np.ptp(np.nonzero(plane.any(axis=1))[0]) / 2
    assert reach == pytest.approx(per_mille * 1.001, abs=1)
    assert (plane > 0).sum() == pytest.approx(np.pi * (per_mille + 0.5) ** 2, rel=0.35)


@pytest.mark.parametrize("quarters", [1, -1])
def test_tilt_turns_about_the_middle(quarters: int) -> None:
    picture = scene(41, 41)
    assert difference(change(picture, BY_NAME["tilt"], 90 * quarters, "5a"), np.rot90(picture, quarters)) < 0.5


@pytest.mark.parametrize("percent", [2, 5, 10])
def test_shift_moves_by_so_much_and_repeats_the_edge(percent: float) -> None:
    picture, moved = scene(20, 200), round(2 * percent)
    shifted = change(picture, BY_NAME["shift"], percent, "5a")
    right = (shifted[:, moved:] == picture[:, :-moved]).all() and (shifted[:, :moved] == picture[:, :1]).all()
    left = (shifted[:, :-moved] == picture[:, moved:]).all() and (shifted[:, -moved:] == picture[:, -1:]).all()
    assert right != left


@settings(max_examples=20, deadline=None)
@given(sha256=st.text("0123456789abcdef", min_size=4, max_size=8), spots=st.sampled_from(BY_NAME["dust"].levels))
def test_dust_is_so_many_small_dark_spots(sha256: str, spots: float) -> None:
    dusty = change(flat(200, 300, 400), BY_NAME["dust"], spots, sha256)
    assert (dusty <= 200).all()
    found, _, boxes, _ = cv2.connectedComponentsWithStats((dusty[..., 0] < 200 * 0.75).astype(np.uint8))
    assert 1 <= found - 1 <= spots  # two may lie on one another, one at the very edge
    if spots <= 3:
        assert boxes[1:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max() <= 2 * 0.01 * 400  # side by side, at worst


def test_a_dust_spot_is_round_and_fades_at_its_rim() -> None:
    rows, columns = np.nonzero((spot := change(flat(200, 1000, 1000), BY_NAME["dust"], 1, "5a")[..., 0]) < 200)
    box = spot[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert abs(box.shape[0] - box.shape[1]) <= 1
    assert min(box[0].min(), box[-1].min(), box[:, 0].min(), box[:, -1].min()) > 190
    assert box.min() < 110


def test_one_side_gets_so_much_less_light_and_the_other_all() -> None:
    seen = set()
    for number in range(40):
        lit = LIGHT[change(flat(200), BY_NAME["lamp"], 60, str(number))[..., 0]] / LIGHT[200]
        edges = {"top": lit[0], "bottom": lit[-1], "left": lit[:, 0], "right": lit[:, -1]}
        dark = [name for name, edge in edges.items() if np.abs(edge - 0.4).max() < 0.01]
        full = [name for name, edge in edges.items() if (edge == 1).all()]
        assert len(dark) == len(full) == 1
        seen.update(dark)
    assert seen == {"top", "bottom", "left", "right"}


@pytest.mark.parametrize("percent", [10, 15, 20])
def test_corners_are_covered_and_nothing_else(percent: float) -> None:
    picture = scene(100, 200)
    changed = (change(picture, BY_NAME["corner"], percent, "5a") != picture).any(axis=2)
    high, wide = round(percent), round(2 * percent)
    allowed = np.zeros((100, 200), bool)
    for rows in (np.s_[:high], np.s_[-high:]):
        for columns in (np.s_[:wide], np.s_[-wide:]):
            allowed[rows, columns] = True
    assert not (changed & ~allowed).any()
    assert (changed | ~allowed).mean() > 0.95  # a pixel may be of that grey already


# The card: a model whose verdicts can be told in advance.


def says(found: npt.ArrayLike) -> Answer:
    score = np.where(found, 0.95, 0.05).astype(np.float32)
    return Answer(np.stack([1 - score, score], axis=1), np.zeros((len(score), 2, 2), np.float32))


def sees_white(frames: Picture) -> Answer:
    return says((frames >= 250).any(axis=(1, 2, 3)))


def reads_the_stamp(frames: Picture) -> Answer:
    return says((frames[:, :6, :6] >= 200).any(axis=(1, 2, 3)))


def part(folder: Path, name: str, picture: Picture, defective: bool) -> Sample:
    assert cv2.imwrite(str(folder / f"{name}.png"), picture)
    label, kind, group = ("defective", "dent", name) if defective else ("good", "", name)
    return Sample(str(folder), f"{name}.png", label, kind, group.split("_")[0], sha256=f"{name}-of-many")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Five good parts, grey; four defective ones with a white spot and a stamp in a corner, one of them seen twice."""
    folder = tmp_path_factory.mktemp("parts")
    spotted = flat(100, SIDE, SIDE)
    spotted[24:40, 24:40] = 255
    spotted[1:5, 1:5] = 220
    good = [part(folder, f"g{number}", flat(190, SIDE, SIDE), defective=False) for number in range(5)]
    names = ("d0", "d1", "d2", "d3_a", "d3_b")
    return good + [part(folder, name, spotted, defective=True) for name in names]


def card_of(samples: Sequence[Sample], infer: Infer) -> RobustnessCard:
    return robustness_card(samples, SPEC, infer, THRESHOLDS, LIMIT)


@pytest.fixture(scope="module")
def card(parts: list[Sample]) -> RobustnessCard:
    return card_of(parts, sees_white)


def strain(card: RobustnessCard, name: str) -> Strain:
    return next(one for one in card.strains if one.name == name)


def at(card: RobustnessCard, name: str, level: float) -> Outcome:
    return next(one for one in strain(card, name).outcomes if one.level == level)


def test_the_card_tells_what_light_does(card: RobustnessCard) -> None:
    assert (card.pictures, card.parts) == (10, 9)
    assert (card.untouched.escape.count, card.untouched.overkill.count, card.untouched.auroc) == (0, 0, 1.0)
    assert (card.untouched.changed.count, card.untouched.new_escapes) == (0, ())
    dark, bright = at(card, "exposure", -0.5), at(card, "exposure", 1)
    assert (dark.escape.count, dark.escape.total, dark.unrejected.count, dark.auroc) == (4, 4, 4, 0.5)
    assert dark.new_escapes == ("d0|defective", "d1|defective", "d2|defective", "d3|defective")
    assert (bright.overkill.count, bright.overkill.total, bright.escape.count, bright.auroc) == (5, 5, 0, 0.5)
    assert (bright.changed.count, bright.changed.total) == (5, 9)
    assert at(card, "exposure", 0.5).changed.count == 0
    assert strain(card, "exposure").exceeds_at == (-0.5,)
    assert strain(card, "exposure").finding == "exposure: from -0.5 stops on, 4 of 4 defective parts escape (limit 1 %)"


@pytest.mark.parametrize("name", ["blur", "tilt", "shift", "dust", "corner"])
def test_what_hides_nothing_changes_nothing(card: RobustnessCard, name: str) -> None:
    assert [one.changed.count for one in strain(card, name).outcomes] == [0] * len(BY_NAME[name].levels)
    assert (strain(card, name).exceeds_at, strain(card, name).finding) == ((), "")
    assert not any(sentence.startswith(name) for sentence in card.sentences())


def test_good_parts_thrown_away_are_told_after_escapes(card: RobustnessCard) -> None:
    named = [sentence.partition(":")[0] for sentence in card.sentences()]
    assert set(named[:2]) == {"exposure", "lamp"}
    assert named[2] == "noise"
    assert "5 of 9 verdicts change (5 of 5 good parts are rejected, 0 of 9 parts go to review)" in card.sentences()[2]
    assert strain(card, "noise").exceeds_at == ()


def test_a_model_that_reads_a_corner_is_found_out(parts: list[Sample]) -> None:
    card = card_of(parts, reads_the_stamp)
    assert at(card, "corner", 10).escape.count == 4
    assert card.sentences()[0] == (
        "corner: covering the corners changes 4 of 9 verdicts (10 % of the sides covered, 4 of 4 defective parts escape, and "
        "the AUROC falls from 1.00 to 0.50): the model may be reading something there rather than the part, unless the defects "
        "lie in the corners."
    )


def test_a_model_that_stands_everything_is_told_in_one_sentence(parts: list[Sample]) -> None:
    card = card_of(parts, lambda frames: says(np.ones(len(frames), bool)))
    assert card.findings == ()
    assert card.sentences() == [
        "The verdicts stand all 9 conditions as far as they were tried: no more defective parts escape than untouched or than "
        "the limit allows, and no more than 20 % of 9 verdicts change."
    ]


def test_without_defective_parts_nothing_is_known_of_escapes(parts: list[Sample]) -> None:
    card = card_of(parts[:5], sees_white)
    assert card.untouched.auroc is None
    assert all(one.exceeds_at == () for one in card.strains)
    assert card.sentences()[-1] == "There are no defective parts here, so nothing is known of escapes under any condition."


def test_each_picture_is_told_of_and_frames_come_sixteen_at_a_time(parts: list[Sample]) -> None:
    sizes, told = [], []

    def infer(frames: Picture) -> Answer:
        sizes.append(len(frames))
        assert frames.shape[1:] == (SIDE, SIDE, 3)
        return sees_white(frames)

    robustness_card(parts[3:7], SPEC, infer, THRESHOLDS, LIMIT, lambda done, total: told.append((done, total)))
    assert sum(sizes) == 4 * (1 + sum(len(condition.levels) for condition in CONDITIONS))
    assert set(sizes[:-1]) == {16}
    assert told == sorted(told)
    assert (told[0], told[-1]) == ((0, 4), (4, 4))


def test_the_same_pictures_give_the_same_card(parts: list[Sample]) -> None:
    def mean(frames: Picture) -> Answer:
        score = frames.mean(axis=(1, 2, 3), dtype=np.float32) / 255
        return Answer(np.stack([1 - score, score], axis=1), np.zeros((len(score), 2, 2), np.float32))

    assert card_of(parts[4:6], mean) == card_of(parts[4:6], mean)


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.1])
def test_an_answer_that_is_no_probability_is_refused(parts: list[Sample], value: float) -> None:
    def infer(frames: Picture) -> Answer:
        answer = sees_white(frames)
        answer.probability[-1] = value
        return answer

    with pytest.raises(EngineError, match="1 of 16 answers are no probabilities"):
        card_of(parts, infer)


def test_no_pictures_no_card() -> None:
    with pytest.raises(DatasetError, match="no pictures"):
        card_of([], sees_white)


# Findings from figures.


def outcome(level: float, named: str, escaped: int, rejected: int = 0) -> Outcome:
    return replace(twenty_of_each(escaped, rejected), level=level, named=named)


@lru_cache
def twenty_of_each(escaped: int, rejected: int) -> Outcome:
    def scored(escaped: int, rejected: int) -> list[PartScore]:
        return [PartScore(f"d{number}", True, "dent", 0.1 if number < escaped else 0.9) for number in range(20)] + [
            PartScore(f"g{number}", False, "", 0.9 if number < rejected else 0.1) for number in range(20)
        ]

    return outcome_of(0, "untouched", scored(escaped, rejected), scored(0, 0), THRESHOLDS)


UNTOUCHED = outcome(0, "untouched", 0)


@pytest.mark.parametrize(
    ("escapes", "sentence"),
    [
        ((0, 0, 3, 3), "dust: from 10 spots on, 3 of 20 defective parts escape (limit 1 %)"),
        ((0, 1, 3, 9), "dust: from 3 spots on, 1 of 20 defective parts escape; at 30 spots 9 of 20 (limit 1 %)"),
        ((0, 0, 0, 2), "dust: at 30 spots, 2 of 20 defective parts escape (limit 1 %)"),
        ((2, 0, 0, 0), "dust: at 1 spot, 2 of 20 defective parts escape (limit 1 %)"),
        ((0, 0, 0, 0), None),
    ],
)
def test_the_mildest_level_that_exceeds_the_limit_is_told(escapes: tuple[int, ...], sentence: str | None) -> None:
    dust = BY_NAME["dust"]
    outcomes = [outcome(level, dust.named(level), count) for level, count in zip(dust.levels, escapes, strict=True)]
    found = find("dust", outcomes, UNTOUCHED, LIMIT)
    assert (found.sentence if found else None) == sentence


def test_both_ways_to_go_are_told_apart() -> None:
    tilt = BY_NAME["tilt"]
    outcomes = [outcome(level, tilt.named(level), count) for level, count in zip(tilt.levels, (0, 0, 1, 0, 2, 2), strict=True)]
    found = find("tilt", outcomes, UNTOUCHED, LIMIT)
    assert found is not None
    assert found.sentence == (
        "tilt: at -5 degrees, 1 of 20 defective parts escape; from +2 degrees on, 2 of 20 defective parts escape (limit 1 %)"
    )


def test_what_escapes_untouched_is_no_fault_of_the_condition() -> None:
    before = outcome(0, "untouched", 2)
    assert find("dust", [outcome(1, "1 spot", 2)], before, LIMIT) is None
    found = find("dust", [outcome(1, "1 spot", 3)], before, LIMIT)
    assert found is not None
    assert found.sentence.endswith("(limit 1 %, untouched 2 of 20)")
    assert find("dust", [outcome(1, "1 spot", 3)], before, 0.2) is None


def test_the_gravest_comes_first() -> None:
    late = find("blur", [outcome(1, "a", 0), outcome(2, "b", 20)], UNTOUCHED, LIMIT)
    early = find("dust", [outcome(1, "a", 1), outcome(2, "b", 1)], UNTOUCHED, LIMIT)
    worse = find("noise", [outcome(1, "a", 1), outcome(2, "b", 6)], UNTOUCHED, LIMIT)
    rejected = find("lamp", [outcome(1, "a", 0, 20)], UNTOUCHED, LIMIT)
    corner = find("corner", [outcome(10, "a", 5)], UNTOUCHED, LIMIT)
    given_order = [one for one in (late, early, worse, rejected, corner) if one]
    assert sorted(given_order) == [corner, worse, early, late, rejected]


def test_parts_that_can_no_longer_be_told_apart_betray_the_corners_too() -> None:
    found = find("corner", [outcome(10, "10 % of the sides covered", 0, rejected=20)], UNTOUCHED, LIMIT)
    assert found is not None
    assert found.sentence.startswith(
        "corner: covering the corners changes 20 of 40 verdicts (10 % of the sides covered, and the "
    )
    assert "the AUROC falls from 1.00 to 0.50" in found.sentence


def test_few_changes_in_the_corners_are_an_ordinary_finding() -> None:
    found = find("corner", [outcome(10, "10 % of the sides covered", 1)], UNTOUCHED, LIMIT)
    assert found is not None
    assert found.sentence == "corner: at 10 % of the sides covered, 1 of 20 defective parts escape (limit 1 %)"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=6), st.integers(0, 20))
def test_the_mildest_is_the_first_that_is_too_much(escapes: list[int], limit: int) -> None:
    outcomes = [outcome(level, str(level), count) for level, count in enumerate(escapes, 1)]
    found = mildest(outcomes, lambda one: one.escape.count > limit)
    above = [level for level, count in enumerate(escapes, 1) if count > limit]
    assert [one.level for one, _ in found] == above[:1]
    if above:
        onwards = len(above) > 1 and above == list(range(above[0], len(escapes) + 1))
        assert found[0][1] == (f"from {above[0]} on" if onwards else f"at {above[0]}")


# robustness.json


def test_a_card_is_read_as_it_was_written(card: RobustnessCard, tmp_path: Path) -> None:
    file = write_card(tmp_path, card, "of this")
    assert read_card(tmp_path, "of this") == (card, "")
    whole = json.loads(file.read_text())
    assert whole["sentences"] == card.sentences()
    assert whole["card"]["thresholds"] == {"accept": 0.3, "reject": 0.7}
    assert whole["card"]["strains"][0]["outcomes"][0]["escape"]["count"] == 4


def test_a_stale_or_missing_card_is_none(card: RobustnessCard, tmp_path: Path) -> None:
    missing, why = read_card(tmp_path, "of this")
    assert missing is None
    assert "not measured" in why
    write_card(tmp_path, card, "of this")
    stale, why = read_card(tmp_path, "of that")
    assert stale is None
    assert "other weights, pictures or thresholds" in why


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.999))
def test_a_torn_card_is_none(card: RobustnessCard, tmp_path: Path, share: float) -> None:
    file = write_card(tmp_path, card, "of this")
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    torn, why = read_card(tmp_path, "of this")
    assert torn is None
    assert "measure again" in why


def forget_a_key(whole: bytes) -> bytes:
    kept = json.loads(whole)
    del kept["card"]["strains"][2]["outcomes"][0]["escape"]
    return json.dumps(kept).encode()


@pytest.mark.parametrize("spoil", [forget_a_key, lambda _: b"[]", lambda _: b"\xff\xfe", lambda _: b'{"card": NaN}'])
def test_a_card_of_another_shape_is_none(card: RobustnessCard, tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    file = write_card(tmp_path, card, "of this")
    file.write_bytes(spoil(file.read_bytes()))
    other, why = read_card(tmp_path, "of this")
    assert other is None
    assert "torn or of another version" in why


def test_a_folder_in_the_way_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "robustness.json").mkdir()
    nothing, why = read_card(tmp_path, "of this")
    assert nothing is None
    assert "cannot be read" in why


def test_what_it_was_made_from_is_all_that_it_depends_on(parts: list[Sample], tmp_path: Path) -> None:
    weights, others = tmp_path / "w", tmp_path / "v"
    weights.write_bytes(b"1")
    others.write_bytes(b"2")
    decision = Decision(thresholds=THRESHOLDS)
    stricter = Decision(thresholds=Thresholds(accept=0.2, reject=0.7))
    another = replace(parts[0], sha256="another")
    hashes = [
        made_from(weights, decision, parts, SPEC),
        made_from(others, decision, parts, SPEC),
        made_from(weights, stricter, parts, SPEC),
        made_from(weights, decision, parts[1:], SPEC),
        made_from(weights, decision, [another, *parts[1:]], SPEC),
        made_from(weights, decision, parts, SPEC.model_copy(update={"height": 32})),
    ]
    assert len(set(hashes)) == len(hashes)
    assert made_from(weights, decision, parts[::-1], SPEC) == hashes[0]

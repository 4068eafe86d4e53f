"""Drift: its statistics on simulated lines, its windows, and a whole station whose light fails."""

import json
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.bundle import Bundle, load_bundle
from deploy.bundle_spec import Signature
from deploy.cameras import Frame
from deploy.engines import open_engine
from deploy.files import write_whole
from deploy.inspector import drift
from deploy.inspector.drift import NO_REFERENCE, Drift, DriftWanted
from deploy.inspector.drift_baseline import BUNDLES_KEPT, NAME, Baseline, Baselines, read_baselines
from deploy.inspector.drift_limits import ALARM, CLEAR, SURE, expected, expected_rate, psi, wilson
from deploy.inspector.drift_window import LONGER, DriftWindow, Figure, State
from deploy.inspector.judge import Judge
from deploy.inspector.locate import Box, WholePicture
from deploy.inspector.region import Region
from deploy.inspector.report import counters
from deploy.inspector.spot import Spot
from deploy.inspector.tally import Tally
from deploy.inspector.track import EveryFrame
from deploy.inspector.watch import Turn, Watch
from deploy.preprocess import Picture, Preprocessing
from deploy.reference import Distribution, GoodPictures, light_and_focus
from tests.deploy.commands import started

DrawPart = Callable[..., Picture]
Values = npt.NDArray[np.float64]
WINDOW = 500
LINES = 200
FEW = settings(max_examples=30)


def lines(random: np.random.Generator, parts: int, follows: float) -> Values:
    """LINES x parts, autoregressions of mean 0 and deviation 1: each part follows the one before it by so much."""
    values = [random.normal(size=LINES)]
    for _ in range(parts - 1):
        values.append(follows * values[-1] + np.sqrt(1 - follows**2) * random.normal(size=LINES))
    return np.stack(values, axis=1)


def states(figures: list[Figure]) -> dict[str, State]:
    return {figure.quantity: figure.state for figure in figures}


# The statistic


shares = st.lists(st.integers(1, 1000), min_size=2, max_size=12).map(lambda counts: np.array(counts) / sum(counts))


@FEW
@given(shares)
def test_psi_is_never_negative_and_zero_for_the_same(one: Values) -> None:
    assert psi(one, one) == 0
    order = np.random.default_rng(len(one)).permutation(len(one))
    other = one[order]
    assert psi(one, other) >= 0
    assert psi(one, other) == pytest.approx(psi(other, one))
    assert psi(one[order], other[order]) == pytest.approx(psi(one, other))


@FEW
@given(st.integers(2, 12).flatmap(lambda n: st.tuples(*[st.lists(st.integers(1, 1000), min_size=n, max_size=n)] * 2)))
def test_psi_is_the_divergence_both_ways(counts: tuple[list[int], list[int]]) -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy comes with the pipeline's extras")
    one, other = (np.array(count) / sum(count) for count in counts)
    floored = [np.maximum(share, 1e-4) for share in (one, other)]
    if (one < 1e-4).any() or (other < 1e-4).any():
        assert psi(one, other) == psi(*floored)
    else:
        assert psi(one, other) == pytest.approx(stats.entropy(one, other) + stats.entropy(other, one), abs=1e-12)


@pytest.mark.parametrize(("count", "number"), [(0, 10), (1, 10), (5, 500), (20, 2000), (499, 500), (500, 500)])
def test_wilson_is_scipy_s(count: int, number: int) -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy comes with the pipeline's extras")
    theirs = stats.binomtest(count, number).proportion_ci(2 * stats.norm.cdf(SURE) - 1, method="wilson")
    assert wilson(count, number) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@FEW
@given(st.lists(st.floats(0, 255), min_size=1, max_size=60), st.lists(st.floats(0, 255), min_size=1, max_size=60))
def test_a_window_counts_whatever_its_order(reference: list[float], window: list[float]) -> None:
    limits = expected("brightness", Distribution.of(reference))
    assert limits.psi(window) == limits.psi(window[::-1]) >= 0
    assert limits.psi(Distribution.of(reference).quartiles) == 0


@pytest.mark.parametrize(
    ("beyond", "is_alarm", "is_clear"), [(0, False, True), (0.05, False, True), (0.09, False, False), (0.12, True, False)]
)
def test_the_share_of_a_window_that_alarms(beyond: float, is_alarm: bool, is_clear: bool) -> None:
    limits = expected("brightness", Distribution.of(np.linspace(130, 150, 200).tolist()))
    low, high = limits.ends()
    for end in (low - 1, high + 1):
        found = limits.psi([end] * round(1000 * beyond) + [140.0] * round(1000 * (1 - beyond)))
        assert (found > ALARM, found < CLEAR) == (is_alarm, is_clear)


@pytest.mark.parametrize("quantity", ["brightness", "sharpness", "score"])
def test_a_reference_that_never_changes_leaves_some_room(quantity: str) -> None:
    value = {"brightness": 140.0, "sharpness": 300.0, "score": 0.0}[quantity]
    limits = expected(quantity, Distribution.of([value] * 50))
    a_little = {"brightness": 145.0, "sharpness": 350.0, "score": 1e-7}[quantity]
    much = {"brightness": 80.0, "sharpness": 30.0, "score": 0.1}[quantity]
    assert limits.psi([value, a_little]) == 0
    assert limits.psi([much]) > ALARM


# Lines


@pytest.mark.parametrize(
    ("groups", "alike", "follows"), [(30, 1, 0.0), (30, 1, 0.9), (30, 10, 0.9), (50, 1, 0.95), (200, 1, 0.98)]
)
def test_steady_lines_raise_no_alarm(groups: int, alike: int, follows: float) -> None:
    """At most one of 200 lines of ten windows each, though their light has moods, and so many pictures of a group are alike."""
    random = np.random.default_rng(1)
    alarms = 0
    for light in 140 + 12 * lines(random, 10 * WINDOW, follows):
        pictures = np.repeat(random.normal(140, 12, groups), alike)
        limits = expected("brightness", Distribution.of(pictures.tolist(), groups))
        alarms += any(limits.psi(light[end - WINDOW : end]) > ALARM for end in range(WINDOW, len(light) + 1, 50))
    assert alarms <= 1


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.2])
def test_a_steady_defect_rate_raises_no_alarm(rate: float) -> None:
    random = np.random.default_rng(2)
    alarms, long = 0, LONGER * WINDOW
    for _ in range(LINES):
        defects = random.random(5 * long) < rate
        low, high = expected_rate(int(defects[:long].sum()), long)
        seen = [wilson(int(defects[end - long : end].sum()), long) for end in range(2 * long, 5 * long + 1, WINDOW)]
        alarms += any(least > high or most < low for least, most in seen)
    assert alarms <= 1


def reference_of(brightness: float = 140, sharpness: float = 300) -> GoodPictures:
    random = np.random.default_rng(3)
    return GoodPictures(
        brightness=Distribution.of(random.normal(brightness, 7, 100).tolist()),
        sharpness=Distribution.of((sharpness * np.exp(random.normal(0, 0.2, 100))).tolist()),
    )


def test_tripled_defects_and_fewer_of_them_are_told() -> None:
    random = np.random.default_rng(4)
    for factor in (3.0, 0.1):
        window = DriftWindow("top", "", WINDOW)
        for is_bad in random.random(2 * LONGER * WINDOW) < 0.02:
            window.add_part(0.01, not is_bad)
        assert states(window.figures(None)) == {"score": State.STEADY, "defect rate": State.STEADY}
        for is_bad in random.random(LONGER * WINDOW) < 0.02 * factor:
            window.add_part(0.01, not is_bad)
        rate = window.figures(None)[-1]
        assert rate.state is State.DRIFTING
        assert rate.psi is None
        assert "defect rate of camera top left what is usual on this line: rate 0.0" in rate.sentence()


def test_scores_that_rise_are_told_against_the_line_s_own() -> None:
    random = np.random.default_rng(5)
    window = DriftWindow("", "left", 50)
    told = [window.add_part(float(score), True) for score in random.beta(2, 200, LONGER * 50)]
    assert [one for one in told if one] == [told[-1]]
    assert "learned from 200 parts what is usual at left: median score 0.0" in str(told[-1])
    assert states(window.figures(None))["score"] is State.NOT_YET
    for score in random.beta(2, 200, 50):
        window.add_part(float(score), True)
    assert states(window.figures(None))["score"] is State.STEADY
    for score in random.beta(20, 80, 50):
        window.add_part(float(score), True)
    score = window.figures(None)[0]
    assert score.state is State.DRIFTING
    assert "score region left left what is usual on this line: median 0." in score.sentence()


def test_an_alarm_neither_flaps_nor_sticks() -> None:
    """Between 6 % and 11 % of the window beyond a fence, a state stays what it was."""
    reference, window = reference_of(), DriftWindow("top", "", 100)
    seen: list[State] = []

    def shown(dark: int, parts: int = 100) -> None:
        for number in range(parts):
            window.add_picture(40.0 if number % 100 < dark else 140.0, 300.0)
            figure = window.figures(reference)[0]
            if not seen or seen[-1] is not figure.state:
                seen.append(figure.state)

    shown(0, 99)
    assert seen == [State.NOT_YET]
    shown(9, 400)
    shown(20)
    shown(9, 400)
    assert seen == [State.NOT_YET, State.STEADY, State.DRIFTING]
    shown(0)
    assert seen == [State.NOT_YET, State.STEADY, State.DRIFTING, State.STEADY]


def test_another_bundle_begins_anew_with_scores_and_keeps_the_light() -> None:
    window = DriftWindow("", "", 50)
    for _ in range(300):
        window.add_part(0.01, True)
        window.add_picture(140, 300)
    assert set(states(window.figures(reference_of())).values()) >= {State.STEADY}
    window.begin(Baseline())
    found = states(window.figures(reference_of()))
    assert found == {
        "brightness": State.STEADY,
        "sharpness": State.STEADY,
        "score": State.NOT_YET,
        "defect rate": State.NOT_YET,
    }


def test_an_alarm_about_the_light_outlasts_another_bundle() -> None:
    """9 of 100 dark pictures are between the two limits: what began goes on, and nothing begins."""
    reference, window = reference_of(), DriftWindow("", "", 100)
    for dark in (20, 9):
        for number in range(100):
            window.add_picture(40 if number < dark else 140, 300)
        assert window.figures(reference)[0].state is State.DRIFTING
    window.begin(Baseline())
    assert window.figures(reference)[0].state is State.DRIFTING


# What is learned


def test_what_was_learned_is_read_again_and_old_bundles_are_forgotten(tmp_path: Path) -> None:
    baselines = Baselines()
    for number in range(BUNDLES_KEPT + 2):
        baselines.of(f"sha-{number}")["top/"] = Baseline(scores=[0.5], not_good=1)
    baselines.of("sha-2")  # again: now it is the latest
    (tmp_path / NAME).write_text(baselines.model_dump_json())
    found, trouble = read_baselines(tmp_path)
    assert trouble is None
    assert list(found.bundles) == [f"sha-{number}" for number in (*range(3, BUNDLES_KEPT + 2), 2)]
    assert found.of("sha-2")["top/"] == Baseline(scores=[0.5], not_good=1)


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "\x00"),
        *(
            json.dumps({"bundles": {"sha": {"top/": one}}})
            for one in (
                {"scores": ["x"]},
                {"scores": [float("nan")]},
                {"scores": [float("inf")]},
                {"scores": [1.5]},
                {"scores": [0.5], "not_good": 2},
                {"scores": [], "is_complete": True},
            )
        ),
    ],
)
def test_a_file_that_is_none_of_ours_is_told_and_learned_anew(
    content: str, bundle: Bundle, draw_part: DrawPart, tmp_path: Path
) -> None:
    (tmp_path / NAME).write_text(content)
    shown = Shown(bundle, tmp_path, Region(), DriftWanted(50, 0.0))
    told = shown.show(draw_part(False), 10)
    assert [one.split(" (")[0] for one in told] == ["baseline.json cannot be used", NO_REFERENCE]
    shown.drift.close()
    assert len(learned(tmp_path)) == 10


def learned(folder: Path) -> list[float]:
    """The scores of the only region of the only bundle."""
    ((baseline,),) = (known.values() for known in read_baselines(folder)[0].bundles.values())
    return baseline.scores


def test_nothing_is_read_and_told_where_nothing_was_learned(tmp_path: Path) -> None:
    assert read_baselines(tmp_path) == (Baselines(), None)


# The whole watch


@pytest.mark.parametrize("scale", [1, 3, 8])
def test_light_and_focus_do_not_depend_on_the_resolution(scale: int, draw_part: DrawPart) -> None:
    spec = Preprocessing(height=224, width=224, pad_bgr=(255, 0, 255))
    usual = light_and_focus(draw_part(False, 224), spec)
    large = cv2.resize(draw_part(False, 224), None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    assert light_and_focus(large, spec) == pytest.approx(usual, rel=0.01)
    wide = np.full((224, 448, 3), 90, np.uint8)
    assert light_and_focus(wide, spec)[0] == pytest.approx(90, abs=1), "bars do not count"


class Shown:
    """A camera's pictures, judged and watched one after another with no time in between."""

    def __init__(self, bundle: Bundle, folder: Path, region: Region, wanted: DriftWanted) -> None:
        self.told: list[str] = []
        self.judge = Judge(bundle, "fp32", open_engine(bundle), bundle.judged("fp32", "onnxruntime").thresholds, "sha")
        self.drift = Drift([("top", [region])], wanted, folder, self.told.append)
        self._watch = Watch("top", [Spot(region, WholePicture(), EveryFrame(), None)])

    def turn(self, picture: Picture) -> Turn:
        return self._watch.turn(Frame(picture, time.monotonic(), self._watch.last + 1, "picture"), self.judge)

    def show(self, picture: Picture, times: int) -> list[str]:
        """What the watch tells meanwhile."""
        before = len(self.told)
        turn = self.turn(picture)
        for _ in range(times):
            self.drift.add(turn)
        self.drift._look_due = 0
        self.drift.look()
        return self.told[before:]


def with_reference(bundle: Bundle, pictures: list[Picture]) -> Bundle:
    looks = [light_and_focus(picture, bundle.spec.preprocessing) for picture in pictures]
    brightness, sharpness = (Distribution.of(values) for values in zip(*looks, strict=True))
    reference = GoodPictures(brightness=brightness, sharpness=sharpness)
    return replace(bundle, spec=bundle.spec.model_copy(update={"reference": reference}))


def noisy(picture: Picture, seed: int, light: float = 1.0) -> Picture:
    random = np.random.default_rng(seed)
    lit = picture * (light * random.normal(1, 0.03)) + random.normal(0, 4, picture.shape)
    return np.clip(lit, 0, 255).astype(np.uint8)


POLYGON = ((20, 20), (240, 20), (240, 240), (20, 240))


@pytest.mark.parametrize("region", [Region("in", Box(20, 20, 220, 220)), Region("in", polygon=POLYGON)], ids=["roi", "polygon"])
def test_a_failing_lamp_and_a_lens_out_of_focus(region: Region, bundle: Bundle, draw_part: DrawPart, tmp_path: Path) -> None:
    good = [noisy(draw_part(False, 256), seed) for seed in range(40)]
    known = with_reference(bundle, [region.cut(picture, (40, 40, 40)) for picture in good])
    shown = Shown(known, tmp_path, region, DriftWanted(50, 0.0))
    assert shown.show(good[0], 49) == []
    assert {figure.state for figure in shown.drift.figures()} == {State.NOT_YET}
    assert shown.show(good[1], 50) == []
    assert states(list(shown.drift.figures()))["brightness"] is State.STEADY
    (dark,) = shown.show(noisy(draw_part(False, 256), 1, light=0.7), 50)
    assert dark.startswith("brightness of camera top region in left the bundle's range: median ")
    tally = Tally()
    tally.drift = shown.drift.alarms()
    assert f"\nDRIFT: {dark}" in counters(tally).plain
    (back,) = shown.show(good[2], 50)
    assert back.startswith("brightness of camera top region in is back in the bundle's range: median ")
    learned, blurred = shown.show(np.asarray(cv2.GaussianBlur(good[3], (0, 0), 3), np.uint8), 50)
    assert learned.startswith("learned from 200 parts")
    assert blurred.startswith("sharpness of camera top region in left the bundle's range: median ")


def test_one_part_now_and_then_is_looked_at(bundle: Bundle, draw_part: DrawPart, tmp_path: Path) -> None:
    """Nearly all turns cost nothing; a part that was not judged is none."""
    shown = Shown(with_reference(bundle, [draw_part(False)] * 30), tmp_path, Region(), DriftWanted(50, 3600))
    turn = shown.turn(draw_part(False))
    shown.drift.add(replace(turn, steps={"": replace(turn.steps[""], seen=[], parts=[])}))
    for _ in range(1000):
        shown.drift.add(turn)
    shown.drift.close()
    assert learned(tmp_path) == [pytest.approx(0.0, abs=0.2)]


def test_without_a_reference_the_line_still_knows_itself(bundle: Bundle, draw_part: DrawPart, tmp_path: Path) -> None:
    shown = Shown(bundle, tmp_path, Region(), DriftWanted(50, 0.0))
    assert bundle.spec.reference is None
    first, learned = shown.show(draw_part(False), 200)
    assert first == NO_REFERENCE
    assert learned.startswith("learned from 200 parts what is usual at top: ")
    assert [figure.quantity for figure in shown.drift.figures()] == ["score", "defect rate"]
    shown.drift.close()
    again = Shown(bundle, tmp_path, Region(), DriftWanted(50, 0.0))
    assert again.show(draw_part(False), 200) == [NO_REFERENCE], "what is usual is known"
    told = again.show(draw_part(True), 200)
    assert [one.split(" of ")[0] for one in told] == ["score", "defect rate"]


def test_a_disk_that_takes_nothing_holds_up_nobody(bundle: Bundle, draw_part: DrawPart, tmp_path: Path) -> None:
    shown = Shown(bundle, tmp_path / "gone", Region(), DriftWanted(50, 0.0))
    shown.show(draw_part(False), 10)
    shown.drift.close()
    (tmp_path / "gone").mkdir()
    shown.drift.close()
    assert len(learned(tmp_path / "gone")) == 10


def test_without_a_thread_to_be_had_it_is_kept_later(
    bundle: Bundle, draw_part: DrawPart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    shown = Shown(bundle, tmp_path, Region(), DriftWanted(50, 0.0))
    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", refuse)
        shown.drift._keep_due = 0.0
        shown.show(draw_part(False), 10)
        shown.drift.close()
    shown.drift.close()
    assert len(learned(tmp_path)) == 10


def test_a_disk_that_hangs_holds_up_nobody(
    bundle: Bundle, draw_part: DrawPart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, answers = Shown(bundle, tmp_path, Region(), DriftWanted(50, 0.0)), threading.Event()

    def hang(path: Path, text: str) -> None:
        assert answers.wait(60)
        write_whole(path, text)

    monkeypatch.setattr(drift, "write_whole", hang)
    monkeypatch.setattr(drift, "KEEP_S", 0.0)
    monkeypatch.setattr(drift, "END_S", 0.1)
    shown.drift._keep_due = 0.0
    began = time.monotonic()
    shown.show(draw_part(False), 10)
    shown.show(draw_part(False), 10)
    shown.drift.close()
    assert time.monotonic() - began < 30
    answers.set()
    shown.drift._keep_beside(30)
    shown.drift.close()
    assert len(learned(tmp_path)) == 20, "the first write was of 10"


def test_measuring_a_picture_costs_little_beside_the_engine() -> None:
    """One of 224 px each second, from a full HD frame: 2 % of a core is the limit, a tenth of that is usual."""
    spec = Preprocessing(height=224, width=224, pad_bgr=(0, 0, 0))
    picture = np.random.default_rng(0).integers(0, 255, (1080, 1920, 3), np.uint8)
    took = []
    for _ in range(9):
        began = time.thread_time()
        light_and_focus(picture, spec)
        took.append(time.thread_time() - began)
    assert min(took) < 0.02 * DriftWanted().every_s


# A station


def signed(bundle_path: Path, target: Path, reference: GoodPictures) -> Path:
    """The same bundle with a reference."""
    shutil.copytree(bundle_path, target)
    spec = json.loads((target / "bundle.json").read_text())
    raw = json.dumps({**spec, "reference": reference.model_dump()}, indent=2).encode()
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    (target / "bundle.json").write_bytes(raw)
    (target / "signature").write_text(Signature(public_key=public, signature=key.sign(raw).hex()).model_dump_json())
    return target


def events(store: Path) -> list[str]:
    if not store.exists():
        return []
    with closing(sqlite3.connect(store)) as database:
        try:
            rows = database.execute("SELECT message FROM events WHERE kind = 'drift' ORDER BY record").fetchall()
        except sqlite3.OperationalError:  # it is just being created
            return []
    return [message for (message,) in rows]


def drop(picture: Picture, folder: Path, number: int) -> None:
    """Put it there, whole; the ten latest stay."""
    written = cv2.imwrite(str(folder.parent / "next.png"), picture)
    assert written
    (folder.parent / "next.png").replace(folder / f"{number}.png")
    (folder / f"{number - 10}.png").unlink(missing_ok=True)


def test_a_station_whose_lamp_fails(bundle_path: Path, bundle: Bundle, draw_part: DrawPart, tmp_path: Path) -> None:
    pictures = [noisy(draw_part(False), seed) for seed in range(40)]
    measured = with_reference(bundle, pictures).spec.reference
    assert measured is not None
    wide = Distribution.of(np.geomspace(1e-3, 1e6, 40).tolist())  # a picture that is darker is less sharp, too
    reference = GoodPictures(brightness=measured.brightness, sharpness=wide)
    path = signed(bundle_path, tmp_path / "redness-1", reference)
    assert load_bundle(path).spec.reference == reference
    (tmp_path / "drop").mkdir()
    (tmp_path / "station.yaml").write_text(
        f"name: press-1\nbundle: {path}\nrecord: {{folder: record}}\ndrift: {{window: 50, every_s: 0.1}}\n"
        "cameras: [{name: top, source: 'watch:drop', max_age_ms: 60000, limit_s: 30}]\n"
    )
    store = tmp_path / "record" / "store.sqlite"
    end = time.monotonic() + 100
    with started("run", "station.yaml", cwd=tmp_path) as process:
        number, lit = 0, 1.0
        while not (found := events(store)) or "brightness" not in found[-1]:
            assert time.monotonic() < end, "waited in vain"
            assert process.poll() is None, "the inspector ended by itself"
            assert not found, "nothing has changed yet"
            drop(noisy(draw_part(False), number, lit), tmp_path / "drop", number)
            number += 1
            lit = 0.7 if number > 60 else 1.0
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    assert number > 60
    assert found[0].startswith("brightness of camera top left the bundle's range: median ")
    with closing(sqlite3.connect(store)) as database:
        assert database.execute("SELECT DISTINCT verdict FROM parts").fetchall() == [("GOOD",)]
    assert len(learned(tmp_path / "record")) >= 50

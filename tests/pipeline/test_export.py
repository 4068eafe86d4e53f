from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from scipy.stats import norm

from deploy.bundle_spec import GateEvidence
from deploy.engines import Answer
from deploy.engines.onnxruntime import OnnxRuntimeEngine
from deploy.errors import SignatureError
from deploy.preprocess import Picture, Preprocessing
from deploy.verdict import Thresholds
from pipeline.data.sample import Sample
from pipeline.evaluation.calibration import to_log_odds, to_probability
from pipeline.evaluation.limits import Costs, Limits
from pipeline.evaluation.metrics import part_scores
from pipeline.evaluation.thresholds import REVIEW_ALL, Derived, prove
from pipeline.export.calibration import choose_calibration
from pipeline.export.check_qdq import check_qdq, is_quantised
from pipeline.export.gate import (
    FULL_WELL,
    Reference,
    allowed_noise,
    carried_over,
    compare,
    noise,
    rederive,
    refer,
    refusal,
    thinned,
)
from pipeline.export.signing import KEY_VARIABLE, sign, signing_key
from tests.pipeline.conftest import sample
from tests.pipeline.networks import noise as pixels
from tests.pipeline.networks import write_precisions

PASSES = GateEvidence(pictures=200, auroc=0.95, auroc_fp32=0.951, agreement=0.996, escapes=1, escapes_fp32=1, max_difference=0.02)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"auroc": 0.9489}, "AUROC 0.9489 against 0.9510"),
        ({"agreement": 0.994}, "99.4% of verdicts agree with FP32 (at least 99.5%)"),
        ({"agreement": 0.97, "repeatability": 0.965}, None),
        ({"agreement": 0.96, "repeatability": 0.965}, "96.0% of verdicts agree with FP32 (at least 96.5%, as often as FP32"),
        ({"auroc": 0.945, "auroc_again": 0.944}, None),
        ({"auroc": 0.943, "auroc_again": 0.944}, "AUROC 0.9430 against 0.9510 in FP32 (at least 0.9440"),
        ({"auroc": None, "auroc_fp32": None}, None),
        ({"agreement": float("nan")}, "nan% of verdicts agree"),
        ({"escapes": 2}, "2 escapes against 1"),
        ({"auroc": 0.96, "escapes": 0}, None),
    ],
)
def test_gate(change: dict[str, float | None], expected: str | None) -> None:
    said = refusal(PASSES.model_copy(update=change))
    assert said == expected or (expected is not None and expected in (said or ""))


SAMPLES = [sample("a"), sample("b"), sample("c", "dent"), sample("d", "dent")]


def fp32(scores: list[float], accept: float, reject: float, repeatability: float = 1) -> Reference:
    thresholds = Thresholds(accept=accept, reject=reject)
    promises = prove(part_scores(SAMPLES, np.array(scores)), thresholds, Limits())
    return Reference(SAMPLES, np.array(scores), Derived(thresholds, promises), repeatability, None, 0.1)


def test_compare_counts_verdicts_at_each_side_s_own_thresholds() -> None:
    reference = fp32([0.1, 0.2, 0.8, 0.9], 0.5, 0.5)
    evidence = compare(reference, np.array([0.3, 0.4, 0.85, 0.55]), Thresholds(accept=0.6, reject=0.6))
    assert evidence.agreement == 0.75
    assert (evidence.escapes, evidence.escapes_fp32) == (1, 0)
    assert evidence.auroc == 1.0
    assert evidence.max_difference == pytest.approx(0.35)


@pytest.mark.parametrize(("slope", "offset"), [(1, 0), (1, 0.4), (0.8, -0.7)])
def test_thresholds_follow_answers_that_all_shift_alike(slope: float, offset: float) -> None:
    reference = fp32([0.1, 0.2, 0.8, 0.9], 0.35, 0.7)
    ours = to_probability(slope * to_log_odds(reference.scores) + offset)
    derived = rederive(reference, ours, Limits())
    expected = to_probability(slope * to_log_odds(np.array([0.35, 0.7])) + offset)
    assert (derived.thresholds.accept, derived.thresholds.reject) == pytest.approx(tuple(expected))
    assert noise(ours, reference.scores) == pytest.approx(0, abs=1e-6)
    assert compare(reference, ours, derived.thresholds).agreement == 1


def test_thresholds_that_would_miss_more_parts_are_derived_anew() -> None:
    reference = fp32([0.1, 0.2, 0.8, 0.9], 0.5, 0.5)
    ours = np.array([0.1, 0.2, 0.3, 0.9])  # the third part would pass now
    derived = rederive(reference, ours, Limits())
    assert derived.thresholds.accept <= 0.3


def test_an_answer_that_never_changes_is_all_noise() -> None:
    theirs = np.array([0.1, 0.2, 0.8, 0.9])
    assert noise(np.full(4, 0.5), theirs) == pytest.approx(to_log_odds(theirs).std())
    assert noise(theirs, np.full(4, 0.5)) == pytest.approx(0)


def test_thresholds_at_the_ends_stay_there() -> None:
    assert carried_over(REVIEW_ALL, 0.5, 2.0) == REVIEW_ALL


def level(frames: Picture) -> Answer:
    """A network whose log-odds are the mean of all pixels less 128."""
    odds = frames[..., 0].astype(float).mean(axis=(1, 2)) - 128
    defect = 1 / (1 + np.exp(-odds))
    return Answer(np.stack([1 - defect, defect], axis=1).astype(np.float32), np.zeros((len(frames), 1, 1), np.float32))


def shots(folder: Path, height: int, width: int) -> Reference:
    """Of forty pictures of random grey, into 32 x 32."""
    folder.mkdir()
    samples = []
    for number in range(40):
        grey = np.random.default_rng(number).integers(108, 149, (height, width, 1), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), np.repeat(grey, 3, axis=2))
        samples.append(Sample(str(folder), f"{number}.png", "good" if number % 2 else "defective", group=f"g{number}"))
    spec = Preprocessing(height=32, width=32, pad_bgr=(128, 128, 128))
    return refer(level, spec, samples, Derived(Thresholds(accept=0.5, reject=0.5), ()))


def test_fp32_repeats_itself_as_far_as_light_lets_it(tmp_path: Path) -> None:
    """The mean of 32 x 32 pixels varies by what the electrons of each do, and what rounding to grey levels adds."""
    reference = shots(tmp_path / "same", 32, 32)
    wanted = np.sqrt(2 * (128 * 255 / FULL_WELL + 1 / 12)) / 32  # of the difference between two shots
    assert reference.noise == pytest.approx(wanted, rel=0.1)
    assert 0.5 < reference.repeatability < 1


def test_shrinking_adds_up_the_light_and_bars_have_no_noise(tmp_path: Path) -> None:
    same, large, wide = (shots(tmp_path / f"{h}x{w}", h, w).noise for h, w in ((32, 32), (320, 320), (32, 64)))
    assert 0.1 * same < large < 0.35 * same  # a tenth, and what rounding to grey levels adds
    assert wide < 0.6 * same  # half of the frame, with twice the light each: a half


def test_noise_is_allowed_up_to_where_verdicts_would_turn() -> None:
    """Log-odds of -2 and 2 and one threshold at 0: a share of norm.cdf(2 / noise) is expected to stay."""
    scores = to_probability(np.array([-2.0, -2.0, 2.0, 2.0])).tolist()
    for repeatability in (0.9, 0.97, 1.0):
        allowed = allowed_noise(fp32(scores, 0.5, 0.5, repeatability))
        assert norm.cdf(2 / allowed) == pytest.approx(min(repeatability, 0.995), abs=4e-3)


def test_where_fp32_decides_nothing_a_camera_s_noise_is_the_measure() -> None:
    reference = fp32([0.1, 0.2, 0.8, 0.9], 0, 1)
    undecided = replace(reference, derived=Derived(REVIEW_ALL, (), "luck"))
    assert allowed_noise(undecided) == undecided.noise
    assert rederive(undecided, np.array([0.9, 0.1, 0.2, 0.3]), Limits()) is undecided.derived


def test_costs_alone_do_not_let_a_candidate_miss_more_parts() -> None:
    limits = Limits(max_escape=None, max_overkill=None, costs=Costs(escape=100, overkill=1, review=0.1, defect_rate=0.1))
    reference = fp32([0.1, 0.2, 0.8, 0.9], 0.5, 0.5)
    derived = rederive(reference, np.array([0.1, 0.2, 0.3, 0.9]), limits)
    assert derived.thresholds.accept <= 0.3


def test_few_pictures_stand_for_many(tmp_path: Path) -> None:
    reference = fp32([0.9, 0.1, 0.2, 0.8], 0.5, 0.5)
    few = thinned(reference, 2)
    assert few.scores.tolist() == [0.9, 0.1]  # the ends
    assert [sample.group for sample in few.samples] == ["a", "b"]
    assert thinned(reference, 100).scores.tolist() == reference.scores.tolist()


def test_calibration_is_spread_over_types() -> None:
    training = [sample(f"g{n}") for n in range(200)] + [sample(f"d{n}", "dent") for n in range(10)] + [sample("c", "crack")]
    chosen = choose_calibration(training)
    assert len(chosen) == 96
    assert sum(one.defect_type == "dent" for one in chosen) == 10
    assert sum(one.defect_type == "crack" for one in chosen) == 1
    assert choose_calibration(training) == chosen
    assert len(set(chosen)) == 96


@pytest.fixture(scope="module")
def precisions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("precisions")
    write_precisions(folder, "tf_mobilenetv3_small_100")
    return folder


def test_every_candidate_runs_and_is_smaller(precisions: Path) -> None:
    size = (precisions / "fp32.onnx").stat().st_size
    for name, share in (("fp16", 0.6), ("int8-qdq", 1.1), ("int8-cpu", 0.6)):  # TensorRT wants the float weights behind its Q/DQ
        answer = OnnxRuntimeEngine(precisions / f"{name}.onnx").infer(pixels(2, seed=2))
        assert answer.probability.shape == (2, 2)
        assert answer.probability.dtype == np.float32
        assert (precisions / f"{name}.onnx").stat().st_size < share * size


def test_half_precision_stays_close(precisions: Path) -> None:
    full, half = (OnnxRuntimeEngine(precisions / f"{name}.onnx").infer(pixels(4, seed=3)) for name in ("fp32", "fp16"))
    np.testing.assert_allclose(half.probability, full.probability, atol=2e-2)


def test_qdq_layout_is_the_one_every_tensorrt_takes(precisions: Path) -> None:
    assert is_quantised(onnx.load(precisions / "int8-qdq.onnx"))
    assert check_qdq(precisions / "int8-qdq.onnx") == []


def test_signing_key_is_made_once_and_kept_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    key, file, made = signing_key()
    assert made
    assert file.stat().st_mode & 0o777 == 0o600
    again, _, made_again = signing_key()
    assert not made_again
    signature = sign(b"content", again)
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature.public_key)).verify(bytes.fromhex(signature.signature), b"content")
    assert sign(b"content", key) == signature


def test_a_lost_key_is_not_replaced_in_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    _, file, _ = signing_key()
    public = file.with_name("signing_key.pub")
    trusted = public.read_text()
    file.rename(tmp_path / "in a safe place")
    with pytest.raises(SignatureError, match="bring it back"):
        signing_key()
    assert public.read_text() == trusted
    public.unlink()
    assert signing_key()[2]


def test_a_named_key_must_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "key.pem"))
    with pytest.raises(SignatureError, match="does not exist"):
        signing_key()
    (tmp_path / "key.pem").write_text("no key")
    with pytest.raises(SignatureError, match="no readable private key"):
        signing_key()

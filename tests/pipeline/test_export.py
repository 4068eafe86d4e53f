from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from deploy.bundle import GateEvidence
from deploy.engines.onnxruntime import OnnxRuntimeEngine
from deploy.errors import SignatureError
from deploy.verdict import Thresholds
from pipeline.data.sample import Sample
from pipeline.evaluation.calibration import NONE
from pipeline.export.check_qdq import check_qdq, is_quantised
from pipeline.export.gate import Reference, compare, refusal
from pipeline.export.graph import write_onnx
from pipeline.export.quantise import choose_calibration, write_fp16, write_int8_cpu, write_int8_qdq
from pipeline.export.signing import KEY_VARIABLE, sign, signing_key
from tests.pipeline.conftest import sample
from tests.pipeline.test_model import build

PASSES = GateEvidence(pictures=200, auroc=0.95, auroc_fp32=0.951, agreement=0.996, escapes=1, escapes_fp32=1, max_difference=0.02)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"auroc": 0.9489}, "AUROC 0.9489 against 0.9510"),
        ({"agreement": 0.994}, "99.4% of verdicts agree"),
        ({"escapes": 2}, "2 escapes against 1"),
        ({"auroc": 0.96, "escapes": 0}, None),
    ],
)
def test_gate(change: dict[str, float], expected: str | None) -> None:
    said = refusal(PASSES.model_copy(update=change))
    assert said == expected or (expected is not None and expected in (said or ""))


def test_compare_counts_verdicts_at_each_side_s_own_thresholds() -> None:
    samples = [sample("a"), sample("b"), sample("c", "dent"), sample("d", "dent")]
    fp32 = Reference(np.array([0.1, 0.2, 0.8, 0.9]), Thresholds(accept=0.5, reject=0.5))
    shifted = Reference(np.array([0.3, 0.4, 0.85, 0.55]), Thresholds(accept=0.6, reject=0.6))
    evidence = compare(samples, shifted, fp32, fp32.scores)
    assert evidence.agreement == 0.75
    assert (evidence.escapes, evidence.escapes_fp32) == (1, 0)
    assert evidence.auroc == 1.0
    assert evidence.max_difference == pytest.approx(0.35)


def test_calibration_is_spread_over_types() -> None:
    training = [sample(f"g{n}") for n in range(200)] + [sample(f"d{n}", "dent") for n in range(10)] + [sample("c", "crack")]
    chosen = choose_calibration(training)
    assert len(chosen) == 96
    assert sum(one.defect_type == "dent" for one in chosen) == 10
    assert sum(one.defect_type == "crack" for one in chosen) == 1
    assert choose_calibration(training) == chosen
    assert len(set(chosen)) == 96


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Sample]]:
    folder = tmp_path_factory.mktemp("quantised")
    model, recipe = build("tf_mobilenetv3_small_100", height=64)
    random = np.random.default_rng(0)
    samples = []
    for number in range(4):
        cv2.imwrite(str(folder / f"{number}.png"), random.integers(0, 255, (64, 64, 3), np.uint8))
        samples.append(Sample(str(folder), f"{number}.png", "good"))
    spec = recipe.preprocessing()
    write_onnx(model, NONE, spec, folder / "fp32.onnx")
    write_fp16(folder / "fp32.onnx", folder / "fp16.onnx")
    write_int8_qdq(folder / "fp32.onnx", folder / "qdq.onnx", samples, spec)
    write_int8_cpu(folder / "fp32.onnx", folder / "cpu.onnx", samples, spec)
    return folder, samples


def test_every_candidate_runs_and_is_smaller(quantised: tuple[Path, list[Sample]]) -> None:
    folder, _ = quantised
    frames = np.random.default_rng(2).integers(0, 255, (2, 64, 64, 3), np.uint8)
    size = (folder / "fp32.onnx").stat().st_size
    for name, share in (("fp16", 0.6), ("qdq", 1.1), ("cpu", 0.6)):  # TensorRT wants the float weights behind its Q/DQ
        answer = OnnxRuntimeEngine(folder / f"{name}.onnx").infer(frames)
        assert answer.probability.shape == (2, 2)
        assert answer.probability.dtype == np.float32
        assert (folder / f"{name}.onnx").stat().st_size < share * size


def test_half_precision_stays_close(quantised: tuple[Path, list[Sample]]) -> None:
    folder, _ = quantised
    frames = np.random.default_rng(3).integers(0, 255, (4, 64, 64, 3), np.uint8)
    full, half = (OnnxRuntimeEngine(folder / f"{name}.onnx").infer(frames) for name in ("fp32", "fp16"))
    np.testing.assert_allclose(half.probability, full.probability, atol=2e-2)


def test_qdq_layout_is_the_one_every_tensorrt_takes(quantised: tuple[Path, list[Sample]]) -> None:
    assert is_quantised(onnx.load(quantised[0] / "qdq.onnx"))
    assert check_qdq(quantised[0] / "qdq.onnx") == []


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


def test_a_named_key_must_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "key.pem"))
    with pytest.raises(SignatureError, match="does not exist"):
        signing_key()
    (tmp_path / "key.pem").write_text("no key")
    with pytest.raises(SignatureError, match="no readable private key"):
        signing_key()

import json
import shutil
from pathlib import Path

import pytest

from deploy.bundle import Bundle, load_bundle
from deploy.engines import open_engine
from deploy.errors import BundleError, EngineError, GoldenMismatch, SignatureError
from deploy.selftest import check_golden

FILES = ("model.onnx", "golden.npz", "report.html")


@pytest.fixture
def copy(bundle_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_path, tmp_path / "copy"))


def test_an_untouched_bundle_loads(bundle_path: Path) -> None:
    loaded = load_bundle(bundle_path)
    assert loaded.spec.name == "redness"
    assert load_bundle(bundle_path, trusted_key=loaded.signed_by.upper()).signed_by == loaded.signed_by


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_is_found_and_named(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(BundleError, match=rf"{name} was changed after export"):
        load_bundle(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        load_bundle(copy)


def test_a_changed_manifest_does_not_match_its_signature(copy: Path) -> None:
    spec = json.loads((copy / "bundle.json").read_text())
    spec["models"]["fp32"]["thresholds"] = {"accept": 0.9, "reject": 0.9}
    (copy / "bundle.json").write_text(json.dumps(spec))
    with pytest.raises(SignatureError, match=r"bundle\.json does not match its signature"):
        load_bundle(copy)


@pytest.mark.parametrize("position", [5, 40, 100, 200])
def test_a_changed_signature_is_refused(copy: Path, position: int) -> None:
    data = bytearray((copy / "signature").read_bytes())
    data[position] ^= 1
    (copy / "signature").write_bytes(data)
    with pytest.raises(SignatureError):
        load_bundle(copy)


def test_another_signer_is_refused(bundle_path: Path) -> None:
    with pytest.raises(SignatureError, match="expected abababab"):
        load_bundle(bundle_path, trusted_key="ab" * 32)


@pytest.mark.parametrize(("missing", "error"), [("bundle.json", BundleError), ("signature", SignatureError)])
def test_a_folder_without_its_papers_is_no_bundle(copy: Path, missing: str, error: type[BundleError]) -> None:
    (copy / missing).unlink()
    with pytest.raises(error, match=missing):
        load_bundle(copy)


def test_a_precision_that_is_not_there_says_why(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"no fp16 model \(left out: no faster here\); it has fp32"):
        bundle.model("fp16")


def test_the_golden_pictures_pass_on_the_engine_that_made_them(bundle: Bundle) -> None:
    result = check_golden(bundle, open_engine(bundle), "fp32")
    assert (result.pictures, result.max_difference) == (2, 0)


def test_an_engine_that_answers_differently_is_refused_with_the_difference(bundle: Bundle) -> None:
    class Other:
        name = "another engine"

        def infer(self, frames):  # type: ignore[no-untyped-def]
            answer = open_engine(bundle).infer(frames)
            answer.probability[:] = answer.probability[:, ::-1]
            return answer

    with pytest.raises(GoldenMismatch, match=r"difference \d\.\d{4}, at most 0\.001 expected for fp32"):
        check_golden(bundle, Other(), "fp32")


def test_a_model_file_that_is_none_names_the_file(tmp_path: Path, bundle: Bundle) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(EngineError, match=r"model\.onnx does not load"):
        open_engine(Bundle(tmp_path, bundle.spec, bundle.signed_by))

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.bundle import Bundle, load_bundle, sha256_of
from deploy.engines.tensorrt import cuda
from deploy.installation import resolve as resolving
from deploy.installation.choice import Choice, choice_file, write_choice
from deploy.installation.machine import this_machine, version_of
from deploy.installation.resolve import resolve
from tests.deploy.installation.conftest import Product
from tests.deploy.installation.test_choice import choice, pair
from tests.deploy.tensorrt.doubles import FakeTensorRT

Installed = Callable[..., Bundle]


@pytest.fixture
def installed(product: Product) -> Installed:
    """A bundle with a choice made for it on this machine, but for the changes."""

    def put(precision: str, runtime: str, **changes: Any) -> Bundle:
        bundle = load_bundle(product(fp16={}, int8_cpu={"refused": {"openvino": "worse"}}))
        known: dict[str, Any] = {
            "bundle_sha256": sha256_of(bundle.path / "bundle.json"),
            "machine": this_machine(),
            "runtimes": {runtime: version_of(runtime) or "0"},
        }
        pairs = [pair("fp32", "onnxruntime"), pair(precision, runtime)]
        written: Choice = choice(*pairs, precision=precision, runtime=runtime, **{**known, **changes})
        write_choice(choice_file(bundle), written)
        return bundle

    return put


@pytest.mark.parametrize(
    ("precision", "runtime", "expected"),
    [
        (None, None, ("fp16", "openvino")),
        ("fp16", None, ("fp16", "openvino")),
        (None, "openvino", ("fp16", "openvino")),
        ("fp32", None, ("fp32", "onnxruntime")),  # the choice is for another model
        (None, "onnxruntime", ("fp32", "onnxruntime")),
        ("fp16", "tensorrt", ("fp16", "tensorrt")),
        ("int8-cpu", "openvino", ("int8-cpu", "openvino")),
    ],
)
def test_what_is_given_wins(precision: str | None, runtime: str | None, expected: tuple[str, str], installed: Installed) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed; `pip install openvino`")
    found = resolve(installed("fp16", "openvino"), precision, runtime)
    assert (found.precision, found.runtime) == expected
    assert found.installed == (expected == ("fp16", "openvino"))
    assert bool(found.note) == found.installed


def test_without_a_choice(product: Product) -> None:
    bundle = load_bundle(product())
    found = resolve(bundle, None, None)
    assert (found.precision, found.runtime, found.installed) == ("fp32", "onnxruntime", False)
    assert "nothing was installed for this bundle on this device" in found.note
    assert f"`inspector install {bundle.path}`" in found.note


HERE = this_machine()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"bundle_sha256": "0" * 64, "version": 7}, "is for another bundle (redness version 7)", id="bundle"),
        pytest.param(
            {"machine": HERE.model_copy(update={"cpu": "Z80"})}, f"another machine (cpu Z80, here {HERE.cpu})", id="cpu"
        ),
        pytest.param({"machine": HERE.model_copy(update={"cores": 512})}, "another machine (cores 512, here", id="cores"),
        pytest.param({"machine": HERE.model_copy(update={"platform": "Linux vax"})}, "(platform Linux vax, here", id="platform"),
        pytest.param(
            {"runtimes": {"onnxruntime": "1.2"}}, "onnxruntime was updated since it was installed (1.2, now ", id="version"
        ),
        pytest.param({"runtimes": {}}, "onnxruntime was updated since it was installed (unknown, now ", id="no version"),
    ],
)
def test_an_outdated_choice_is_not_used(changes: dict[str, Any], said: str, installed: Installed) -> None:
    found = resolve(installed("fp16", "onnxruntime", **changes), None, None)
    assert (found.precision, found.runtime, found.installed) == ("fp32", "onnxruntime", False)
    assert said in found.note
    assert "inspector install" in found.note
    assert "\n" not in found.note


def test_another_runtime_than_the_chosen_one_may_change(installed: Installed) -> None:
    bundle = installed("fp16", "onnxruntime", runtimes={"onnxruntime": version_of("onnxruntime"), "openvino": "1.0"})
    assert resolve(bundle, None, None).installed


def test_a_gpu_is_asked_for_only_where_it_was_chosen(installed: Installed, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = installed("fp16", "onnxruntime", machine=HERE.model_copy(update={"gpu": "NVIDIA A2"}))
    monkeypatch.setattr(resolving, "gpu_name", lambda: pytest.fail("the driver was asked"))
    assert resolve(bundle, None, None).installed


def test_a_choice_that_the_lab_refused_is_not_used(installed: Installed) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed; `pip install openvino`")
    found = resolve(installed("int8-cpu", "openvino"), None, None)
    assert (found.precision, found.runtime) == ("fp32", "onnxruntime")
    assert "did not pass the gate in openvino (worse)" in found.note


def test_tensorrt_that_was_updated_lost_or_moved(
    installed: Installed, gpu: FakeTensorRT, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = installed("fp16", "tensorrt")
    assert resolve(bundle, None, None).runtime == "tensorrt"
    before = gpu.__version__
    monkeypatch.setattr(gpu, "__version__", "10.99")
    assert f"tensorrt was updated since it was installed ({before}, now 10.99)" in resolve(bundle, None, None).note
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    assert f"tensorrt {before}, which was chosen, is no longer here" in resolve(bundle, None, None).note
    monkeypatch.setattr(cuda, "load_library", lambda: (_ for _ in ()).throw(OSError("no driver")))
    found = resolve(bundle, None, None)
    assert "installed on another machine (gpu NVIDIA Orin (nvgpu), here none)" in found.note
    assert (found.precision, found.runtime) == ("fp32", "onnxruntime")


def test_a_choice_for_the_old_files_of_a_bundle(installed: Installed, product: Product) -> None:
    bundle = installed("fp16", "onnxruntime")
    assert resolve(bundle, None, None).installed
    again = load_bundle(product(fp16={}, int8_qdq={}))  # the same folder, exported again
    assert again.path == bundle.path
    assert "is for another bundle" in resolve(again, None, None).note


def test_a_choice_that_is_a_folder(product: Product) -> None:
    bundle = load_bundle(product())
    choice_file(bundle).mkdir(parents=True)
    assert "cannot be read (Is a directory)" in resolve(bundle, None, None).note


def test_the_choice_moves_with_the_folder_of_bundles(installed: Installed, tmp_path: Path) -> None:
    bundle = installed("fp16", "onnxruntime")
    moved = bundle.path.parent.rename(tmp_path / "elsewhere") / bundle.path.name
    assert resolve(load_bundle(moved), None, None).installed

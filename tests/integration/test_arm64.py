"""A bundle on a Jetson's kind of processor: Debian for arm64 without torch, in an emulated Cortex-A76."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.demo.line import write_demo_dataset
from tests.integration.arm64.answers import answers
from tests.integration.arm64.userland import SITE, Unavailable, make_userland, missing, run_inside
from tests.integration.test_journey import give_here

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-5
PICTURES = 2


@pytest.fixture(scope="module")
def userland(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of an arm64 system with `deploy` and what it needs, and without the training wing. Removed afterwards."""
    if lacking := missing():
        pytest.skip(lacking)
    root = tmp_path_factory.mktemp("arm64") / "root"
    try:
        try:
            make_userland(root)
        except Unavailable as error:
            pytest.skip(str(error))
        shutil.copytree(ROOT / "deploy", root / SITE / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="module")
def home(userland: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a bundle was trained and exported, and copied from into the userland, with some pictures and the inspector's key."""
    home = tmp_path_factory.mktemp("home")
    write_demo_dataset(home / "line", parts=48, exposures=1)
    give_here("pipeline", "train", home / "line", "--input-size", "128", "--epochs", "4", home=home)
    give_here("pipeline", "export", home / "runs" / "demo-line-0001", home=home)
    (home / "pictures").mkdir()
    for kind in ("good", "defective/*"):
        for file in sorted((home / "line").glob(f"{kind}/*.png"))[:PICTURES]:
            shutil.copy(file, home / "pictures")
    shutil.copytree(home / "bundles" / "demo-line-1", userland / "opt" / "bundle")
    shutil.copytree(home / "pictures", userland / "opt" / "pictures")
    shutil.copy(ROOT / "tests" / "integration" / "arm64" / "answers.py", userland / "opt")
    return home


@pytest.fixture(scope="module")
def key(home: Path) -> str:
    """The public key that the station trusts."""
    return (home / "line-inspector" / "signing_key.pub").read_text().strip()


def inspect(userland: Path, *words: str) -> str:
    """Give a command of the inspector inside; it must succeed."""
    done = run_inside(userland, "-m", "deploy.cli", *words)
    said = " ".join(done.stdout.split())
    assert done.returncode == 0, said + done.stderr
    assert "Traceback" not in done.stderr
    return said


def test_it_is_arm64_and_has_no_training_wing(userland: Path) -> None:
    names = ("torch", "timm", "pipeline", "deploy", "onnxruntime")
    program = f"""
import json, platform
from importlib.util import find_spec
print(json.dumps([platform.machine(), [name for name in {names} if find_spec(name)]]))
"""
    done = run_inside(userland, "-c", program)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["aarch64", ["deploy", "onnxruntime"]]
    assert "No module named 'torch'" in run_inside(userland, "-c", "import torch").stderr


def test_every_model_answers_as_in_the_lab(userland: Path, home: Path, key: str) -> None:
    spec = json.loads((home / "bundles" / "demo-line-1" / "bundle.json").read_text())
    said = inspect(userland, "selftest", "/opt/bundle", "--trust", key)
    print(said)
    assert f"signed by {key}: as you trust" in said
    passed = [model for model in spec["models"].values() if not model["engines"]["onnxruntime"]["refused"]]
    assert said.count("as in the lab") == len(passed)


def test_a_bundle_of_another_lab_is_refused(userland: Path, home: Path) -> None:
    done = run_inside(userland, "-m", "deploy.cli", "selftest", "/opt/bundle", "--trust", "0" * 64)
    assert done.returncode == 1
    assert "use a bundle of your own lab" in " ".join((done.stdout + done.stderr).split())


def test_probabilities_are_those_of_x86(userland: Path, home: Path) -> None:
    """From the picture's file to the probability: reading, letterboxing and the graph."""
    done = run_inside(userland, "/opt/answers.py", "/opt/bundle", "/opt/pictures", "/tmp/answers.npz")
    assert done.returncode == 0, done.stderr
    here = answers(home / "bundles" / "demo-line-1", home / "pictures")
    with np.load(userland / "tmp" / "answers.npz", allow_pickle=False) as stored:
        there = {name: stored[name] for name in stored.files}
    assert there.keys() == here.keys() >= {"frames", "fp32"}
    assert len(here["frames"]) > 2 * PICTURES
    assert np.ptp(here["fp32"][:, 1]) > 0.1, "a model that says the same of every picture proves nothing"
    differences = {name: float(np.abs(there[name].astype(float) - here[name].astype(float)).max()) for name in here}
    print("largest differences between arm64 and x86-64:", {name: f"{found:.2g}" for name, found in differences.items()})
    assert differences["fp32"] <= TOLERANCE, differences


def test_verdicts_are_those_of_x86(userland: Path, home: Path, key: str) -> None:
    inspect(userland, "run", "/opt/bundle", "/opt/pictures", "--out", "/opt/record", "--trust", key)
    give_here("inspector", "run", home / "bundles" / "demo-line-1", home / "pictures", "--out", home / "record", home=home)
    there, here = (
        json.loads((folder / "summary.json").read_text())["verdicts"] for folder in (userland / "opt/record", home / "record")
    )
    assert there == here
    assert sum(there.values()) == 2 * PICTURES


def test_it_is_installed_there(userland: Path, home: Path, key: str) -> None:
    if not re.search(r"\binstall\b", inspect(userland, "--help")):
        pytest.skip("this inspector has no command `install`")
    print(inspect(userland, "install", "/opt/bundle", "--trust", key))

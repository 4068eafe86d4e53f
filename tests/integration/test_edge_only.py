"""The edge wing alone: a venv without torch, on every Python the line may have."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def find_python(version: str) -> str | None:
    """An interpreter that really starts: pyenv puts a name on the path for versions that are not switched on."""
    versions = sorted(Path(os.environ.get("PYENV_ROOT", "/nowhere")).glob(f"versions/{version}*/bin/python{version}"))
    for candidate in (shutil.which(f"python{version}"), *map(str, versions)):
        if candidate and subprocess.run([candidate, "--version"], capture_output=True).returncode == 0:
            return candidate
    return None


INTERPRETERS = {"this Python": sys.executable, "Python 3.10 (JetPack 6)": find_python("3.10")}


@pytest.fixture(scope="module", params=INTERPRETERS)
def edge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh venv with the edge dependencies only; returns its python."""
    interpreter = INTERPRETERS[request.param]
    if interpreter is None:
        pytest.skip(f"{request.param} is not installed here")
    folder = tmp_path_factory.mktemp("edge") / "venv"
    subprocess.run([interpreter, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", f"{ROOT}[cpu]", "pytest", "hypothesis", "onnx"]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"pip cannot install the edge dependencies here: {done.stderr.strip().splitlines()[-1]}")
    return python


def test_the_edge_works_without_torch(edge: Path, tmp_path: Path) -> None:
    absent = subprocess.run([str(edge), "-c", "import torch"], capture_output=True, text=True, cwd=tmp_path)
    assert "No module named 'torch'" in absent.stderr
    # Their tests take minutes; what they need of the edge, the others show.
    rooms = [
        f"--ignore={ROOT / 'tests' / 'deploy' / room}"
        for room in ("cameras", "store", "capture", "installation", "inspector", "health")
    ]
    tests = [str(edge), "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", str(ROOT / "tests" / "deploy"), *rooms]
    done = subprocess.run(tests, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert " passed" in done.stdout

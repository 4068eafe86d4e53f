"""The edge wing stays free of the training wing: what a Jetson cannot install it must not import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import deploy

SOURCES = sorted(Path(deploy.__file__).parent.rglob("*.py"))
FORBIDDEN = {"lightning", "pipeline", "pytorch_lightning", "timm", "torch", "torchvision"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_module_imports_the_training_wing(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    assert not imported & FORBIDDEN


def test_the_command_line_starts_without_its_heavy_parts() -> None:
    code = "import sys, deploy.cli; print(*{'cv2', 'numpy', 'onnxruntime', 'pydantic', 'torch'} & set(sys.modules))"
    root = Path(deploy.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == ""

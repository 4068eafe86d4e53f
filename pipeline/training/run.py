"""The run folder: a finished training with its evidence, and how an unfinished one is found again."""

import hashlib
import importlib.metadata
import json
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from deploy.errors import RunError
from pipeline.data.manifest import Manifest, read_manifest, slug
from pipeline.evaluation.decision import Decision
from pipeline.training.model import InspectionModel
from pipeline.training.recipe import Recipe, read_recipe
from pipeline.training.weights import weights_metadata

PARTIAL = ".partial"
WEIGHTS = "weights.safetensors"
PACKAGES = ("line-inspector", "torch", "timm", "lightning", "numpy", "opencv-python", "onnx", "onnxruntime")


@dataclass(frozen=True)
class Run:
    """A finished training."""

    path: Path
    recipe: Recipe
    manifest: Manifest
    decision: Decision

    @property
    def weights(self) -> Path:
        """Its own weights."""
        return self.path / WEIGHTS

    def model(self) -> InspectionModel:
        """The trained network, in evaluation mode."""
        model = InspectionModel(self.recipe)
        try:
            model.load_state_dict(load_file(self.weights))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise RunError(f"{self.weights} cannot be loaded ({error}); restore it, or train again") from error
        return model.eval()


def load_run(path: Path) -> Run:
    """Open a run folder; raises RunError when it is missing, unfinished or altered."""
    if not path.is_dir():
        near = path.with_name(path.name + PARTIAL)
        hint = f"; {near} is unfinished: give the same `pipeline train` command again" if near.is_dir() else ""
        raise RunError(f"{path} does not exist; expected a run folder such as runs/parts-0001{hint}")
    if path.name.endswith(PARTIAL):
        raise RunError(f"{path} is an unfinished training; give the same `pipeline train` command again to finish it")
    recipe, manifest = read_recipe(path / "recipe.yaml"), read_manifest(path)
    try:
        decision = Decision.model_validate_json((path / "decision.json").read_bytes())
    except (OSError, ValidationError) as error:
        raise RunError(f"{path}/decision.json is missing or not valid ({error}); restore it, or train again") from error
    return Run(path, recipe, manifest, decision)


def save_model(model: InspectionModel, recipe: Recipe, file: Path) -> None:
    """Write weights.safetensors, with what is needed to use it as source weights."""
    if recipe.source is None:
        raise ValueError("the recipe's source weights must be resolved first")
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, file, weights_metadata(recipe.source, recipe.backbone))


def open_partial(out: Path, dataset: str, identity: Mapping[str, Any]) -> tuple[Path, bool]:
    """The folder to train in, and whether it continues an interrupted training of the same `identity`.

    Its name gets `.partial` until `finish` gives it the final one, so a half-trained run is never taken for a finished one.
    """
    wanted = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    name = slug(dataset)
    out.mkdir(parents=True, exist_ok=True)
    for folder in sorted(out.glob(f"{name}-*{PARTIAL}")):
        if (folder / "identity").is_file() and (folder / "identity").read_text() == wanted:
            return folder, True
    numbers = [
        int(match[1]) for folder in out.iterdir() if (match := re.fullmatch(rf"{re.escape(name)}-(\d{{4}}).*", folder.name))
    ]
    folder = out / f"{name}-{max(numbers, default=0) + 1:04d}{PARTIAL}"
    folder.mkdir()
    (folder / "identity").write_text(wanted)
    return folder, False


def final_name(folder: Path) -> Path:
    """What an unfinished run's folder will be called."""
    return folder.with_name(folder.name.removesuffix(PARTIAL))


def finish(folder: Path) -> Path:
    """Give a finished run its final name."""
    final = final_name(folder)
    os.rename(folder, final)
    (final / "identity").unlink(missing_ok=True)
    return final


def environment() -> dict[str, str]:
    """Software versions that matter for repeating a run."""
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "absent"
    return versions

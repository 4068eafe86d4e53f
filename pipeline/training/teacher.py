"""Distillation: a larger run as the teacher of a light one, which must not have seen the pictures the light one is tested on."""

from pathlib import Path

from safetensors.torch import load_file

from deploy.errors import RunError
from pipeline.data.manifest import Manifest
from pipeline.training.model import InspectionModel
from pipeline.training.recipe import Recipe
from pipeline.training.run import load_run


def load_teacher(recipe: Recipe, manifest: Manifest) -> InspectionModel:
    """The teacher's network, fit for pictures of the recipe's size; raises RunError for one that cannot teach this training."""
    run = load_run(Path(recipe.teacher or ""))
    tested = {one for sample in manifest.split("test") for one in (sample.sha256, f"{sample.origin}|{sample.group}")}
    learned = [sample for sample in run.manifest.samples if sample.split != "test"]
    known = [sample for sample in learned if sample.sha256 in tested or f"{sample.origin}|{sample.group}" in tested]
    if known:
        raise RunError(
            f"the teacher {run.path} learned from {len(known)} pictures of groups that this run is tested on (first: "
            f"{known[0].path}), so the figures would be worth nothing; train both on one manifest version (pipeline split)"
        )
    teacher = InspectionModel(run.recipe.model_copy(update={"height": recipe.height, "width": recipe.width}))
    teacher.load_state_dict(load_file(run.weights))
    return teacher.eval()

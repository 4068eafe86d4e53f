"""Distillation: a larger run as the teacher of a light one."""

from pathlib import Path

from pipeline.data.manifest import Manifest
from pipeline.training.lineage import refuse_learned
from pipeline.training.model import InspectionModel
from pipeline.training.recipe import Recipe
from pipeline.training.run import load_run


def load_teacher(recipe: Recipe, manifest: Manifest) -> InspectionModel | None:
    """The recipe's teacher, fit for pictures of its size; None without one. Raises RunError for one that cannot teach."""
    if recipe.teacher is None:
        return None
    run = load_run(Path(recipe.teacher))
    refuse_learned(recipe.teacher, manifest.split("test"), "the teacher")
    teacher = InspectionModel(run.recipe.model_copy(update={"height": recipe.height, "width": recipe.width}))
    teacher.load_state_dict(run.model().state_dict())
    return teacher.eval()

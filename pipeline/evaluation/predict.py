"""Scores of samples, by the torch graph or by any engine, through the edge's own preprocessing."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from deploy.engines import Answer
from deploy.errors import EngineError
from deploy.preprocess import Picture, Preprocessing, letterbox, read_picture
from pipeline.data.sample import Sample
from pipeline.evaluation.calibration import NONE, Calibration, choose_calibration, to_log_odds
from pipeline.evaluation.decision import Decision
from pipeline.evaluation.limits import Limits
from pipeline.evaluation.metrics import Scores, part_scores
from pipeline.evaluation.thresholds import Derived, derive_thresholds
from pipeline.export.graph import InspectionGraph
from pipeline.training.model import InspectionModel
from pipeline.training.recipe import Recipe

Infer = Callable[[Picture], Answer]
See = Callable[[Sequence[Sample], Sequence[tuple[int, int]], npt.NDArray[np.float32]], None]
"""Gets N samples, the (height, width) of their pictures, and their heatmaps N x h x w, 0..1."""
BATCH = 16


def torch_infer(model: InspectionModel, calibration: Calibration) -> Infer:
    """Run the graph in torch, in the same terms as an engine."""
    graph = InspectionGraph(model, calibration).eval()

    def infer(frames: Picture) -> Answer:
        with torch.inference_mode():
            probability, heatmap = graph(torch.from_numpy(frames))
        return Answer(probability.numpy(), heatmap.numpy())

    return infer


def predict(samples: Sequence[Sample], spec: Preprocessing, infer: Infer, see: See | None = None) -> Scores:
    """N defect probabilities; `see` is shown the heatmaps as they come."""
    scores = np.empty(len(samples))
    for start in range(0, len(samples), BATCH):
        batch = samples[start : start + BATCH]
        pictures = [read_picture(sample.file) for sample in batch]
        answer = infer(np.stack([letterbox(picture, spec) for picture in pictures]))
        scores[start : start + BATCH] = answer.defect
        if see is not None and np.isfinite(answer.defect).all():
            see(batch, [(picture.shape[0], picture.shape[1]) for picture in pictures], answer.heatmap)
    if not np.isfinite(scores).all():
        raise EngineError(f"{(~np.isfinite(scores)).sum()} of {len(scores)} answers are no numbers; this model cannot be used")
    return scores


def derive(validation: Sequence[Sample], spec: Preprocessing, infer: Infer, limits: Limits) -> Derived:
    """Thresholds of the torch graph, or of an engine, by what it answers on the validation groups."""
    return derive_thresholds(part_scores(validation, predict(validation, spec, infer)), limits)


def fix_decision(model: InspectionModel, recipe: Recipe, validation: Sequence[Sample], limits: Limits) -> Decision:
    """Fit the calibration, then the thresholds, on the validation groups."""
    spec = recipe.preprocessing()
    calibration = choose_calibration(validation, to_log_odds(predict(validation, spec, torch_infer(model, NONE))))
    derived = derive(validation, spec, torch_infer(model, calibration), limits)
    return Decision(
        calibration=calibration,
        limits=limits,
        thresholds=derived.thresholds,
        promises=derived.promises,
        undecided=derived.undecided,
    )

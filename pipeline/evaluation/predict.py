"""Scores of samples, by the torch graph or by any engine, through the edge's own preprocessing."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from deploy.engines import Answer
from deploy.errors import EngineError
from deploy.preprocess import Picture, Preprocessing, letterbox, read_picture
from pipeline.data.sample import Sample
from pipeline.evaluation.calibration import fit_temperature
from pipeline.evaluation.metrics import Scores, labels_of, part_scores
from pipeline.evaluation.thresholds import derive_thresholds
from pipeline.export.graph import InspectionGraph
from pipeline.training.model import InspectionModel
from pipeline.training.recipe import Recipe
from pipeline.training.run import Decision

Infer = Callable[[Picture], Answer]
BATCH = 16


def torch_infer(model: InspectionModel, temperature: float) -> Infer:
    """Run the graph in torch, in the same terms as an engine."""
    graph = InspectionGraph(model, temperature).eval()

    def infer(frames: Picture) -> Answer:
        with torch.inference_mode():
            probability, heatmap = graph(torch.from_numpy(frames))
        return Answer(probability.numpy(), heatmap.numpy())

    return infer


def frames_of(samples: Sequence[Sample], spec: Preprocessing) -> Iterator[Picture]:
    """Batches of letterboxed pictures, N x H x W x 3."""
    for start in range(0, len(samples), BATCH):
        yield np.stack([letterbox(read_picture(sample.file), spec) for sample in samples[start : start + BATCH]])


def predict(samples: Sequence[Sample], spec: Preprocessing, infer: Infer) -> Scores:
    """N defect probabilities."""
    scores = np.concatenate([infer(frames).defect for frames in frames_of(samples, spec)]).astype(np.float64)
    if not np.isfinite(scores).all():
        raise EngineError(f"{(~np.isfinite(scores)).sum()} of {len(scores)} answers are no numbers; this model cannot be used")
    return scores


def fix_decision(model: InspectionModel, recipe: Recipe, validation: Sequence[Sample]) -> Decision:
    """Fit the temperature and the thresholds on the validation groups."""
    raw = predict(validation, recipe.preprocessing(), torch_infer(model, 1.0))
    clipped = np.clip(raw, 1e-7, 1 - 1e-7)
    temperature = fit_temperature(np.log(clipped / (1 - clipped)), labels_of(validation))
    scores = predict(validation, recipe.preprocessing(), torch_infer(model, temperature))
    return Decision(temperature=temperature, thresholds=derive_thresholds(part_scores(validation, scores)))

"""`report.html`: one file that opens anywhere, offline."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import cv2
import jinja2
import numpy as np

from deploy.files import write_whole
from deploy.preprocess import Picture, Preprocessing, letterbox, read_picture, unletterbox
from deploy.verdict import Verdict, decide
from pipeline.data.masks import read_place
from pipeline.evaluation.charts import roc_chart, score_chart
from pipeline.evaluation.metrics import labels_of
from pipeline.training.run import environment

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.data.sample import Sample
    from pipeline.evaluation.evaluate import Evaluation
    from pipeline.evaluation.predict import Infer
    from pipeline.training.recipe import Recipe

WORST = 12
THUMBNAIL = 260
"""Longest side of a picture in the report, in pixels."""


@dataclass(frozen=True)
class Mistake:
    """A test picture on the wrong side, or the nearest to it."""

    path: str
    truth: str
    verdict: str
    probability: float
    picture: str
    """data: URL, with the outline of the heatmap and of the mask."""


def write_report(evaluation: Evaluation, recipe: Recipe, infer: Infer, file: Path) -> None:
    """Write the report of an evaluation; `infer` gives the heatmaps of the pictures shown."""
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        resources.files("pipeline.evaluation").joinpath("report.html.jinja").read_text()
    )
    defective = labels_of(evaluation.samples)
    charts = []
    if defective.any() and not defective.all():
        charts = [
            roc_chart(defective, evaluation.scores, evaluation.decision.thresholds),
            score_chart(defective, evaluation.scores, evaluation.decision.thresholds),
        ]
    write_whole(
        file,
        template.render(
            evaluation=evaluation,
            recipe=recipe,
            groups=len({sample.group for sample in evaluation.samples}),
            charts=charts,
            mistakes=worst_mistakes(evaluation, recipe.preprocessing(), infer),
            environment=environment(),
        ),
    )


def worst_mistakes(evaluation: Evaluation, spec: Preprocessing, infer: Infer) -> list[Mistake]:
    """The pictures furthest on the wrong side of their thresholds, the worst first."""
    thresholds = evaluation.decision.thresholds
    wrong = []
    for sample, score in zip(evaluation.samples, evaluation.scores, strict=True):
        verdict = decide(float(score), thresholds)
        missed = sample.label == "defective" and verdict is not Verdict.DEFECTIVE
        refused = sample.label == "good" and verdict is not Verdict.GOOD
        if missed or refused:
            wrong.append((1 - score if missed else score, sample, float(score), verdict))
    wrong.sort(key=lambda entry: -entry[0])
    return [
        Mistake(
            sample.path,
            sample.defect_type or "good",
            verdict.value,
            score,
            "data:image/jpeg;base64," + base64.b64encode(_illustrated(sample, spec, infer)).decode(),
        )
        for _, sample, score, verdict in wrong[:WORST]
    ]


def _illustrated(sample: Sample, spec: Preprocessing, infer: Infer) -> bytes:
    picture = read_picture(sample.file)
    heatmap = unletterbox(infer(letterbox(picture, spec)[None]).heatmap[0], picture.shape[0], picture.shape[1], spec)
    scale = THUMBNAIL / max(picture.shape[:2])
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    small: Picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    _outline(small, cv2.resize(heatmap, size) > 0.5, (0, 165, 255))
    if sample.mask:
        mask = cv2.resize(read_place(sample, picture.shape[:2]) * np.uint8(255), size, interpolation=cv2.INTER_AREA)
        _outline(small, mask > 64, (255, 200, 0))
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def _outline(picture: Picture, where: np.typing.NDArray[np.bool_], colour: tuple[int, int, int]) -> None:
    contours, _ = cv2.findContours(where.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(picture, contours, -1, colour, 1, cv2.LINE_AA)

"""What a trivial model already predicts: a network finds such a shortcut first, and the line does not have it."""

from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.data.audit.finding import Checked, Finding, Material
from pipeline.data.audit.probe import out_of_fold
from pipeline.data.lookalikes.bursts import number_in
from pipeline.evaluation.metrics import auroc

MOST = 10_000
"""Pictures that the trivial models are tried on; more would only take longer."""
ALARM = {"size and aspect": 0.6, "mean colour": 0.6, "order of file names": 0.6, "thumbnail": 0.8}
"""AUROC from which a shortcut is told, if its interval excludes chance. A thumbnail may show the defect, a file name cannot."""
ADVICE = {
    "size and aspect": "Crop good and defective parts the same way. The network sees the letterbox bars.",
    "mean colour": "Take good and defective parts under the same light.",
    "order of file names": "Good and defective parts were taken at different times: mix them, or light and dirt are learned.",
    "thumbnail": "Either the defects are plain to see, or good and defective parts differ in what is no defect. Look.",
}


def check_shortcuts(material: Material) -> Checked:
    """AUROC by group of models that know only size, mean colour, file name order or a 32 x 32 thumbnail."""
    chosen = _some(material)
    samples = [material.samples[index] for index in chosen]
    found: list[dict[str, Any]] = []
    findings = []
    for name, table in _trivial(material, chosen).items():
        if np.ptp(table, axis=0).max() == 0:  # the same for all, so it predicts nothing
            continue
        scores = out_of_fold(_thumbnail_model if name == "thumbnail" else _small_model, table, samples)
        if scores is None:
            return Checked((Finding("note", "too few groups of each class to look for shortcuts"),), {"shortcuts": []})
        figure = auroc(samples, scores)
        told = (figure.value or 0) >= ALARM[name] and (figure.low is None or figure.low > 0.5)
        found.append({"name": name, "auroc": asdict(figure), "alarm": told})
        findings.append(
            Finding(
                "warning" if told else "note",
                f"{name} alone tells good from defective with AUROC {figure}, where 0.5 is guessing"
                + ("" if told else ": no shortcut"),
                ADVICE[name] if told else "",
            )
        )
    return Checked(tuple(findings), {"shortcuts": found})


def _small_model(_: int) -> BaseEstimator:
    return RandomForestClassifier(200, min_samples_leaf=5, class_weight="balanced", random_state=0)


def _thumbnail_model(_: int) -> BaseEstimator:
    return make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, class_weight="balanced", max_iter=500))


def _some(material: Material) -> npt.NDArray[np.int64]:
    """All pictures, or whole groups at random up to MOST pictures."""
    names, group = np.unique([sample.group for sample in material.samples], return_inverse=True)
    order = np.random.default_rng(0).permutation(len(names))
    sizes = np.bincount(group, minlength=len(names))[order]
    kept = order[: max(1, int(np.searchsorted(np.cumsum(sizes), MOST, side="right")))]
    return np.flatnonzero(np.isin(group, kept))


def _trivial(material: Material, chosen: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.float32]]:
    facts = [material.facts[index] for index in chosen]
    paths = [material.samples[index].path for index in chosen]
    tables = {
        "size and aspect": [[one.width, one.height, one.width / one.height, one.width * one.height] for one in facts],
        "mean colour": [[*one.colour, one.brightness] for one in facts],
        "thumbnail": [one.thumbnail.ravel() / 255 for one in facts],
    }
    numbers = [number_in(path) for path in paths]
    if all(number is not None for number in numbers):
        rank = np.argsort(np.argsort([number or 0 for number in numbers], kind="stable"), kind="stable")
        tables["order of file names"] = rank[:, None].tolist()
    return {name: np.asarray(table, np.float32) for name, table in tables.items()}

"""Cross-validation by group of the small models that the audit and the ranking of sources ask."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.data.sample import Sample
from pipeline.evaluation.metrics import labels_of

FOLDS = 5
COMPONENTS = 128


def linear_probe(table: npt.NDArray[np.float32], samples: Sequence[Sample]) -> npt.NDArray[np.float64] | None:
    """As `out_of_fold`, by a logistic regression on the main components of N x D features."""

    def make(learned: int) -> BaseEstimator:
        return make_pipeline(
            StandardScaler(),
            PCA(min(COMPONENTS, table.shape[1], learned // 2), random_state=0, svd_solver="randomized"),
            LogisticRegression(C=1e-3, class_weight="balanced", max_iter=500),
        )

    return out_of_fold(make, table, samples)


def out_of_fold(
    make: Callable[[int], BaseEstimator], table: npt.NDArray[np.float32], samples: Sequence[Sample]
) -> npt.NDArray[np.float64] | None:
    """Chance that each of N samples is defective, by a model that never saw its group; None when no fold can learn both classes.

    `make` gets the number of samples of the smallest training part. As many folds are made as leave both classes to learn from in
    every one: one group may hold most of a class.
    """
    defective = labels_of(samples)
    groups = [sample.group for sample in samples]
    most = min(FOLDS, len(set(groups)), int(defective.sum()), int((~defective).sum()))
    for count in range(most, 1, -1):
        folds = list(StratifiedGroupKFold(count, shuffle=True, random_state=0).split(table, defective, groups))
        if all(len(judged) and 0 < defective[learned].sum() < len(learned) for learned, judged in folds):
            break
    else:
        return None
    model = make(min(len(learned) for learned, _ in folds))
    chance = np.empty(len(samples))
    for learned, judged in folds:
        chance[judged] = clone(model).fit(table[learned], defective[learned]).predict_proba(table[judged])[:, 1]
    return np.round(chance, 6)  # threads add up in any order; the same pictures are to give the same figures

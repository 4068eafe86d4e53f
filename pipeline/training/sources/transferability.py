"""How much a frozen backbone's features tell of good and defective: a probe by group, and LogME as a second opinion."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.data.audit.probe import linear_probe
from pipeline.data.sample import Sample
from pipeline.evaluation.metrics import Figure, auroc, labels_of

ROUNDS, CONVERGED, FLOOR = 11, 1e-3, 1e-5
"""Of LogME's fixed point, as in its authors' code; the floor keeps precisions finite where the labels are fitted exactly."""

Table = npt.NDArray[np.float32]


def probe(table: Table, samples: Sequence[Sample]) -> Figure | None:
    """AUROC, with its interval over groups, of a linear model on N x D features, each group judged by one that never saw it.

    None where no fold has both classes to learn from.
    """
    table = table[:, np.ptp(table, axis=0) > 0]
    if not table.shape[1]:  # a backbone that answers the same to every picture
        return auroc(samples, np.full(len(samples), 0.5))
    chance = linear_probe(table, samples)
    return None if chance is None else auroc(samples, chance)


def log_me(table: Table, defective: npt.NDArray[np.bool_]) -> float:
    """LogME of N x D features and N labels: how probable the labels are under the best linear model; higher is better.

    The evidence of a Bayesian linear regression at its most probable precisions, by fixed-point iteration, averaged over the
    classes, per picture. You, Liu, Wang, Long: LogME: Practical assessment of pre-trained models for transfer learning, ICML
    2021. It holds nothing out, so siblings of one part count as independent pictures. The unit of the features does not matter.
    """
    features = table.astype(np.float64)
    features *= np.sqrt(len(features)) / (np.linalg.norm(features) or 1.0)  # the iteration starts at precision 1
    wide = features.shape[1] > len(features)
    variances, vectors = np.linalg.eigh(features @ features.T if wide else features.T @ features)  # the smaller of the two
    kept = variances > 1e-10 * variances.max()
    variances, vectors = variances[kept], vectors[:, kept]
    left = vectors if wide else features @ vectors / np.sqrt(variances)
    return float(np.mean([_evidence(left, variances, target.astype(np.float64)) for target in (defective, ~defective)]))


def _evidence(left: npt.NDArray[np.float64], variances: npt.NDArray[np.float64], target: npt.NDArray[np.float64]) -> float:
    """Log evidence per picture of a target, given the left singular vectors and the squared singular values of the features."""
    count = len(target)
    seen = (left.T @ target) ** 2
    unseen = max(0.0, float(target @ target - seen.sum()))  # what no weights on these features can say
    prior = noise = 1.0  # precisions of the weights and of the labels
    for _ in range(ROUNDS):
        ratio = prior / noise
        effective = float((variances / (ratio + variances)).sum())
        weights = float((variances * seen / (ratio + variances) ** 2).sum())
        residual = float((seen * (ratio / (ratio + variances)) ** 2).sum()) + unseen
        prior, noise = effective / (weights + FLOOR), (count - effective) / (residual + FLOOR)
        if abs(prior / noise - ratio) <= CONVERGED * ratio:
            break
    spread = np.log(prior / (prior + noise * variances)).sum()
    return float(spread + count * (np.log(noise) - np.log(2 * np.pi)) - noise * residual - prior * weights) / (2 * count)


def assess(table: npt.NDArray[np.float16], samples: Sequence[Sample]) -> tuple[Figure, float] | None:
    """The probe's AUROC and LogME of N x D features; None where the probe cannot learn."""
    wide = table.astype(np.float32)
    figure = probe(wide, samples)
    return None if figure is None else (figure, log_me(wide, labels_of(samples)))

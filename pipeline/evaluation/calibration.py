"""Temperature scaling: makes a probability mean what it says."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from pipeline.evaluation.metrics import Scores


def fit_temperature(logits: Scores, defective: npt.NDArray[np.bool_]) -> float:
    """The temperature that minimises the negative log-likelihood of validation logits (Guo et al., ICML 2017).

    Bounded to 0.5..10: separable validation data would ask for ever sharper probabilities.
    """
    sign = np.where(defective, 1.0, -1.0)

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0, -sign * logits / np.exp(log_temperature)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.5), np.log(10)), method="bounded").x))

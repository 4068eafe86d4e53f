"""The two thresholds, from stated limits on validation parts."""

from collections.abc import Sequence

import numpy as np

from deploy.errors import DatasetError
from deploy.verdict import Thresholds
from pipeline.evaluation.metrics import PartScore

MAX_ESCAPE = 0.01
MAX_OVERKILL = 0.02


def derive_thresholds(
    parts: Sequence[PartScore], max_escape: float = MAX_ESCAPE, max_overkill: float = MAX_OVERKILL
) -> Thresholds:
    """Choose accept and reject so that at most these shares of the given parts escape or are rejected wrongly.

    accept: the highest score below which no more than `max_escape` of the defective parts lie; reject: the lowest above which no
    more than `max_overkill` of the good parts lie. Where the classes are so far apart that both limits hold for every threshold
    between them, nothing is known of scores in the gap: its middle half (in log-odds) becomes REVIEW.
    Raises DatasetError when one class is missing.
    """
    good = np.sort([part.score for part in parts if not part.defective])
    bad = np.sort([part.score for part in parts if part.defective])
    if not len(good) or not len(bad):
        raise DatasetError(
            f"thresholds need good and defective parts; found {len(good)} good and {len(bad)} defective; add the other"
        )
    escapes_below = float(bad[int(max_escape * len(bad))])  # GOOD is strictly below accept
    rejects_above = float(good[len(good) - 1 - int(max_overkill * len(good))])  # DEFECTIVE is strictly above reject
    if escapes_below <= rejects_above:
        return Thresholds(accept=escapes_below, reject=rejects_above)
    low, high = _log_odds(rejects_above), _log_odds(escapes_below)
    quarter = (high - low) / 4
    # Next to 0 and 1 log-odds are cut off, which must not carry a threshold over a score.
    return Thresholds(accept=min(escapes_below, _chance(low + quarter)), reject=max(rejects_above, _chance(high - quarter)))


def _log_odds(probability: float) -> float:
    clipped = min(max(probability, 1e-6), 1 - 1e-6)
    return float(np.log(clipped / (1 - clipped)))


def _chance(log_odds: float) -> float:
    return float(1 / (1 + np.exp(-log_odds)))

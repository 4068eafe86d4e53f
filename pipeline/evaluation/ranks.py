"""Do these scores lie lower than those? By ranks alone: Mann and Whitney, Annals of Mathematical Statistics 18, 1947."""

import numpy as np
import numpy.typing as npt
from scipy.stats import mannwhitneyu, rankdata

from pipeline.evaluation.metrics import CONFIDENCE, Scores

PERMUTATIONS = 9999
FEW = 20
AT_ONCE = 4_000_000
"""Ranks of permutations in memory at once."""


def chance_of_lower(here: Scores, elsewhere: Scores) -> float:
    """One-sided p-value that `here` is lower: how often luck alone would rank the two so well.

    Exact for few scores without ties, else by the normal approximation. That is too sure of itself where most scores are tied
    (saturated answers, INT8) or few are tied with many, so where it finds something there, permutations of the ranks decide.
    """
    both = np.concatenate([here, elsewhere])
    tied = np.unique(both, return_counts=True)[1].max()
    if tied == len(both):
        return 1.0
    p = float(mannwhitneyu(here, elsewhere, alternative="less").pvalue)
    crowded = tied > len(both) / 2 or min(len(here), len(elsewhere)) < FEW
    if tied == 1 or not crowded or p > 1 - CONFIDENCE:
        return p
    ranks: npt.NDArray[np.float64] = rankdata(both)
    found = ranks[: len(here)].sum()
    random = np.random.default_rng(0)
    ranks.sort()
    below, step = 0, max(1, AT_ONCE // len(ranks))
    for start in range(0, PERMUTATIONS, step):
        shuffled = random.permuted(np.tile(ranks, (min(step, PERMUTATIONS - start), 1)), axis=1)
        below += int(np.count_nonzero(shuffled[:, : len(here)].sum(axis=1) <= found))
    return (below + 1) / (PERMUTATIONS + 1)

"""The pictures that set INT8's ranges: of training groups only, and the same for every candidate."""

from collections.abc import Sequence

import numpy as np

from pipeline.data.sample import Sample

CALIBRATION_PICTURES = 96


def choose_calibration(training: Sequence[Sample], seed: int = 0) -> tuple[Sample, ...]:
    """Up to CALIBRATION_PICTURES of the training groups, the same share of every defect type and of good pictures."""
    random = np.random.default_rng(seed)
    kinds = sorted({sample.defect_type for sample in training})
    queues = [[sample for sample in training if sample.defect_type == kind] for kind in kinds]
    shuffled = [[queue[index] for index in random.permutation(len(queue))] for queue in queues]
    chosen: list[Sample] = []
    while len(chosen) < CALIBRATION_PICTURES and any(shuffled):
        chosen += [queue.pop() for queue in shuffled if queue]
    return tuple(chosen[:CALIBRATION_PICTURES])

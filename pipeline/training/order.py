"""In which order pictures are shown: shuffled, or every class as often; whole over all processes, the same for the same seed."""

from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import BatchSampler, Sampler

from pipeline.data.sample import Sample


class EpochOrder(Sampler[int]):
    """Indices of one epoch: permutations of all pictures, as many as it takes for `count` of them, or draws by `weights`.

    Every process of a distributed training draws the same order and takes its own share of it: no picture is shown twice by two.
    """

    def __init__(
        self, pictures: int, count: int, seed: int, weights: Sequence[float] = (), process: int = 0, processes: int = 1
    ) -> None:
        self._pictures, self._count, self._seed, self._weights = pictures, max(1, count // processes) * processes, seed, weights
        self._process, self._processes, self._epoch = process, processes, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch: every epoch has its own order, a resumed one too."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._count // self._processes

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(1_000_003 * self._seed + self._epoch)
        if self._weights:
            order = torch.multinomial(torch.tensor(self._weights), self._count, replacement=True, generator=generator)
        else:
            rounds = -(-self._count // self._pictures)
            order = torch.cat([torch.randperm(self._pictures, generator=generator) for _ in range(rounds)])[: self._count]
        return iter(order[self._process :: self._processes].tolist())


class EpochBatches(BatchSampler):
    """Whole batches of an EpochOrder, which hears of each epoch through them."""

    def set_epoch(self, epoch: int) -> None:
        """See EpochOrder.set_epoch."""
        if isinstance(self.sampler, EpochOrder):
            self.sampler.set_epoch(epoch)


def balanced_weights(samples: Sequence[Sample]) -> list[float]:
    """How often to show each picture: good and defective alike often, and within the defective each type alike often."""
    kinds = Counter((sample.label, sample.defect_type) for sample in samples)
    types = Counter(label for label, _ in kinds)
    return [1 / (types[sample.label] * kinds[sample.label, sample.defect_type]) for sample in samples]

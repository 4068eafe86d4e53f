"""The moving average of the weights, over what learns: a frozen backbone is many times the head's values, and never changes."""

from typing import Any

import lightning
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from pipeline.training.module import TrainingModule


class LearnedAverage(WeightAveraging):
    """Lightning's averaging by torch's exponential rule, over the head alone while the backbone is frozen.

    Polyak and Juditsky, SIAM Journal on Control and Optimization 30, 1992.
    """

    def __init__(self, decay: float) -> None:
        self._average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        super().__init__(multi_avg_fn=self._average)
        self._pairs: list[tuple[Tensor, Tensor]] = []

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Follow the step that was just made; the first one is copied, as torch does."""
        assert self._average_model is not None
        assert isinstance(pl_module, TrainingModule)
        if pl_module.model.backbone.training or not self._average_model.n_averaged:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        elif trainer.global_step > self._latest_update_step:
            average = self._average_model.module
            assert isinstance(average, TrainingModule)
            self._follow(average.model.head, pl_module.model.head)
            self._latest_update_step = trainer.global_step

    def _follow(self, average: nn.Module, head: nn.Module) -> None:
        if not self._pairs:
            self._pairs = list(zip(_values(average), _values(head), strict=True))
        smooth = [pair for pair in self._pairs if pair[0].is_floating_point()]
        self._average([one for one, _ in smooth], [now for _, now in smooth], 0)
        for one, now in self._pairs:
            if not one.is_floating_point():
                one.copy_(now)


def _values(part: nn.Module) -> list[Tensor]:
    return [value.detach() for value in (*part.parameters(), *part.buffers())]

"""The Lightning module: phases, differential learning rates, validation by picture."""

import math
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Timer
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR, LinearLR, ReduceLROnPlateau
from torchmetrics import MeanMetric
from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision

from pipeline.training.batch import Batch, build_mixup, mix
from pipeline.training.losses import cell_truth, distillation_loss, picture_loss, pixel_loss
from pipeline.training.machine import told_by_first
from pipeline.training.model import InspectionModel
from pipeline.training.recipe import Recipe
from pipeline.training.strategies import Phase, backbone_stages, learns, parameter_groups, phase_at, plan

PLATEAU_PATIENCE = 3
"""Epochs without a better score before `schedule: plateau` divides the learning rates."""


class TrainingModule(lightning.LightningModule):
    """Trains what each phase of the recipe's strategy lets learn; see strategies.py."""

    def __init__(
        self,
        model: InspectionModel,
        recipe: Recipe,
        defect_weight: float,
        steps_per_epoch: int,
        teacher: InspectionModel | None = None,
    ) -> None:
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)  # half again as fast on CPUs, and what tensor cores want
        self.recipe = recipe
        self.stages = backbone_stages(model.backbone)
        self.phases = plan(recipe, len(self.stages))
        self.defect_weight = defect_weight
        self.steps_per_epoch = steps_per_epoch
        self.mixup = build_mixup(recipe)
        self.teacher = (teacher,)  # in a tuple it is no submodule: neither saved, averaged nor trained
        self.auroc = BinaryAUROC()
        self.average_precision = BinaryAveragePrecision()
        self.validation_loss = MeanMetric()

    def on_fit_start(self) -> None:
        """Bring the teacher to where the network is."""
        if self.teacher[0] is not None:
            self.teacher[0].to(self.device).eval().requires_grad_(False)

    def on_train_epoch_start(self) -> None:
        """Freeze and free the backbone's stages by the epoch alone, so that a resumed run is in the right phase."""
        self.free(phase_at(self.phases, self.current_epoch))

    def free(self, phase: Phase) -> None:
        """Let a phase's stages learn, and no others."""
        first_free = len(self.stages) - phase.free
        for index, stage in enumerate(self.stages):
            for name, parameter in stage:
                parameter.requires_grad_(index >= first_free and learns(name, self.recipe))
        self.model.backbone.train(phase.free > 0)
        if not self.recipe.trains_norms():
            for layer in self.model.backbone.modules():
                if isinstance(layer, torch.nn.BatchNorm2d):
                    layer.eval()

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """A batch of pictures, or of a frozen backbone's maps -> logit N, heatmap logits N x h x w."""
        answer: tuple[Tensor, Tensor]
        answer = self.model(batch.picture) if isinstance(batch.picture, Tensor) else self.model.answer(batch.picture)
        return answer

    def training_step(self, item: Batch, _index: int) -> Tensor:
        """One step of the picture's loss, of the heatmap's where the defect's place is known, and of the teacher's."""
        batch = Batch(*item)
        if self.mixup:
            batch = mix(batch, self.mixup)
        logit, heatmap = self(batch)
        recipe = self.recipe
        weight = self.defect_weight if recipe.balance == "weights" else 1.0
        loss = picture_loss(logit, batch.label, weight, recipe.label_smoothing, recipe.focal_gamma)
        if recipe.pixel_loss and recipe.head == "localising":
            target, known = cell_truth(batch.mask, batch.known, *heatmap.shape[-2:])
            loss = loss + recipe.pixel_loss * pixel_loss(heatmap, target, known)
        if self.teacher[0] is not None:
            with torch.no_grad():
                taught = self.teacher[0](batch.picture)
            loss = loss + recipe.distillation * distillation_loss(logit, heatmap, *taught)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(logit), sync_dist=True)
        return loss

    def validation_step(self, item: Batch, _index: int) -> None:
        """Collect scores."""
        batch = Batch(*item)
        logit, _ = self(batch)
        self.validation_loss.update(picture_loss(logit, batch.label, self.defect_weight), weight=len(logit))
        self.auroc.update(logit, batch.label.int())
        self.average_precision.update(logit, batch.label.int())

    def on_validation_epoch_end(self) -> None:
        """Score the epoch by ranking and loss: a few validation groups rank well by luck, but not at the loss of a coin."""
        auroc, precision, loss = self.auroc.compute(), self.average_precision.compute(), self.validation_loss.compute()
        score = (auroc + precision) / 2 - 0.5 * loss
        figures = {"auroc": auroc, "average_precision": precision, "validation_loss": loss, "score": score}
        self.log_dict(figures, sync_dist=True)  # the same in all processes already, which Lightning cannot know
        for metric in (self.auroc, self.average_precision, self.validation_loss):
            metric.reset()

    def configure_optimizers(self) -> Any:
        """AdamW with a group per stage and for the head, each with and without weight decay; warm-up, then the schedule."""
        optimizer = torch.optim.AdamW(parameter_groups(self.stages, self.model.head, self.recipe))
        if self.recipe.schedule == "cosine":
            return [optimizer], [{"scheduler": LambdaLR(optimizer, self._rate), "interval": "step"}]
        warm = max(1, round(self.recipe.warmup * self.recipe.epochs * self.steps_per_epoch))
        return [optimizer], [
            {"scheduler": LinearLR(optimizer, 1 / warm, total_iters=warm), "interval": "step"},
            {"scheduler": ReduceLROnPlateau(optimizer, "max", 0.3, PLATEAU_PATIENCE), "interval": "epoch", "monitor": "score"},
        ]

    def _rate(self, step: int) -> float:
        """Share of the full rate: the head's own phase rises and stays; the others rise together, then fall by a cosine."""
        boundary = self.phases[1].first_epoch * self.steps_per_epoch if len(self.phases) > 1 else 0
        if step < boundary:
            return min(1.0, (step + 1) / max(1, round(self.recipe.warmup * boundary)))
        length = self.recipe.epochs * self.steps_per_epoch - boundary
        warm = max(1, round(self.recipe.warmup * length))
        step -= boundary
        if step < warm:
            return (step + 1) / warm
        done = max((step - warm) / max(1, length - warm), self.time_spent())
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def time_spent(self) -> float:
        """Share of the budget, so that the cosine ends with it; 0 without one. The first process's clock is everybody's."""
        if self.recipe.budget is None or self._trainer is None:
            return 0.0
        timer = next(one for one in self._trainer.callbacks if isinstance(one, Timer))  # type: ignore[attr-defined]
        return float(told_by_first(str(timer.time_elapsed() / (60 * self.recipe.budget))))

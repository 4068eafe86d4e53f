"""The Lightning module: two stages, differential learning rates, validation by picture."""

import math
from typing import Any

import lightning
import torch
from timm.optim._param_groups import param_groups_weight_decay
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MeanMetric
from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision

from pipeline.data.pictures import Item
from pipeline.training.losses import mask_target, picture_loss, pixel_loss
from pipeline.training.model import InspectionModel
from pipeline.training.recipe import Recipe


class TrainingModule(lightning.LightningModule):
    """Stage one trains the new head on frozen features; stage two trains everything, the backbone at a lower rate.

    With source weights the backbone's batch norms keep their statistics in both stages: those of a few similar parts are worse.
    """

    def __init__(self, model: InspectionModel, recipe: Recipe, defect_weight: float, steps_per_epoch: int) -> None:
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)  # half again as fast on CPUs, and what tensor cores want
        self.recipe = recipe
        self.defect_weight = defect_weight
        self.steps_per_epoch = steps_per_epoch
        self.auroc = BinaryAUROC()
        self.average_precision = BinaryAveragePrecision()
        self.validation_loss = MeanMetric()

    def on_train_epoch_start(self) -> None:
        """Freeze or free the backbone by the epoch alone, so that a resumed run is in the right stage."""
        frozen = self.current_epoch < self.recipe.head_epochs
        self.model.backbone.requires_grad_(not frozen)
        self.model.backbone.train(self.recipe.trains_norms())

    def training_step(self, batch: Item, _index: int) -> Tensor:
        """One step of the picture's loss, and of the heatmap's where masks are known."""
        logit, heatmap = self.model(batch.picture)
        loss = picture_loss(logit, batch.label, self.defect_weight, self.recipe.label_smoothing)
        if self.recipe.pixel_loss and self.recipe.head == "localising":
            target = mask_target(batch.mask.float(), *heatmap.shape[-2:])
            loss = loss + self.recipe.pixel_loss * pixel_loss(heatmap, target, batch.mask_known)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(logit))
        return loss

    def validation_step(self, batch: Item, _index: int) -> None:
        """Collect scores."""
        logit, _ = self.model(batch.picture)
        self.validation_loss.update(picture_loss(logit, batch.label, self.defect_weight), weight=len(logit))
        self.auroc.update(logit, batch.label.int())
        self.average_precision.update(logit, batch.label.int())

    def on_validation_epoch_end(self) -> None:
        """Score the epoch by ranking and loss: a few validation groups rank well by luck, but not at the loss of a coin."""
        auroc, precision, loss = self.auroc.compute(), self.average_precision.compute(), self.validation_loss.compute()
        score = (auroc + precision) / 2 - 0.5 * loss
        self.log_dict({"auroc": auroc, "average_precision": precision, "validation_loss": loss, "score": score})
        for metric in (self.auroc, self.average_precision, self.validation_loss):
            metric.reset()

    def configure_optimizers(self) -> Any:
        """AdamW with four groups (backbone and head, each with and without weight decay), warm-up and cosine in each stage."""
        recipe = self.recipe
        groups: list[dict[str, Any]] = []
        for part, rate in (
            (self.model.backbone, recipe.learning_rate * recipe.backbone_rate),
            (self.model.head, recipe.learning_rate),
        ):
            for parameter in part.parameters():
                parameter.requires_grad_(True)  # frozen ones would be left out of the groups
            groups += [group | {"lr": rate} for group in param_groups_weight_decay(part, recipe.weight_decay)]
        optimizer = torch.optim.AdamW(groups)
        return [optimizer], [{"scheduler": LambdaLR(optimizer, self._rate), "interval": "step"}]

    def _rate(self, step: int) -> float:
        boundary = self.recipe.head_epochs * self.steps_per_epoch
        last = self.recipe.epochs * self.steps_per_epoch
        if step < boundary:
            warm = max(1, round(self.recipe.warmup * boundary))
            return min(1.0, (step + 1) / warm)
        step, length = step - boundary, last - boundary
        warm = max(1, round(self.recipe.warmup * length))
        if step < warm:
            return (step + 1) / warm
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, length - warm))))

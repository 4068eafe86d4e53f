"""What the engineer sees while a network trains: a bar within the epoch, one line after it, history.csv."""

import csv
import time
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from deploy.command import console, say
from pipeline.training.module import TrainingModule
from pipeline.training.strategies import phase_at

COLUMNS = (
    "epoch",
    "phase",
    "train_loss",
    "validation_loss",
    "auroc",
    "average_precision",
    "score",
    "seconds",
    "pictures_per_second",
)


class EpochLines(Callback):
    """Prints and records every epoch. A resumed run continues its history."""

    def __init__(self, history: Path) -> None:
        self._history = history
        self._bar: Progress | None = None
        self._started = 0.0
        self._trained = 0.0
        self._rows: list[dict[str, Any]] = []

    def on_train_epoch_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Start the clock and the bar."""
        self._started = time.monotonic()
        if console.is_terminal:
            text = TextColumn(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")
            self._bar = Progress(text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True)
            self._bar.add_task("", total=trainer.num_training_batches)
            self._bar.start()

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """Move the bar."""
        self._trained = time.monotonic()
        if self._bar:
            self._bar.advance(self._bar.task_ids[0])

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Print the epoch's line; Lightning has validated by now."""
        self._stop_bar()
        assert isinstance(module, TrainingModule)
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        seconds = time.monotonic() - self._started
        phase = phase_at(module.phases, trainer.current_epoch).name
        shown = module.steps_per_epoch * module.recipe.batch_size
        speed = shown / max(1e-6, self._trained - self._started)  # without validation
        left = (module.recipe.epochs - trainer.current_epoch - 1) * seconds
        if module.recipe.budget is not None:
            left = min(left, 60 * module.recipe.budget * (1 - module.time_spent()))
        say(
            f"epoch {trainer.current_epoch + 1:>3}/{module.recipe.epochs}  {phase:<6}  loss {figures['train_loss']:.3f}  "
            f"validation: loss {figures['validation_loss']:.3f}  AUROC {figures['auroc']:.3f}  "
            f"AP {figures['average_precision']:.3f}  {seconds:.0f} s, at most {left / 60:.0f} min left",
        )
        measured = {"seconds": round(seconds, 1), "pictures_per_second": round(speed, 1)}
        self._rows.append({"epoch": trainer.current_epoch + 1, "phase": phase, **measured, **figures})
        if not trainer.is_global_zero:
            return
        with self._history.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(self._rows)

    def state_dict(self) -> dict[str, Any]:
        """The history travels in the checkpoint, so that a resumed run neither repeats nor loses an epoch."""
        return {"rows": self._rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the history of the interrupted run."""
        self._rows = state_dict["rows"]

    def on_exception(self, trainer: lightning.Trainer, module: lightning.LightningModule, exception: BaseException) -> None:
        """Leave the terminal clean."""
        self._stop_bar()

    def _stop_bar(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

"""`pipeline pretrain`: a backbone's first weights from procedural pictures alone. Goes on where an interrupted one stopped."""

import io
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save
from timm.optim._param_groups import param_groups_weight_decay
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader

from deploy.command import console, say
from deploy.errors import RunError
from deploy.files import write_bytes_whole
from deploy.stop import stop_on_signal
from pipeline.training.model import InspectionModel
from pipeline.training.pretraining.batches import BATCH, Batch, Batches
from pipeline.training.pretraining.textures import KINDS, SIDE
from pipeline.training.recipe import Recipe, SourceWeights
from pipeline.training.weights import check_backbone, weights_metadata

VERSION = 1
"""Of the pictures and the training; other weights come out of the same command when it changes."""
CELL_WEIGHT = 7.0
"""By how much more a heatmap's cell with a defect counts than one without: defects are small."""
PLACE_WEIGHT = 3.0
"""Of the heatmap's loss, beside the picture's and the texture's."""
PEAK_RATE = 2e-3
WEIGHT_DECAY = 0.05
NORM_MOMENTUM = 0.02
"""Batch norms average over more batches than torch's 0.1 does: their statistics are what later trainings keep frozen."""
SAVED_EVERY = 100
"""Steps between checkpoints."""


class Pretraining(nn.Module):
    """The inspection network, and a classifier of texture kinds on mean and spread of all its maps."""

    def __init__(self, backbone: str) -> None:
        super().__init__()
        half = (0.5, 0.5, 0.5)
        source = SourceWeights(
            origin="procedural pictures", sha256=None, mean=half, std=half, same_padding=backbone.startswith("tf_")
        )
        self.recipe = Recipe(backbone=backbone, height=SIDE, width=SIDE, heatmap_stride=8, dropout=0, source=source)
        self.model = InspectionModel(self.recipe)
        width = 2 * sum(self.model.backbone.feature_info.channels())  # type: ignore[union-attr, operator]
        self.spread = nn.BatchNorm1d(width, affine=False)
        self.kinds = nn.Linear(width, KINDS)
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = NORM_MOMENTUM

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Mean losses of a batch: which texture, defective or not, and where."""
        maps = self.model.features(batch.pictures.contiguous(memory_format=torch.channels_last))
        logit, heatmap = self.model.answer(maps)
        cells = F.adaptive_max_pool2d(batch.masks, heatmap.shape[-2:])
        # A texture is in the spread: the maps at strides 8 and 16 are linear, and waves of any kind have the same mean.
        pooled = torch.cat([moment for one in maps for moment in (one.mean(dim=(2, 3)), one.std(dim=(2, 3)))], dim=1)
        # Undivided, each of Adam's steps would move an answer by the rate times the number of inputs: nothing would be learned.
        even = self.spread(pooled) / pooled.shape[1] ** 0.5
        return {
            "kind": F.cross_entropy(self.kinds(even), batch.kinds),
            "picture": F.binary_cross_entropy_with_logits(logit, cells.amax(dim=(1, 2))),
            "place": F.binary_cross_entropy_with_logits(heatmap, cells, 1 + CELL_WEIGHT * cells),
        }


def pretrain_command(out: Path, procedural: bool, backbone: str, steps: int, seed: int) -> None:
    """`pipeline pretrain`; raises RunError where its choice of pictures, or its file's name, cannot be used."""
    if not procedural:
        raise RunError("pretrain has one source of pictures, the procedural ones; give --procedural to use them")
    if out.suffix != ".safetensors":
        raise RunError(f"--out {out}; expected a file name that ends in .safetensors")
    if not pretrain(backbone, out, steps, seed):
        raise SystemExit(130)
    say(f"weights: {out}  use them with: pipeline train DATASET --backbone {backbone} --weights {out}", style="bold")


def pretrain(backbone: str, out: Path, steps: int, seed: int = 0, stop_at: int | None = None) -> bool:
    """Train a backbone from random weights for `steps` batches and write its feature layers to `out`, in timm's naming.

    The same arguments continue an interrupted training and end with the weights of an uninterrupted one. Returns False where
    Ctrl-C, or `stop_at` steps, stopped it before its end. Raises WeightsError for an unfit backbone, RunError for a checkpoint
    of another training.
    """
    check_backbone(backbone)
    checkpoint = out.with_name(f".{out.name}.partial")
    identity = {"backbone": backbone, "steps": steps, "seed": seed, "version": VERSION}
    torch.manual_seed(seed)
    training = Pretraining(backbone).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(param_groups_weight_decay(training, WEIGHT_DECAY))
    schedule = OneCycleLR(optimizer, PEAK_RATE, total_steps=steps, pct_start=max(0.1, 2 / steps), cycle_momentum=False)
    parts: dict[str, Any] = {"training": training, "optimizer": optimizer, "schedule": schedule}
    start = _resume(checkpoint, identity, parts)
    if start:
        say(f"going on after step {start} of {steps}")
    batches = DataLoader(Batches(seed, start, steps), batch_size=None, num_workers=1 if steps >= SAVED_EVERY else 0)
    with stop_on_signal() as stopping, _bar() as bar:
        task = bar.add_task("", total=steps, completed=start, losses="")
        shown: dict[str, float] = {}
        for step, batch in enumerate(batches, start + 1):
            losses = training.losses(batch)
            total = losses["kind"] + losses["picture"] + PLACE_WEIGHT * losses["place"]
            optimizer.zero_grad()
            total.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(training.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            shown = {name: 0.98 * shown.get(name, value.item()) + 0.02 * value.item() for name, value in losses.items()}
            text = "  ".join(f"{name} {value:.3f}" for name, value in shown.items())
            bar.update(task, completed=step, losses=text)
            if step % SAVED_EVERY == 0 and not console.is_terminal:
                say(f"step {step}/{steps}  loss: {text}")
            stopped = step < steps and (stopping.is_set() or step == stop_at)
            if step % SAVED_EVERY == 0 or stopped:
                out.parent.mkdir(parents=True, exist_ok=True)
                _keep(checkpoint, {"identity": identity, "step": step} | {name: one.state_dict() for name, one in parts.items()})
            if stopped:
                say(f"stopped after step {step} of {steps}; the same command goes on from there")
                return False
    about = {
        "made_by": f"pipeline pretrain --procedural --backbone {backbone} --steps {steps} --seed {seed}",
        "pictures": f"procedural, version {VERSION}: {steps} batches of {BATCH}, {SIDE} x {SIDE} pixels, no real picture",
        "code": f"pretraining version {VERSION}, torch {torch.__version__}",
        "license": "Apache-2.0",
    }
    assert training.recipe.source is not None
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_whole(out, save(_stored(training.model.backbone), weights_metadata(training.recipe.source, backbone) | about))
    checkpoint.unlink(missing_ok=True)
    return True


def _stored(backbone: nn.Module) -> dict[str, Tensor]:
    """Convolutions in half precision, to keep the file small; biases, norms and their statistics in full."""
    kept = {name: value for name, value in backbone.state_dict().items() if not name.endswith("num_batches_tracked")}
    return {name: (value.half() if value.ndim > 1 else value).contiguous() for name, value in kept.items()}


def _keep(checkpoint: Path, content: dict[str, Any]) -> None:
    stream = io.BytesIO()
    torch.save(content, stream)
    write_bytes_whole(checkpoint, stream.getvalue())


def _resume(checkpoint: Path, identity: dict[str, Any], parts: dict[str, Any]) -> int:
    """Load the checkpoint, if there is one; returns the steps done."""
    if not checkpoint.is_file():
        return 0
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # a torn file fails in as many ways as it has bytes
        say(f"{checkpoint} is damaged ({type(error).__name__}); starting this training again", style="yellow")
        return 0
    if content["identity"] != identity:
        raise RunError(
            f"{checkpoint} is of another training: {content['identity']}, asked for was {identity}; "
            "go on with that one, delete it, or give another --out"
        )
    for name, part in parts.items():
        part.load_state_dict(content[name])
    return int(content["step"])


def _bar() -> Progress:
    columns = (
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("loss: {task.fields[losses]}"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)

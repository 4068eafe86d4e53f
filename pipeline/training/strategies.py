"""Which layers learn, and when: a recipe's strategy as phases, and the learning rate of each layer.

`feature_extraction`  the backbone stays as it is; only the head learns, on features that are computed once.
`fine_tune`           the head alone, then the last `stages` stages of the backbone with it.
`progressive`         the head alone, then one stage more at a time, from the last to the first (gradual unfreezing: Howard and
                      Ruder, Universal language model fine-tuning, ACL 2018).
`full`                the head alone, then everything.
`lora`                the head alone, then low-rank additions to the layers of the backbone, which stays as it is: see lora.py.

Frozen or not, a backbone with source weights keeps the statistics of its batch norms: those of a few similar parts are worse.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn
from torch.nn import Parameter

from pipeline.training.lora import is_addition
from pipeline.training.recipe import Recipe

NamedParameters = list[tuple[str, Parameter]]


@dataclass(frozen=True)
class Phase:
    """Some epochs in which the same layers learn, beside the head."""

    name: str
    first_epoch: int
    free: int
    """How many of the backbone's last stages learn; with LoRA, of their additions."""


def backbone_stages(backbone: nn.Module) -> list[NamedParameters]:
    """The backbone's parameters by stage, the stem first; a stage is a numbered block of the network, such as blocks.3."""
    stages: dict[str, NamedParameters] = {"stem": []}
    for name, parameter in backbone.named_parameters():
        first, second = [*name.split("."), ""][:2]
        stage = f"{first}.{second}" if second.isdigit() else first
        grouped = second.isdigit() or first.startswith("layer")
        # What comes before the first block is the stem; what has no number after it belongs to the last block.
        stages.setdefault(stage if grouped else list(stages)[-1], []).append((name, parameter))
    return list(stages.values())


def plan(recipe: Recipe, stages: int) -> list[Phase]:
    """The recipe's phases for a backbone of so many stages, in order."""
    head = [Phase("head", 0, 0)] if recipe.head_epochs or recipe.strategy == "feature_extraction" else []
    start, left = recipe.head_epochs, recipe.epochs - recipe.head_epochs
    match recipe.strategy:
        case "feature_extraction":
            return head
        case "fine_tune":
            free = min(recipe.stages, stages)
            return [*head, Phase(_last(free, stages), start, free)]
        case "progressive":
            steps = min(stages, left)
            frees = [round(stages * step / steps) for step in range(1, steps + 1)]
            return head + [Phase(_last(free, stages), start + left * number // steps, free) for number, free in enumerate(frees)]
        case "full":
            return [*head, Phase("all", start, stages)]
        case "lora":
            return [*head, Phase("lora", start, stages)]


def _last(free: int, stages: int) -> str:
    return "all" if free == stages else f"last {free}"


def phase_at(phases: Iterable[Phase], epoch: int) -> Phase:
    """The phase that an epoch belongs to."""
    return [phase for phase in phases if phase.first_epoch <= epoch][-1]


def learns(name: str, recipe: Recipe) -> bool:
    """Whether a parameter of the backbone learns once its stage is free."""
    return recipe.strategy != "lora" or is_addition(name)


def parameter_groups(stages: list[NamedParameters], head: nn.Module, recipe: Recipe) -> list[dict[str, object]]:
    """Optimizer groups: every stage at its own rate, the head at the full one; no weight decay on norms and biases.

    Layer-wise decay after Howard and Ruder, 2018, and Clark et al.: ELECTRA, ICLR 2020.
    """
    groups: list[dict[str, object]] = []
    for index, stage in enumerate(stages):
        rate = recipe.learning_rate * recipe.backbone_rate * recipe.layer_decay ** (len(stages) - 1 - index)
        learning = [(name, parameter) for name, parameter in stage if learns(name, recipe)]
        groups += _by_decay(learning, rate, recipe.weight_decay)
    return groups + _by_decay(list(head.named_parameters()), recipe.learning_rate, recipe.weight_decay)


def _by_decay(parameters: NamedParameters, rate: float, weight_decay: float) -> list[dict[str, object]]:
    plain = [parameter for name, parameter in parameters if parameter.ndim <= 1 or name.endswith(".bias")]
    decayed = [parameter for name, parameter in parameters if not (parameter.ndim <= 1 or name.endswith(".bias"))]
    groups = ({"params": plain, "lr": rate, "weight_decay": 0.0}, {"params": decayed, "lr": rate, "weight_decay": weight_decay})
    return [group for group in groups if group["params"]]

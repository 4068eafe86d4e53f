"""The training configuration: every choice, its bounds and its default."""

import re
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deploy.errors import RunError
from deploy.preprocess import Preprocessing
from pipeline.data.augment.settings import Augmentation

FOLDER_VARIABLE = "INSPECTOR_WEIGHTS"
"""Environment variable that names a folder of source weights, BACKBONE.safetensors."""
FROM_SCRATCH = "from scratch"
STARTER_ORIGIN = "the project's starter weights"
AUTO = "auto"
"""As a backbone: whichever has the best source weights at hand for the dataset."""

Strategy = Literal["feature_extraction", "fine_tune", "progressive", "full", "lora"]


class SourceWeights(BaseModel):
    """Where the backbone's first weights came from, and the preprocessing they were trained with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    origin: str = Field(description="a file, a hub name, a run folder, or 'from scratch'")
    sha256: str | None = Field(description="hash of the weights file; None for hub downloads and from scratch")
    mean: tuple[float, float, float] = Field(description="RGB, of pixels in 0..1")
    std: tuple[float, float, float] = Field(description="RGB, of pixels in 0..1")
    same_padding: bool = Field(description="TensorFlow SAME padding in every convolution")


class Recipe(BaseModel):
    """How a run is trained. `recipe.yaml` of a run holds it fully resolved."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # What learns
    backbone: str = Field(
        "tf_mobilenetv3_small_100", description="timm's name of a MobileNet or EfficientNet; auto: see pipeline sources"
    )
    strategy: Strategy = Field("full", description="which layers learn, and when")
    stages: int = Field(3, ge=1, description="fine_tune: how many of the backbone's last stages learn")
    lora_rank: int = Field(2, ge=1, le=64, description="lora: rank of what is added to each layer")
    head_epochs: int = Field(2, ge=0, description="first phase: the new head on the frozen backbone")

    # The network
    head: Literal["localising", "pooled"] = Field("localising", description="says where, or the usual classifier")
    head_width: int = Field(64, ge=8, le=512, description="localising head: channels")
    heatmap_stride: Literal[4, 8, 16] = Field(8, description="localising head: pixels of a heatmap cell's side")
    top_share: float = Field(0.01, gt=0, le=1, description="localising head: share of cells whose mean is the picture's logit")
    pooling: Literal["avg", "max", "avgmax", "top-k"] = Field("avg", description="pooled head")
    height: int = Field(320, ge=64, le=2048, multiple_of=32, description="input height in pixels")
    width: int = Field(320, ge=64, le=2048, multiple_of=32, description="input width in pixels")
    dropout: float = Field(0.2, ge=0, lt=1, description="of whole feature channels before the last layer")
    drop_path: float = Field(0.0, ge=0, lt=1, description="of whole residual branches, growing to this at the last block")

    # How long, how fast
    epochs: int = Field(14, ge=1, description="all phases together")
    steps_per_epoch: int = Field(20, ge=1, description="at least so many; a small dataset is gone through more than once")
    batch_size: int = Field(16, ge=2, description="of all processes together")
    learning_rate: float = Field(1e-3, gt=0, description="of the head")
    backbone_rate: float = Field(0.05, gt=0, le=1, description="the backbone's learning rate as a share of the head's")
    layer_decay: float = Field(1.0, gt=0, le=1, description="each stage learns at this share of the rate of the one after it")
    schedule: Literal["cosine", "plateau"] = Field(
        "cosine", description="how the rate falls: by a curve, or when the score stands still"
    )
    warmup: float = Field(
        0.1, ge=0, lt=1, description="share of the steps with a rising rate, of the head's own phase and of what follows"
    )
    weight_decay: float = Field(0.05, ge=0, description="not on biases and norms")
    averaging: float = Field(
        0.98, ge=0, lt=1, description="decay per step of the averaged weights that are kept; 0 keeps the last"
    )
    patience: int = Field(8, ge=1, description="epochs without a better validation score before stopping")
    budget: float | None = Field(None, gt=0, description="minutes at most; the schedule ends with them")
    seed: int = Field(0, description="of the head's first weights, the order of the pictures and their variation")

    # What is asked of it
    label_smoothing: float = Field(0.1, ge=0, lt=0.5, description="a doubtful label is not to be learned by heart")
    focal_gamma: float = Field(0.0, ge=0, le=5, description="focal loss: how much less easy pictures count; 0 is cross-entropy")
    balance: Literal["weights", "sampling", "none"] = Field(
        "weights", description="few defects: by their weight in the loss, or by showing each class and defect type as often"
    )
    pixel_loss: float = Field(3.0, ge=0, description="weight of the heatmap's loss where masks are known; 0 ignores masks")
    teacher: str | None = Field(None, description="run folder of a larger network to learn from as well")
    distillation: float = Field(1.0, gt=0, description="weight of the teacher's answers")

    # What is done to the pictures
    mixup: float = Field(0.0, ge=0, description="alpha of Mixup; 0 is off")
    cutmix: float = Field(0.0, ge=0, description="alpha of CutMix; 0 is off")
    augmentation: Augmentation = Augmentation()

    source: SourceWeights | None = Field(None, description="filled in when the weights are found")

    @model_validator(mode="after")
    def _fits_together(self) -> "Recipe":
        if self.strategy != "feature_extraction" and self.head_epochs >= self.epochs:
            raise ValueError(f"head_epochs ({self.head_epochs}) must be below epochs ({self.epochs})")
        if self.strategy == "feature_extraction" and (self.mixup or self.cutmix or self.teacher):
            raise ValueError("feature_extraction sees no pictures, only their features; leave mixup, cutmix and teacher out")
        return self

    def started_from(self, source: SourceWeights) -> "Recipe":
        """The recipe with its source; raises RunError for a strategy that would keep random features."""
        if source.origin == FROM_SCRATCH and self.strategy in ("feature_extraction", "fine_tune", "lora"):
            raise RunError(
                f"{self.strategy} from scratch would keep random features; choose full or progressive, or source weights"
            )
        return self.model_copy(update={"source": source})

    def trains_norms(self) -> bool:
        """Whether the backbone's batch norms learn their statistics: only when it starts from little or nothing."""
        return self.source is not None and self.source.origin in (FROM_SCRATCH, STARTER_ORIGIN)

    def preprocessing(self) -> Preprocessing:
        """Letterbox bars take the source weights' mean colour: to the network that is zero, no edge."""
        if self.source is None:
            raise RunError("the recipe has no source weights yet, so the colour of its letterbox bars is not known")
        red, green, blue = (round(255 * value) for value in self.source.mean)
        return Preprocessing(height=self.height, width=self.width, pad_bgr=(blue, green, red))


def read_recipe(file: Path) -> Recipe:
    """Read a recipe; raises RunError naming the key that is wrong."""
    return _validate(_read_yaml(file))


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise RunError(f"{file} cannot be read ({error.strerror}); expected a recipe") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise RunError(f"{file} is no YAML ({str(error).splitlines()[0]}); expected a recipe") from error
    if not isinstance(content, dict):
        raise RunError(f"{file} holds a {type(content).__name__}; expected a recipe's keys and values")
    return content


def _validate(content: dict[str, Any]) -> Recipe:
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise RunError(f"{key}: {first['msg']} (found {first['input']!r})" if key else first["msg"]) from error


def parse_minutes(text: str) -> float:
    """Read "90s", "10m", "1.5h", or plain minutes; raises RunError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)(?:in|ours?|inutes?|econds?)?", text.strip().lower())
    if match is None or float(match[1]) == 0:
        raise RunError(f"--budget {text!r}; expected a time for each training, such as 90s, 10m or 1.5h")
    return float(match[1]) * {"s": 1 / 60, "m": 1.0, "h": 60.0}[match[2] or "m"]


def write_recipe(recipe: Recipe, file: Path) -> None:
    """Write a recipe as YAML."""
    file.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))


FROM_SCRATCH_DEFAULTS: dict[str, Any] = {
    "epochs": 40,
    "patience": 40,
    "head_epochs": 0,
    "learning_rate": 3e-3,
    "backbone_rate": 1.0,
    "label_smoothing": 0.0,
    "augmentation": Augmentation(shift=0.05, scale=0.1, brightness=0.25, contrast=0.25),
}
"""What differs when a network starts from scratch, or from the starter weights: its frozen features teach a head little, and what
keeps a pretrained net from learning parts by heart holds back one that has nearly everything to learn."""


STRATEGY_DEFAULTS: dict[str, dict[str, Any]] = {
    "feature_extraction": {
        "epochs": 6,
        "head_epochs": 6,
        "steps_per_epoch": 30,
        "batch_size": 32,
        "head_width": 32,
        "learning_rate": 4e-3,
    },
    "lora": {"backbone_rate": 1.0, "lora_rank": 1, "head_width": 32},
}
"""What differs by strategy: a head alone is trained in seconds, and additions that start at nothing need the full rate."""


def resolve_recipe(file: Path | None = None, from_scratch: bool = False, **overrides: object) -> Recipe:
    """The defaults, then what a file says, then every override that is not None; raises RunError naming the wrong value."""
    told = _read_yaml(file) if file else {}
    chosen = {key: value for key, value in overrides.items() if value is not None}
    strategy = (told | chosen).get("strategy")
    defaults = (FROM_SCRATCH_DEFAULTS if from_scratch else {}) | STRATEGY_DEFAULTS.get(str(strategy), {})
    epochs = chosen.get("epochs")
    if (
        isinstance(epochs, int) and strategy != "feature_extraction" and "head_epochs" not in told | chosen
    ):  # few epochs still have a second stage
        defaults = {"head_epochs": min(Recipe().head_epochs, max(0, epochs - 1))} | defaults
    return _validate(defaults | told | chosen)

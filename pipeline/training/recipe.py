"""The training configuration: every choice, its bounds and its default."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deploy.errors import RunError
from deploy.preprocess import Preprocessing

FOLDER_VARIABLE = "INSPECTOR_WEIGHTS"
"""Environment variable that names a folder of source weights, BACKBONE.safetensors."""
FROM_SCRATCH = "from scratch"


class SourceWeights(BaseModel):
    """Where the backbone's first weights came from, and the preprocessing they were trained with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    origin: str = Field(description="a file, a hub name, a run folder, or 'from scratch'")
    sha256: str | None = Field(description="hash of the weights file; None for hub downloads and from scratch")
    mean: tuple[float, float, float] = Field(description="RGB, of pixels in 0..1")
    std: tuple[float, float, float] = Field(description="RGB, of pixels in 0..1")
    same_padding: bool = Field(description="TensorFlow SAME padding in every convolution")


class Augmentation(BaseModel):
    """What is done to training pictures. Switch off what is not true for the part: a mirrored L is a defect."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip_horizontal: bool = True
    flip_vertical: bool = True
    rotation: float = Field(10, ge=0, le=180, description="degrees to either side")
    shift: float = Field(0.1, ge=0, le=0.5, description="share of the side")
    scale: float = Field(0.2, ge=0, lt=1, description="0.2: between 0.8 and 1.2")
    brightness: float = Field(0.4, ge=0, lt=1)
    contrast: float = Field(0.4, ge=0, lt=1)


class Recipe(BaseModel):
    """How a run is trained. `recipe.yaml` of a run holds it fully resolved."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str = "tf_mobilenetv3_small_100"
    head: Literal["localising", "pooled"] = "localising"
    height: int = Field(320, ge=64, le=2048, multiple_of=32, description="input height in pixels")
    width: int = Field(320, ge=64, le=2048, multiple_of=32, description="input width in pixels")
    epochs: int = Field(14, ge=1, description="both stages together")
    head_epochs: int = Field(2, ge=0, description="first stage: the new head on frozen features")
    batch_size: int = Field(16, ge=2)
    learning_rate: float = Field(1e-3, gt=0, description="of the head")
    backbone_rate: float = Field(0.05, gt=0, le=1, description="the backbone's learning rate as a share of the head's")
    weight_decay: float = Field(0.05, ge=0, description="not on biases and norms")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of each stage's steps with a rising rate; then cosine")
    dropout: float = Field(0.2, ge=0, lt=1, description="of whole feature channels before the last layer")
    label_smoothing: float = Field(0.1, ge=0, lt=0.5, description="a doubtful label is not to be learned by heart")
    averaging: float = Field(
        0.98, ge=0, lt=1, description="decay per step of the averaged weights that are kept; 0 keeps the last"
    )
    pixel_loss: float = Field(3.0, ge=0, description="weight of the heatmap's loss where masks are known; 0 ignores masks")
    patience: int = Field(8, ge=1, description="epochs without a better validation score before stopping")
    seed: int = 0
    augmentation: Augmentation = Augmentation()
    source: SourceWeights | None = Field(None, description="filled in when the weights are found")

    @model_validator(mode="after")
    def _stages(self) -> "Recipe":
        if self.head_epochs >= self.epochs:
            raise ValueError(f"head_epochs ({self.head_epochs}) must be below epochs ({self.epochs})")
        return self

    def trains_norms(self) -> bool:
        """Whether the backbone's batch norms learn their statistics: only when it starts from nothing."""
        return self.source is not None and self.source.origin == FROM_SCRATCH

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
"""What differs when a network starts from scratch: frozen random features teach a head nothing, and a net that has everything to
learn is held back by what keeps a pretrained one from learning parts by heart."""


def resolve_recipe(file: Path | None = None, from_scratch: bool = False, **overrides: object) -> Recipe:
    """The defaults, then what a file says, then every override that is not None; raises RunError naming the wrong value."""
    defaults = FROM_SCRATCH_DEFAULTS if from_scratch else {}
    told = _read_yaml(file) if file else {}
    chosen = {key: value for key, value in overrides.items() if value is not None}
    epochs = chosen.get("epochs")
    if isinstance(epochs, int) and "head_epochs" not in told | chosen:  # few epochs still have a second stage
        defaults = {"head_epochs": min(Recipe().head_epochs, max(0, epochs - 1))} | defaults
    return _validate(defaults | told | chosen)

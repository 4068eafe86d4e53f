"""Source weights: a file, the weights folder, the timm hub, the project's own starter, in this order and said aloud.

Never silently random.
"""

import difflib
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from huggingface_hub import constants
from huggingface_hub.utils import logging as hub_logging
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from deploy.bundle import sha256_of
from deploy.command import say
from deploy.errors import WeightsError
from pipeline.training.model import InspectionModel
from pipeline.training.recipe import (
    AUTO,
    FOLDER_VARIABLE,
    FROM_SCRATCH,
    STARTER_ORIGIN,
    Recipe,
    SourceWeights,
    resolve_recipe,
)

STARTER = Path(__file__).parent / "starter"
"""Weights of the project's own, made by `pipeline pretrain`: BACKBONE.safetensors."""
CLASSIFIER_PREFIXES = ("classifier.", "fc.", "conv_head.", "bn2.", "norm_head.", "head.")
"""What source weights hold beyond the feature layers."""


@dataclass(frozen=True)
class Source:
    """Found source weights; `tensors` is None for from scratch."""

    about: SourceWeights
    tensors: Mapping[str, Tensor] | None
    with_head: bool = False
    """The tensors are a whole run's, and its head is to be taken over too."""


def check_backbone(name: str) -> None:
    """Raise WeightsError with the nearest names when timm has no such backbone."""
    if name == AUTO:
        raise WeightsError("the backbone auto is for pipeline train and a dataset; name one here (see pipeline sources)")
    if not timm.is_model(name.split(".")[0]):
        near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.4)
        raise WeightsError(f"no backbone is called {name!r}; nearest: {', '.join(near) or 'none'}")


def find_source(backbone: str, file: Path | None = None, from_scratch: bool = False) -> Source:
    """Find the backbone's source weights.

    Raises WeightsError when none are found, a file does not fit, or `--weights` and `--from-scratch` are both asked for.
    """
    check_backbone(backbone)
    if from_scratch:
        if file is not None:
            raise WeightsError(f"asked for both --weights {file} and --from-scratch; choose one")
        return Source(_about(backbone, FROM_SCRATCH, None, {}), None)
    if file is not None:
        return _from_file(backbone, file)
    looked = []
    if folder := os.environ.get(FOLDER_VARIABLE):
        candidate = Path(folder) / f"{backbone}.safetensors"
        if candidate.is_file():
            return _from_file(backbone, candidate)
        looked.append(f"{candidate} (no such file)")
    else:
        looked.append(f"{FOLDER_VARIABLE} (not set)")
    try:
        return _from_hub(backbone)
    except Exception as error:  # the hub client raises a different class for every way a network can fail
        looked.append(f"the timm hub ({type(error).__name__})")
    starter = STARTER / f"{backbone}.safetensors"
    if starter.is_file():
        say(
            f"no ImageNet weights found; looked at {', '.join(looked)}: taking the starter weights, which only know drawn "
            f"surfaces and are worth less. Give --weights FILE.safetensors, set {FOLDER_VARIABLE}, or connect to the hub once",
            style="yellow",
        )
        return _from_file(backbone, starter)
    raise WeightsError(
        f"no source weights found for {backbone}; looked at {', '.join(looked)}. Give --weights FILE.safetensors, set "
        f"{FOLDER_VARIABLE} to a folder with {backbone}.safetensors, connect to the hub once, or ask for --from-scratch"
    )


def resolve_start(
    recipe: Path | None = None, weights: Path | None = None, from_scratch: bool = False, **overrides: Any
) -> tuple[Recipe, Source]:
    """The recipe and the source weights its backbone starts from; the starter's teach so little that the defaults are as without.

    Raises as `resolve_recipe` and `find_source` do.
    """
    chosen = resolve_recipe(recipe, from_scratch, **overrides)
    source = find_source(chosen.backbone, weights, from_scratch)
    if source.about.origin == STARTER_ORIGIN:
        chosen = resolve_recipe(recipe, from_scratch=True, **overrides)
    return chosen, source


def source_at_hand(backbone: str, file: Path | None = None) -> Source | None:
    """The backbone's source weights where they lie on this machine: the file, or the weights folder's; None without asking a hub.

    Raises WeightsError when a file is named that does not fit.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    candidate = file or (Path(folder) / f"{backbone}.safetensors" if folder else None)
    if candidate is None or (file is None and not candidate.is_file()):
        return None
    check_backbone(backbone)
    return _from_file(backbone, candidate)


def load_source(model: InspectionModel, source: Source) -> None:
    """Load source weights, if there are any; raises WeightsError when they belong to another architecture."""
    if source.tensors is None:
        return
    prefix = "backbone."
    if source.with_head:
        model.load_state_dict(source.tensors)
    elif any(name.startswith(prefix) for name in source.tensors):  # the weights of an earlier run
        backbone = {name.removeprefix(prefix): value for name, value in source.tensors.items() if name.startswith(prefix)}
        _load_features(model.backbone, backbone, source.about.origin)
    else:
        _load_features(model.backbone, source.tensors, source.about.origin)


def _load_features(features: nn.Module, tensors: Mapping[str, Tensor], origin: str) -> None:
    own = features.state_dict()
    missing = [name for name in own if name not in tensors and not name.endswith("num_batches_tracked")]
    misshapen = [name for name in own if name in tensors and own[name].shape != tensors[name].shape]
    foreign = [name for name in tensors if name not in own and not name.startswith(CLASSIFIER_PREFIXES)]
    if missing or misshapen or foreign:
        first = (missing + misshapen + foreign)[0]
        raise WeightsError(
            f"{origin} does not fit this backbone: {len(missing)} layers missing, {len(misshapen)} of another shape, "
            f"{len(foreign)} unknown (first: {first}); expected weights in timm's naming for the very same architecture"
        )
    features.load_state_dict({name: tensors[name] for name in own if name in tensors}, strict=False)


def _from_file(backbone: str, file: Path) -> Source:
    if not file.is_file():
        raise WeightsError(f"{file} does not exist; expected a .safetensors file with {backbone} in timm's naming")
    try:
        with safe_open(file, "pt") as opened:
            metadata: dict[str, str] = opened.metadata() or {}
        tensors = load_file(file)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{file} is no readable safetensors file ({error}); convert it, or copy it again") from error
    origin = STARTER_ORIGIN if file.parent == STARTER else str(file)
    return Source(_about(backbone, origin, sha256_of(file), metadata), {name: value.float() for name, value in tensors.items()})


def _from_hub(backbone: str) -> Source:
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    if not _hub_answers():  # the client itself would try for a minute; what it has downloaded before can still be used
        constants.HF_HUB_OFFLINE = True
    model = timm.create_model(backbone, pretrained=True)
    return Source(_about(backbone, f"timm hub ({backbone})", None, {}), model.state_dict())


def _hub_answers() -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=5):
            return True
    except urllib.error.HTTPError:
        return True  # refused, but there
    except OSError:
        return False


def _about(backbone: str, origin: str, sha256: str | None, metadata: Mapping[str, str]) -> SourceWeights:
    """Take mean, std and padding from the file's own metadata where it says them: wrong ones cost 18 points of accuracy."""
    try:
        config = get_pretrained_cfg(backbone)
    except RuntimeError:
        config = None
    if config is None:
        raise WeightsError(f"timm publishes no weights for {backbone}, so its mean and std are unknown; choose another backbone")
    mean = _triple(metadata["mean"]) if "mean" in metadata else tuple(config.mean)
    std = _triple(metadata["std"]) if "std" in metadata else tuple(config.std)
    same = metadata["padding"].startswith("same") if "padding" in metadata else backbone.startswith("tf_")
    return SourceWeights(origin=origin, sha256=sha256, mean=mean, std=std, same_padding=same)


def _triple(text: str) -> tuple[float, ...]:
    values = [float(part) for part in text.strip("()[]").split(",")]
    return tuple(values * 3 if len(values) == 1 else values)


def weights_metadata(about: SourceWeights, backbone: str) -> dict[str, str]:
    """What a run writes beside its own weights, so that they can be source weights in their turn."""
    return {
        "timm_model": backbone,
        "mean": ", ".join(map(str, about.mean)),
        "std": ", ".join(map(str, about.std)),
        "padding": "same (TF)" if about.same_padding else "symmetric",
    }

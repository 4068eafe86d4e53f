"""Which source weights lie on this machine: hub downloads, the weights folder, earlier runs, the starter. No network is asked."""

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import timm
import torch
from huggingface_hub import constants, scan_cache_dir
from huggingface_hub.errors import CacheNotFound
from safetensors import SafetensorError, safe_open

from deploy.bundle import sha256_of
from deploy.errors import InspectionError
from pipeline.data.manifest import holds_manifest
from pipeline.data.sample import Sample
from pipeline.training.model import InspectionModel
from pipeline.training.recipe import FOLDER_VARIABLE, Recipe
from pipeline.training.run import PARTIAL, Run, load_run
from pipeline.training.weights import STARTER, Source, find_source

Kind = Literal["hub", "folder", "run", "starter", "random"]
KINDS: dict[Kind, str] = {"hub": "timm hub", "run": "run", "starter": "starter", "random": "random weights"}
"""As they are called where a file's name does not say it."""
FAMILIES = ("efficientnet", "mobilenetv3")
"""timm's modules of all MobileNets, EfficientNets and their near kin."""


@dataclass(frozen=True)
class Candidate:
    """Source weights that could be taken, by their file's word: whether they fit shows when they are loaded."""

    kind: Kind
    backbone: str
    file: Path | None
    """None for random weights."""

    @property
    def name(self) -> str:
        """For people, with its backbone."""
        if self.kind == "folder" and self.file:
            return self.file.stem if self.file.stem == self.backbone else f"{self.file.name} ({self.backbone})"
        home = f" {self.file.parent}" if self.kind == "run" and self.file else ""
        return f"{KINDS[self.kind]}{home} ({self.backbone})"

    def load(self) -> Source:
        """The weights, with the sha256 that features are remembered by; raises WeightsError when they cannot be used."""
        if self.file is None:
            return _random(self.backbone)
        source = find_source(self.backbone, self.file)
        return replace(source, about=source.about.model_copy(update={"origin": self.name})) if self.kind == "hub" else source


@dataclass(frozen=True)
class LeftOut:
    """What was found and cannot be used."""

    origin: str
    reason: str


def list_sources(samples: Sequence[Sample], runs: Path | None = None) -> tuple[tuple[Candidate, ...], tuple[LeftOut, ...]]:
    """Candidates other than random weights, and what is left out: a run that learned from any of these samples among it.

    `samples` must be hashed, and be all pictures the new run will see, its test part included.
    """
    found: list[Candidate] = []
    left_out: list[LeftOut] = []
    for one in (*_of_hub(), *_of_folder(), *_of_runs(runs, {sample.sha256 for sample in samples}), *_of_starter()):
        reason = _family_reason(one.backbone) if isinstance(one, Candidate) else ""
        if isinstance(one, LeftOut):
            left_out.append(one)
        elif reason:
            left_out.append(LeftOut(str(one.file), reason))
        else:
            found.append(one)
    return tuple(found), tuple(left_out)


def random_floor(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Random weights of every architecture among candidates and of the default one: what a source must beat."""
    default: str = Recipe.model_fields["backbone"].default
    names = dict.fromkeys([default, *(one.backbone.split(".")[0] for one in candidates)])
    return tuple(Candidate("random", name, None) for name in names)


def _family_reason(backbone: str) -> str:
    name = backbone.split(".")[0]
    if not timm.is_model(name):
        return f"its name or metadata say {backbone!r}, which is no backbone of timm; expected BACKBONE.safetensors"
    if not any(name in timm.list_models(module=family) for family in FAMILIES):
        return f"{name} is neither a MobileNet nor an EfficientNet"
    return ""


def _of_hub() -> Iterator[Candidate | LeftOut]:
    try:
        repositories = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except (CacheNotFound, ValueError):
        return
    for repository in sorted(repositories, key=lambda one: one.repo_id):
        owner, _, name = repository.repo_id.partition("/")
        if owner != "timm" or repository.repo_type != "model" or not repository.revisions:
            continue
        newest = max(repository.revisions, key=lambda one: one.last_modified)
        files = [file.file_path for file in newest.files if file.file_name == "model.safetensors"]
        yield from (Candidate("hub", name, file) for file in files)
        if not files:
            yield LeftOut(f"timm hub ({name})", "no model.safetensors was downloaded")


def _of_folder() -> Iterator[Candidate | LeftOut]:
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        yield from _in_folder("folder", Path(folder))


def _of_starter() -> Iterator[Candidate | LeftOut]:
    yield from _in_folder("starter", STARTER)


def _in_folder(kind: Kind, folder: Path) -> Iterator[Candidate | LeftOut]:
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, "pt") as opened:
                metadata: dict[str, str] = opened.metadata() or {}
        except (SafetensorError, OSError) as error:
            yield LeftOut(str(file), f"no readable safetensors file ({error})")
            continue
        yield Candidate(kind, metadata.get("timm_model", file.stem), file)


def _of_runs(folder: Path | None, pictures: Collection[str]) -> Iterator[Candidate | LeftOut]:
    if folder is None or not folder.is_dir():
        return
    finished: dict[str, Run] = {}  # by the hash of their weights
    for path in sorted(folder.iterdir()):
        if not (path / "weights.safetensors").is_file() or not holds_manifest(path) or path.name.endswith(PARTIAL):
            continue
        try:
            run = load_run(path)
        except InspectionError as error:
            yield LeftOut(f"run {path}", str(error))
            continue
        finished[sha256_of(run.weights)] = run
    for run in finished.values():
        learned = len(_learned(run, finished) & set(pictures))
        if learned:
            yield LeftOut(f"run {run.path}", f"learned from {learned} of these pictures")
        else:
            yield Candidate("run", run.recipe.backbone, run.weights)


def _learned(run: Run, runs: dict[str, Run]) -> set[str]:
    """Hashes of the pictures a run learned from or was chosen by, and those of the runs it started from, if here."""
    hashes: set[str] = set()
    seen: set[str] = set()
    one: Run | None = run
    while one is not None:
        hashes |= {sample.sha256 for sample in one.manifest.samples if sample.split != "test"}
        before = one.recipe.source.sha256 if one.recipe.source else None
        one = runs.get(before) if before and before not in seen else None
        seen.add(before or "")
    return hashes


def _random(backbone: str) -> Source:
    """The same random weights each time: with a seed and a hash of their own, unlike those a run from scratch starts with."""
    source = find_source(backbone, from_scratch=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = InspectionModel(Recipe(backbone=backbone, head="pooled", source=source.about))
    tensors: dict[str, torch.Tensor] = model.backbone.state_dict()
    about = source.about.model_copy(update={"sha256": f"random, seed 0, timm {timm.__version__}"})
    return Source(about, tensors)

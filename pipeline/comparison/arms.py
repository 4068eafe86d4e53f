"""What is compared: each arm is a recipe and its source weights, all under one budget."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

from deploy.errors import RunError
from pipeline.training.recipe import FROM_SCRATCH, STARTER_ORIGIN, Recipe, Strategy, resolve_recipe
from pipeline.training.weights import Source, find_source

TRANSFER, SCRATCH = "transfer", "from-scratch"
STRATEGIES: tuple[str, ...] = get_args(Strategy)
HEAD_ONLY = "feature_extraction"
"""Its epochs take a second and are many: a budget of another kind."""


@dataclass(frozen=True)
class Arm:
    """One of the ways to train that are held against each other."""

    name: str
    recipe: Recipe
    """With its source; the seed is the repetition's."""
    source: Source

    @property
    def from_scratch(self) -> bool:
        """It starts from random weights."""
        return self.source.tensors is None


def resolve_arms(
    names: Sequence[str] | None, files: Sequence[Path] = (), weights: Path | None = None, **overrides: Any
) -> list[Arm]:
    """The named arms, and one for each recipe file, called after it.

    Without names they are transfer and from-scratch, and the files; or the files alone where there are two or more. `overrides`
    are recipe keys for every arm; None leaves a key as it is. From scratch gets the input, backbone, head and, unless minutes are
    the budget, the epochs of the first other arm whose backbone learns. A recipe file that names its source (as a run's
    recipe.yaml does) keeps it. Raises RunError for arms that make no comparison, WeightsError where source weights are missing.
    """
    if names is None:
        names = () if len(files) > 1 else (TRANSFER, SCRATCH)
    chosen = [_spelled(name) for name in names]
    stems = [file.stem for file in files]
    doubled = sorted({name for name in [*chosen, *stems] if [*chosen, *stems].count(name) > 1})
    if doubled:
        raise RunError(f"two arms are called {doubled[0]!r}; name each once, and give a recipe file another name")
    if len(chosen) + len(stems) < 2:
        raise RunError(
            f"only {', '.join([*chosen, *stems]) or 'nothing'} to compare; name two arms or more: {', '.join(known())}"
        )
    told = {name: partial(resolve_recipe, None, **_keys(name), **overrides) for name in chosen if name != SCRATCH}
    told |= {stem: partial(resolve_recipe, file, **overrides) for stem, file in zip(stems, files, strict=True)}
    arms = {}
    for name, resolve in told.items():
        arms[name] = _start(name, resolve(), weights)
        if arms[name].source.about.origin == STARTER_ORIGIN:  # as `pipeline train` does with it
            arms[name] = _start(name, resolve(from_scratch=True), weights)
    if SCRATCH in chosen:
        like = next((arm.recipe for arm in sorted(arms.values(), key=lambda one: one.recipe.strategy == HEAD_ONLY)), None)
        arms[SCRATCH] = _start(SCRATCH, _scratch(like, overrides), None, from_scratch=True)
    return [arms[name] for name in [*chosen, *stems]]


def known() -> list[str]:
    """Names of arms that need no recipe file."""
    return [TRANSFER, SCRATCH, *STRATEGIES]


def uneven(arms: Sequence[Arm]) -> str:
    """What of the budget differs between the arms, in a sentence; empty where nothing does."""
    minutes_alone = all(arm.recipe.budget for arm in arms)
    budgets = {
        arm.name: (arm.recipe.budget, 0 if minutes_alone else arm.recipe.epochs)
        for arm in arms
        if minutes_alone or arm.recipe.strategy != HEAD_ONLY
    }
    if len(set(budgets.values())) < 2:
        return ""
    each = ", ".join(
        f"{name} {f'{minutes:g} minutes' if minutes else f'{epochs} epochs'}" for name, (minutes, epochs) in budgets.items()
    )
    return f"the arms do not share one budget ({each}); give --epochs or --budget for all"


def _spelled(name: str) -> str:
    """The arm's own spelling: fine-tune and fine_tune are one."""
    for one in known():
        if name.strip().lower().replace("_", "-") == one.replace("_", "-"):
            return one
    near = difflib.get_close_matches(name, known(), n=1, cutoff=0.4)
    raise RunError(
        f"no arm is called {name!r}{f'; did you mean {near[0]}?' if near else ''} There are {', '.join(known())}, "
        "and every recipe file given with --recipe"
    )


def _keys(name: str) -> dict[str, Any]:
    return {} if name == TRANSFER else {"strategy": name}


def _scratch(like: Recipe | None, overrides: dict[str, Any]) -> Recipe:
    given = {key: value for key, value in overrides.items() if value is not None}
    if like is not None:
        alike = {key: getattr(like, key) for key in ("backbone", "head", "height", "width", "budget")}
        # Under the clock each has its own epochs, which a good schedule needs; otherwise they are what is shared.
        given = alike | ({} if like.budget else {"epochs": like.epochs}) | given
    return resolve_recipe(from_scratch=True, **given)


def _start(name: str, recipe: Recipe, weights: Path | None, from_scratch: bool = False) -> Arm:
    origin = recipe.source.origin if recipe.source else ""
    if origin == FROM_SCRATCH:
        from_scratch, weights = True, None
    elif origin and Path(origin).is_file():
        weights = Path(origin)
    source = find_source(recipe.backbone, weights, from_scratch)
    return Arm(name, recipe.started_from(source.about), source)

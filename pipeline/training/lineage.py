"""What weights have seen: a run's, and those of the runs it started from. They must not be tested on it."""

from collections.abc import Sequence
from pathlib import Path

from deploy.errors import RunError
from pipeline.data.groups import named_alike
from pipeline.data.manifest import holds_manifest, read_manifest
from pipeline.data.sample import Sample
from pipeline.training.recipe import read_recipe


def run_behind(origin: str) -> Path | None:
    """The run folder whose weights an origin names, if it is there."""
    path = Path(origin.removeprefix("run "))
    folder = path.parent if path.suffix == ".safetensors" else path
    return folder if holds_manifest(folder) and (folder / "recipe.yaml").is_file() else None


def learned_from(run: Path) -> list[Sample]:
    """The samples a run learned from or was chosen by, and those of the runs it started from."""
    learned: list[Sample] = []
    seen: set[Path] = set()
    one: Path | None = run
    while one is not None and one not in seen:
        seen.add(one)
        learned += [sample for sample in read_manifest(one).samples if sample.split != "test"]
        source = read_recipe(one / "recipe.yaml").source
        one = run_behind(source.origin) if source else None
    return learned


def refuse_learned(origin: str, tested: Sequence[Sample], what: str) -> None:
    """Raise RunError when `what` is or comes from a run that learned from the tested pictures, or from their groups."""
    run = run_behind(origin)
    if run is None:
        return
    learned = learned_from(run)
    known = [sample for sample, met in zip(learned, named_alike(learned, tested), strict=True) if met]
    if known:
        raise RunError(
            f"{what}: {run} learned from {len(known)} pictures of groups that are tested on here (first: "
            f"{known[0].path}), so the figures would be worth nothing; take a run of one and the same manifest version "
            "(pipeline split), or other weights"
        )

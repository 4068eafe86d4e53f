"""The work list, arms x folds x seeds x sizes: what is trained already stays, what another process trains is left to it."""

import copy
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from sklearn.metrics import average_precision_score, roc_auc_score

from deploy.command import console, say
from pipeline.comparison.arms import Arm
from pipeline.comparison.entries import (
    Entry,
    claimed,
    count_defective,
    entry_file,
    entry_key,
    partial_folder,
    read_entry,
    release,
    trained_seconds,
    write_entry,
)
from pipeline.comparison.thinning import defective_order, thin
from pipeline.data.manifest import Manifest
from pipeline.data.sample import Sample
from pipeline.data.split import folds
from pipeline.evaluation.calibration import NONE
from pipeline.evaluation.metrics import labels_of
from pipeline.evaluation.predict import predict, torch_infer
from pipeline.training.lora import add_lora
from pipeline.training.model import InspectionModel
from pipeline.training.recipe import Recipe
from pipeline.training.strategies import backbone_stages, plan
from pipeline.training.train import fit, start_model

POLL = 0.5
"""Seconds between looks at what another process is training."""


@dataclass(frozen=True)
class Job:
    """One model to train."""

    arm: Arm
    recipe: Recipe
    """The arm's, with the repetition's seed."""
    manifest: Manifest
    point: int | None
    """Defective groups to learn from; None is all."""
    key: str

    @property
    def fold(self) -> str:
        """Such as 1of3."""
        return self.manifest.rule.removeprefix("fold:")

    def __str__(self) -> str:
        of = f" {self.point} defective groups" if self.point else ""
        return f"fold {self.fold.partition('of')[0]} seed {self.recipe.seed} {self.arm.name}{of}"


def plan_jobs(
    samples: Sequence[Sample], dataset: str, arms: Sequence[Arm], k: int, seeds: int, points: Sequence[int] = ()
) -> list[Job]:
    """Every model to train, all arms of one fold and seed together.

    The folds are the same for every seed, so that answers pair; which parts a thinned fold keeps depends on the seed. Raises
    DatasetError for more folds than groups.
    """
    samples = sorted(samples, key=lambda sample: (sample.path, sample.sha256))  # the order of an entry's scores
    manifests = [Manifest(dataset, split, rule=f"fold:{number}of{k}") for number, split in enumerate(folds(samples, k), 1)]
    jobs = []
    for point in (None, *points):
        for seed in range(seeds):
            for whole in manifests:
                manifest = Manifest(dataset, thin(whole.samples, point, seed), rule=whole.rule) if point else whole
                content = manifest.content_sha256()
                for arm in arms:
                    recipe = arm.recipe.model_copy(update={"seed": seed})
                    jobs.append(Job(arm, recipe, manifest, point, entry_key(recipe, content)))
    return jobs


def usable_points(samples: Sequence[Sample], k: int, points: Sequence[int]) -> list[int]:
    """Those with fewer defective groups than every fold's training part holds."""
    fewest = min(len(defective_order(split, 0)) for split in folds(samples, k))
    return [point for point in points if point < fewest]


def train_jobs(jobs: Sequence[Job], folder: Path) -> dict[str, Entry]:
    """Train what is not trained yet in the comparison's folder; returns every job's entry by its key.

    Another process that does the same comparison takes part: each model is trained by one of them. Ctrl-C (SystemExit with code
    130, or KeyboardInterrupt) loses at most the epoch that was running.
    """
    for name in ("entries", "partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    waiting = {job.key: job for job in jobs}
    progress = Progress(list(waiting.values()), folder)
    entries: dict[str, Entry] = {}
    if progress.done():
        say(f"{progress.done()} of {len(waiting)} models are trained already")
    while waiting:
        before = len(waiting)
        for key, job in list(waiting.items()):
            entry = read_entry(folder, key)
            if entry is None:
                with claimed(folder, key) as mine:
                    if mine and (entry := read_entry(folder, key)) is None:
                        with progress.spinner(job):
                            entry = train_job(job, folder)
                        progress.tell(job, entry)
            if entry is not None:
                release(folder, key)
                entries[key] = entry
                del waiting[key]
        if len(waiting) == before:  # the rest is in the hands of another process
            time.sleep(POLL)
    return entries


def train_job(job: Job, folder: Path) -> Entry:
    """Train one model that is claimed, and write its entry. Goes on from the checkpoint of an interrupted training."""
    partial = partial_folder(folder, job.key)
    partial.mkdir(exist_ok=True)
    with _quiet():
        model = start_model(job.recipe, job.arm.source)
        trained = count_trained(model, job.recipe)
        fit(model, job.manifest, job.recipe, partial)
    test = job.manifest.split("test")
    scores = predict(test, job.recipe.preprocessing(), torch_infer(model, NONE))
    entry = Entry(
        key=job.key,
        fold=job.fold,
        seed=job.recipe.seed,
        defective_groups=count_defective(job.manifest),
        recipe=job.recipe.model_dump(mode="json"),
        source=job.arm.source.about.origin,
        manifest=job.manifest.content_sha256(),
        seconds=round(trained_seconds(partial), 1),
        trained_parameters=trained,
        parameters=sum(one.numel() for one in model.parameters()),
        pictures=[sample.path for sample in test],
        scores=scores.tolist(),
        auroc=float(roc_auc_score(labels_of(test), scores)),
        average_precision=float(average_precision_score(labels_of(test), scores)),
    )
    write_entry(folder, entry)
    shutil.rmtree(partial)
    return entry


def count_trained(model: InspectionModel, recipe: Recipe) -> int:
    """Parameters that learn in the recipe's widest phase, of a model that is not trained yet."""
    head = sum(one.numel() for one in model.head.parameters())
    if recipe.strategy == "lora":
        adapted = copy.deepcopy(model.backbone)
        add_lora(adapted, recipe.lora_rank)
        return head + sum(one.numel() for one in adapted.parameters() if one.requires_grad)
    stages = backbone_stages(model.backbone)
    free = max(phase.free for phase in plan(recipe, len(stages)))
    return head + sum(one.numel() for stage in stages[len(stages) - free :] for _, one in stage)


class Progress:
    """Says how far the work is, whoever does it."""

    def __init__(self, jobs: Sequence[Job], folder: Path) -> None:
        self._jobs, self._folder = jobs, folder
        self._seconds: dict[str, float] = {}

    def done(self) -> int:
        """Models that are trained."""
        return len(self._jobs) - len(self._missing())

    @contextmanager
    def spinner(self, job: Job) -> Iterator[None]:
        """A sign of life while one is trained; only on a terminal."""
        own = Console()  # the common one is silent meanwhile
        text = f"{self.done() + 1} of {len(self._jobs)} {job}"
        with own.status(text) if own.is_terminal else nullcontext():
            yield

    def tell(self, job: Job, entry: Entry) -> None:
        """A line for a trained model."""
        name = job.arm.name
        self._seconds[name] = max(self._seconds.get(name, 0), entry.seconds)
        missing = self._missing()
        longest = max(self._seconds.values())
        left = sum(self._seconds.get(one.arm.name, longest) for one in missing)
        say(
            f"{len(self._jobs) - len(missing)} of {len(self._jobs)} {job}  AUROC {entry.auroc:.3f}  AP "
            f"{entry.average_precision:.3f}  {entry.seconds:.0f} s" + (f", at most {left / 60:.0f} min left" if missing else "")
        )

    def _missing(self) -> list[Job]:
        return [job for job in self._jobs if not entry_file(self._folder, job.key).is_file()]


def entries_of(jobs: Sequence[Job], entries: Mapping[str, Entry], arm: Arm, point: int | None) -> list[list[Entry]]:
    """The arm's entries at a point, folds x seeds."""
    mine = [job for job in jobs if job.arm is arm and job.point == point]
    return [[entries[job.key] for job in mine if job.fold == fold] for fold in dict.fromkeys(job.fold for job in mine)]


@contextmanager
def _quiet() -> Iterator[None]:
    """No line per epoch: dozens of models are trained."""
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before

"""`pipeline compare`: train every arm on every fold under one budget, and say which wins and whether that is real."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.command import say
from deploy.errors import DatasetError
from pipeline.comparison.arms import Arm, resolve_arms, uneven
from pipeline.comparison.entries import locked
from pipeline.comparison.report import print_comparison, write_comparison
from pipeline.comparison.result import Comparison, weigh
from pipeline.comparison.thinning import POINTS
from pipeline.comparison.work import plan_jobs, train_jobs, usable_points
from pipeline.data.groups import is_guessed
from pipeline.data.layouts import Layout
from pipeline.data.manifest import holds_manifest, slug
from pipeline.data.prepare import read_samples, take_version
from pipeline.data.sample import Sample
from pipeline.data.split import check_split, folds
from pipeline.training.lineage import refuse_learned

STOPPED = 130
AFRESH = "give siblings one group, or delete the copies"


def compare_command(
    dataset: Path,
    out: Path,
    arms: Sequence[str] | None = None,
    recipes: Sequence[Path] = (),
    weights: Path | None = None,
    k: int = 3,
    seeds: int = 1,
    curve: bool = False,
    layout: Layout | None = None,
    **overrides: object,
) -> Comparison:
    """Compare arms on a dataset or a manifest version, and write and print what was found; see `compare`.

    `overrides` are recipe keys for every arm. Raises SystemExit with code 130 when it is stopped.
    """
    chosen = resolve_arms(arms, recipes, weights, **overrides)
    for arm in chosen:
        say(f"{arm.name}: {arm.recipe.backbone}, source {arm.source.about.origin}")
    if holds_manifest(dataset):
        manifest = take_version(dataset, layout=layout)
        samples, name = manifest.samples, manifest.dataset
    else:
        samples, name = read_samples(dataset, layout=layout)
    folder = out / slug(name)
    try:
        comparison = compare(samples, name, chosen, folder, k, seeds, POINTS if curve else ())
    except (SystemExit, KeyboardInterrupt) as stop:
        if isinstance(stop, SystemExit) and stop.code != STOPPED:
            raise
        say(f"stopped; the same command goes on where this one was, in {folder}")
        raise SystemExit(STOPPED) from stop
    with locked(folder):  # a second process may end in the same moment
        write_comparison(comparison, folder, shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))
    print_comparison(comparison)
    say(f"comparison: {folder / 'comparison.md'}")
    return comparison


def compare(
    samples: Sequence[Sample],
    name: str,
    arms: Sequence[Arm],
    folder: Path,
    k: int = 3,
    seeds: int = 1,
    points: Sequence[int] = (),
) -> Comparison:
    """Train what is not trained yet in `folder`, arms x `k` folds x seeds, and put all of it into figures.

    The same again for each of `points`, so many defective groups to learn from, where there are more. Raises DatasetError when
    the data do not hold so many folds, or pictures have siblings in other groups.
    """
    for split in folds(samples, k):
        check_split(split, advice=AFRESH)
    usable = usable_points(samples, k, points)
    jobs = plan_jobs(samples, name, arms, k, seeds, usable)
    if points and not usable:
        raise DatasetError(
            f"each fold learns from {points[0]} defective groups or fewer: no curve can be drawn; leave --curve out, or add "
            "pictures of other defective parts"
        )
    for arm in arms:
        refuse_learned(arm.source.about.origin, samples, f"the source of {arm.name}")
    notes = _notes(samples, arms, seeds)
    for note in notes:
        say(note, style="yellow")
    say(f"{len({job.key for job in jobs})} models: {len(arms)} arms, {k} folds, {seeds} seeds, {len(usable) + 1} sizes")
    return weigh(name, samples, arms, jobs, train_jobs(jobs, folder), notes)


def _notes(samples: Sequence[Sample], arms: Sequence[Arm], seeds: int) -> list[str]:
    """What a reader of the figures must know."""
    notes = []
    guessed = {sample.group for sample in samples if is_guessed(sample)}
    if guessed:
        notes.append(
            f"nobody named the parts: {len(guessed)} clusters of look-alikes stand in for groups, so intervals and what is real "
            "are a guess; a groups.csv would say (see datasets/README.md)"
        )
    if budget := uneven(arms):
        notes.append(budget)
    if seeds == 1:
        notes.append("one seed: the luck of a single training is not in the intervals; --seeds 3 counts it")
    if any(sample.split for sample in samples):
        notes.append(
            "the split that the pictures have is left aside, so its test part was learned from here: prove the arm that is "
            "chosen on pictures of new parts"
        )
    return notes

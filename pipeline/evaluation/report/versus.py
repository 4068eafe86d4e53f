"""`pipeline report --compare A B`: two runs on the same test parts, as versus.html and versus.json."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import RunError
from deploy.files import write_whole
from pipeline.data.groups import named_alike
from pipeline.data.manifest import check_unchanged
from pipeline.data.sample import Sample
from pipeline.evaluation.assessment import Evaluation, assess
from pipeline.evaluation.predict import Infer, predict, torch_infer
from pipeline.evaluation.report.held import Versus, hold
from pipeline.evaluation.report.page import Shown, number, render
from pipeline.evaluation.report.pictures import illustrate
from pipeline.training.lineage import learned_from
from pipeline.training.run import Run, load_run

PICTURES = 24
"""Changed verdicts that are shown; versus.json has all."""


@dataclass(frozen=True)
class _Side:
    run: Run
    infer: Infer
    evaluation: Evaluation


def compare_reports(run_a: Path, run_b: Path, out: Path | None = None) -> Path:
    """Judge two runs on the test parts that both have and neither learned from; write versus.html and versus.json.

    Into `out`, or a folder in run B. Returns the page. Raises RunError where no such part is left, DatasetError for pictures that
    changed since.
    """
    runs = load_run(run_a), load_run(run_b)
    samples, left_out = common_parts(*runs)
    check_unchanged(samples)
    a, b = (_judge(run, samples) for run in runs)
    versus = hold(a.evaluation, b.evaluation, names_of(*runs), left_out)
    folder = out or run_b / "versus" / run_a.resolve().name
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "versus.html"
    write_whole(folder / "versus.json", versus.model_dump_json(indent=1))
    write_whole(
        page,
        render("versus.html.jinja", versus=versus, a=a.evaluation, b=b.evaluation, pictures=_pictures(versus, a, b)),
    )
    return page


def names_of(a: Run, b: Run) -> tuple[str, str]:
    """What the runs are called: by their folders, with those around them where the names are the same."""
    short = a.path.resolve().name, b.path.resolve().name
    return short if short[0] != short[1] else (str(a.path), str(b.path))


def common_parts(a: Run, b: Run) -> tuple[list[Sample], list[str]]:
    """Pictures that both runs are tested on, in groups that neither nor what they started from learned from; what is left out.

    Groups are those of run A. Raises RunError where nothing is left.
    """
    ours, theirs = a.manifest.split("test"), b.manifest.split("test")
    twins = {sample.sha256: sample for sample in theirs}
    both = [sample for sample in ours if sample.sha256 in twins]
    told = []
    known = {sample.sha256 for sample in both}
    if others := len(ours) - len(both) + sum(sample.sha256 not in known for sample in theirs):
        told.append(f"{others} pictures that only one of the runs is tested on are left out.")
    disputed = {sample.part for sample in both if twins[sample.sha256].label != sample.label}
    if disputed:
        told.append(f"{len(disputed)} parts are left out: one run calls them good and the other defective.")
    learned = [*learned_from(a.path), *learned_from(b.path)]
    by_a, by_b = named_alike(both, learned), named_alike([twins[sample.sha256] for sample in both], learned)
    tainted = {sample.group for sample, *met in zip(both, by_a, by_b, strict=True) if any(met)}
    if tainted:
        told.append(f"{len(tainted)} groups are left out: one of the runs, or what it started from, learned from them.")
    kept = [sample for sample in both if sample.part not in disputed and sample.group not in tainted]
    if not kept:
        raise RunError(
            f"{a.path} and {b.path} share no test part that neither learned from ({len(both)} pictures are in both test parts, "
            f"{len(tainted)} of their groups were learned from); train both on one manifest version (pipeline split)"
        )
    return kept, told


def _judge(run: Run, samples: Sequence[Sample]) -> _Side:
    infer = torch_infer(run.model(), run.decision.calibration)
    scores = predict(samples, run.recipe.preprocessing(), infer)
    return _Side(run, infer, assess(run.path.name, samples, scores, run.decision, trained_on=run.manifest))


def _pictures(versus: Versus, a: _Side, b: _Side) -> list[Shown]:
    samples = {(sample.part, sample.path): sample for sample in a.evaluation.samples}
    specs = [side.run.recipe.preprocessing() for side in (a, b)]
    return [
        Shown(
            illustrate(samples[one.part, one.path], (specs[0], a.infer), (specs[1], b.infer)),
            f"{one.truth}: {one.verdict_a} by A, {one.verdict_b} by B",
            (f"probability {number(one.probability_a)} by A, {number(one.probability_b)} by B", one.path),
        )
        for one in versus.changes[:PICTURES]
    ]

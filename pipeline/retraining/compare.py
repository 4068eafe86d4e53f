"""Old against new on the same pictures: what each finds, and which is better."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from deploy.command import console, say
from deploy.verdict import Verdict
from pipeline.data.sample import Sample
from pipeline.evaluation.assessment import Evaluation, assess
from pipeline.evaluation.metrics import Counts, Rate, rate
from pipeline.evaluation.predict import predict, torch_infer
from pipeline.training.run import Run

AUROC_SLACK = 0.01
"""On the old test groups the new model may lose this much before it counts as worse."""


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same pictures."""

    title: str
    old: Evaluation
    new: Evaluation

    def figures(self) -> dict[str, Any]:
        """For comparison.json."""
        return {"title": self.title, "old": self.old.metrics(), "new": self.new.metrics(), "recall": self.recalls()}

    def recalls(self) -> dict[str, dict[str, Any]]:
        """Defect type -> share of its parts that are not passed as good, before and after."""
        return {
            kind: {"old": asdict(recall(self.old.by_type[kind])), "new": asdict(recall(self.new.by_type[kind]))}
            for kind in self.old.by_type
        }


def compare_runs(title: str, old: Run, new: Run, samples: Sequence[Sample]) -> Comparison:
    """Evaluate both runs, each at its own thresholds, on samples neither has learned from."""
    return Comparison(title, _assess(old, samples), _assess(new, samples))


def _assess(run: Run, samples: Sequence[Sample]) -> Evaluation:
    scores = predict(samples, run.recipe.preprocessing(), torch_infer(run.model(), run.decision.calibration))
    return assess(run.path.name, samples, scores, run.decision, trained_on=run.manifest)


def recall(counts: Counts) -> Rate:
    """Share of defective parts that are not passed as good."""
    verdicts = counts.verdicts["defective"]
    total = sum(verdicts.values())
    return rate(total - verdicts[Verdict.GOOD.value], total)


def print_comparison(comparison: Comparison) -> None:
    """Show both runs side by side."""
    old, new = comparison.old, comparison.new
    table = Table(title=f"{comparison.title}: {len(old.samples)} pictures", title_justify="left")
    for column in ("figure", "old run", "new run"):
        table.add_column(column)
    table.add_row("AUROC", str(old.auroc), str(new.auroc))
    table.add_row("overkill", str(old.counts.overkill), str(new.counts.overkill))
    table.add_row("recall of defective parts", str(recall(old.counts)), str(recall(new.counts)))
    for kind in old.by_type:
        table.add_row(f"  {kind}", str(recall(old.by_type[kind])), str(recall(new.by_type[kind])))
    console.print(table)
    for which, evaluation in (("old", old), ("new", new)):
        if evaluation.leakage:
            say(f"{which} run: {evaluation.leakage}", style="bold red")


def is_better(untouched: Comparison, held_out: Comparison | None) -> tuple[bool, str]:
    """Whether the new run should replace the old one, and why, in one sentence.

    On the old test groups it may have no more escapes and no more wrong or missing verdicts, and hardly a lower AUROC; on the new
    ones (or on the old, where no new are held out) it must have fewer. A part sent to review is a verdict that is missing.
    """
    before, after = untouched.old, untouched.new
    if before.auroc.value is not None and after.auroc.value is not None and after.auroc.value < before.auroc.value - AUROC_SLACK:
        return False, f"the old run is better: on the old test groups AUROC falls from {before.auroc} to {after.auroc}"
    if after.counts.escape.count > before.counts.escape.count:
        return False, (
            f"the old run is better: on the old test groups escapes rise from {before.counts.escape} to {after.counts.escape}"
        )
    if _errors(after) > _errors(before):
        return False, (
            f"the old run is better: on the old test groups wrong or missing verdicts rise from {_errors(before)} "
            f"to {_errors(after)}"
        )
    judged = held_out or untouched
    old_errors, new_errors = _errors(judged.old), _errors(judged.new)
    where = "new held-out groups" if held_out else "old test groups"
    if new_errors < old_errors:
        return True, (
            f"the new run is better: {new_errors} instead of {old_errors} wrong or missing verdicts on the {where}, and on "
            f"the old test groups {_errors(after)} instead of {_errors(before)}"
        )
    return False, f"the new run is no better: {new_errors} wrong or missing verdicts on the {where}, the old one has {old_errors}"


def _errors(evaluation: Evaluation) -> int:
    """Parts that are wrong or go to a person."""
    counts = evaluation.counts
    return counts.escape.count + counts.overkill.count + counts.review.count

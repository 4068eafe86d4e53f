"""`pipeline robustness`: a run's card on its own test parts, and its report with it."""

from pathlib import Path

from rich.table import Table

from deploy.command import console, say
from pipeline.data.manifest import check_unchanged
from pipeline.data.prepare import counting
from pipeline.evaluation.evaluate import evaluate_command
from pipeline.evaluation.predict import torch_infer
from pipeline.evaluation.robustness.card import RobustnessCard, robustness_card
from pipeline.evaluation.robustness.kept import made_from, write_card
from pipeline.training.run import load_run


def robustness_command(path: Path, out: Path | None = None) -> RobustnessCard:
    """Judge the run's test parts under every condition; writes robustness.json, and the report again, into the run or `out`."""
    run = load_run(path)
    test, spec, decision = run.manifest.split("test"), run.recipe.preprocessing(), run.decision
    check_unchanged(test)
    with counting("judging changed pictures") as progress:
        card = robustness_card(
            test,
            spec,
            torch_infer(run.model(), decision.calibration),
            decision.thresholds,
            decision.limits.max_escape or 0,
            progress,
        )
    folder = out or path
    folder.mkdir(parents=True, exist_ok=True)
    file = write_card(folder, card, made_from(run.weights, decision, test, spec))
    _print_card(card)
    evaluate_command(path, None, folder)
    say(f"robustness: {file}")
    return card


def _print_card(card: RobustnessCard) -> None:
    table = Table(title=f"{card.parts} test parts under what a line does to pictures", title_justify="left")
    for column in ("condition", "escapes", "overkill", "to review", "verdicts changed"):
        table.add_column(column)
    for outcome, name in [(card.untouched, "")] + [(one, strain.name) for strain in card.strains for one in strain.outcomes]:
        table.add_row(
            f"{name} {outcome.named}".strip(),
            *(f"{one.count} of {one.total}" for one in (outcome.escape, outcome.overkill, outcome.review, outcome.changed)),
        )
    console.print(table)
    for sentence in card.sentences():
        say(sentence, style="yellow" if card.findings else None)

"""`pipeline robustness`: a run's card on its own test parts, and its report with it."""

from pathlib import Path

from rich.table import Table

from deploy.command import console, say
from deploy.errors import RunError
from pipeline.data.manifest import check_unchanged
from pipeline.data.prepare import counting
from pipeline.evaluation.evaluate import evaluate_run
from pipeline.evaluation.predict import torch_infer
from pipeline.evaluation.robustness.card import RobustnessCard, robustness_card
from pipeline.evaluation.robustness.kept import made_from, write_card
from pipeline.training.run import load_run


def robustness_command(path: Path, out: Path | None = None) -> RobustnessCard:
    """Judge the run's test parts under every condition; writes robustness.json, and the report again, into the run or `out`."""
    run = load_run(path)
    test, spec, decision, model = run.manifest.split("test"), run.recipe.preprocessing(), run.decision, run.model()
    if decision.undecided:
        raise RunError(f"{path} sends every part to a person, so no verdict can change: {decision.undecided}")
    check_unchanged(test)
    with counting("judging changed pictures") as progress:
        infer = torch_infer(model, decision.calibration)
        card = robustness_card(test, spec, infer, decision.thresholds, decision.limits.max_escape, progress)
    folder = out or path
    folder.mkdir(parents=True, exist_ok=True)
    file = write_card(folder, card, made_from(run.weights, decision, test, spec))
    evaluate_run(folder, model, run.recipe, run.manifest, decision, path)
    _print_card(card)
    say(f"robustness: {file}  report: {folder / 'report.html'}")
    return card


def _print_card(card: RobustnessCard) -> None:
    table = Table(title=f"{card.parts} test parts under what a line does to pictures", title_justify="left")
    for column in ("condition", "how much", "escapes", "overkill", "to review", "verdicts changed"):
        table.add_column(column)
    outcomes = [("untouched", card.untouched), *((strain.name, one) for strain in card.strains for one in strain.outcomes)]
    for name, one in outcomes:
        rates = (f"{rate.count} of {rate.total}" for rate in (one.escape, one.overkill, one.review, one.changed))
        table.add_row(name, one.named if name != "untouched" else "", *rates)
    console.print(table)
    for sentence in card.sentences():
        say(sentence, style="yellow" if card.findings else None)

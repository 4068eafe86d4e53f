"""`pipeline thresholds`: a run's thresholds again, from other limits, and its report by them."""

from pathlib import Path

from deploy.command import console, say
from deploy.errors import InspectionError
from deploy.files import write_whole
from pipeline.data.manifest import check_unchanged
from pipeline.evaluation.evaluate import evaluate_run, print_evaluation
from pipeline.evaluation.limits import Limits
from pipeline.evaluation.predict import fix_decision
from pipeline.training.run import load_run


def thresholds_command(path: Path, limits: Limits, out: Path | None) -> bool:
    """Derive the run's thresholds from the limits on its validation groups; writes its decision, and its report by it.

    Tells whether the validation parts show all limits and the test parts refute none. With `out` the run stays as it is, and all
    is written there. Raises InspectionError for a defect type that the run never met.
    """
    run = load_run(path)
    known = sorted({sample.defect_type for sample in run.manifest.samples if sample.label == "defective"})
    if strangers := sorted(set(limits.max_escape_of) - set(known)):
        raise InspectionError(f"no part of {path} has a defect of type {', '.join(strangers)}; there are {', '.join(known)}")
    validation = run.manifest.split("validation")
    check_unchanged([*validation, *run.manifest.split("test")])
    folder = out or path
    folder.mkdir(parents=True, exist_ok=True)
    with console.status("deriving thresholds on the validation groups, evaluating on the test groups"):
        model = run.model()
        decision = fix_decision(model, run.recipe, validation, limits)
        write_whole(folder / "decision.json", decision.model_dump_json(indent=2))  # first: a report may be behind, never ahead
        evaluation = evaluate_run(folder, model, run.recipe, run.manifest, decision, path)
    print_evaluation(evaluation)
    say(f"decision: {folder / 'decision.json'}  report: {folder / 'report.html'}")
    if out is None:
        say(f"bundles made before keep their thresholds; next: pipeline export {path}")
    shown = all(promise.shown for promise in decision.promises) and not any(proof.refuted for proof in evaluation.proofs)
    return shown and not decision.undecided and not evaluation.unproven

"""`report.html`: one file that opens anywhere, offline, without a script, and prints on A4."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from deploy.files import write_whole
from pipeline.evaluation.assessment import Evaluation
from pipeline.evaluation.metrics import Rate
from pipeline.evaluation.predict import Infer
from pipeline.evaluation.report.charts import reliability_chart, threshold_chart
from pipeline.evaluation.report.content import Judged, Report, report_content
from pipeline.evaluation.report.pictures import illustrate
from pipeline.evaluation.robustness.card import RobustnessCard
from pipeline.evaluation.robustness.findings import exceeds
from pipeline.evaluation.robustness.kept import UNMEASURED
from pipeline.evaluation.slices import Slice
from pipeline.evaluation.thresholds import percent
from pipeline.training.recipe import Recipe

WRONG_REASONS = 8
"""Pictures of parts that are right for the wrong reason."""


@dataclass(frozen=True)
class Shown:
    """A picture on the page, as a data: URL, and what is said of it."""

    picture: str
    title: str
    lines: tuple[str, ...]


def write_report(
    evaluation: Evaluation,
    recipe: Recipe,
    infer: Infer,
    file: Path,
    *,
    run: Path | None = None,
    robustness: RobustnessCard | None = None,
    no_robustness: str = UNMEASURED,
) -> Report:
    """Write the page of an evaluation, and its content as JSON beside it; returns that content.

    `infer` gives the heatmaps of the pictures shown. `run` is the run folder, where it is known, `robustness` its card, and
    `no_robustness` why there is none. Raises DatasetError for a picture that can no longer be read.
    """
    report = report_content(evaluation, recipe, run, robustness, no_robustness)
    spec = recipe.preprocessing()
    samples = {(sample.part, sample.path): sample for sample in evaluation.samples}

    def shown(parts: Sequence[Judged]) -> list[Shown]:
        return [Shown(illustrate(samples[one.part, one.path], (spec, infer)), *caption(one)) for one in parts]

    wrong_reasons = [
        Shown(
            illustrate(samples[place.part, place.path], (spec, infer), peak=True),
            place.defect_type or "defective",
            (f"peak {place.distance:.0%} of the picture's longer side away from the defect", place.path),
        )
        for place in evaluation.wrong_reasons()[:WRONG_REASONS]
    ]
    slices: dict[str, list[Slice]] = {}
    for one in evaluation.slices.slices if evaluation.slices else ():
        slices.setdefault(one.dimension, []).append(one)
    usable = not evaluation.unproven and not evaluation.decision.undecided
    before, after = evaluation.uncalibrated, evaluation.calibrated
    page = render(
        "report.html.jinja",
        evaluation=evaluation,
        report=report,
        recipe=recipe,
        state=state_of(evaluation),
        usable=usable,
        curve=threshold_chart(report.curve, evaluation.parts, evaluation.decision.thresholds if usable else None)
        if report.curve
        else "",
        reliability=reliability_chart(before, after) if before and after else "",
        slices=slices,
        worse={(one.dimension, one.value) for one in evaluation.slices.comparisons if one.worse} if evaluation.slices else set(),
        wrong_reasons=wrong_reasons,
        worst=shown(report.worst),
        least_sure=shown(report.least_sure),
    )
    write_whole(file, page)
    write_whole(file.with_suffix(".json"), report.model_dump_json(indent=1))
    return report


def state_of(evaluation: Evaluation) -> str:
    """How the verdict is coloured: bad where nothing is proven, good where these parts show every limit and nothing dims it."""
    if evaluation.unproven or any(proof.refuted for proof in evaluation.proofs):
        return "bad"
    shown = bool(evaluation.proofs) and all(proof.shown for proof in evaluation.proofs)
    return "good" if shown and not evaluation.caveats() else "care"


def caption(one: Judged) -> tuple[str, tuple[str, ...]]:
    """What is said of a part below its picture."""
    seen = f"the most suspicious of {one.views} views, {number(one.view_probability)}" if one.views > 1 else "its only view"
    return f"{one.truth}, said {one.verdict}", (f"probability {number(one.probability)}; {seen}", one.path)


def number(probability: float) -> str:
    """A probability, with enough digits next to 0 and to 1."""
    if probability > 0.99:
        return f"{probability:.6f}".rstrip("0").ljust(4, "0") if probability < 1 else "1"
    return f"{probability:.3g}"


def tile(one: Rate) -> tuple[str, str]:
    """A rate in large and in small print."""
    if one.value is None or one.low is None or one.high is None:
        return "none here", "no such parts"
    return f"{one.count} of {one.total}", f"{percent(one.value)}; between {percent(one.low)} and {percent(one.high)}"


def render(template: str, **content: Any) -> str:
    """Fill a template of this package; names are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.evaluation", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "number": number, "tile": tile}
    environment.globals |= {"exceeds": exceeds}
    return environment.get_template(template).render(**content)

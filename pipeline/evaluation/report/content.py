"""`report.json`: everything that the page says, without its pictures. Documented in docs/report.md."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from deploy.bundle import sha256_of
from deploy.verdict import Thresholds, Verdict, decide
from pipeline.data.sample import Sample
from pipeline.evaluation.assessment import Evaluation
from pipeline.evaluation.calibration import to_log_odds
from pipeline.evaluation.metrics import PartScore, Rate, Scores, rate
from pipeline.evaluation.robustness.card import RobustnessCard
from pipeline.training.recipe import Recipe, SourceWeights
from pipeline.training.run import PARTIAL, WEIGHTS, environment

SHOWN = 20
"""Parts in each list of pictures."""
POINTS = 200
"""Of the threshold curve, at most."""
HIGHLIGHTS = (
    "backbone",
    "strategy",
    "head",
    "height",
    "width",
    "epochs",
    "batch_size",
    "learning_rate",
    "balance",
    "pixel_loss",
    "seed",
)
"""What of the recipe the report repeats; recipe.yaml has all of it."""


class Told(BaseModel):
    """A record of a report: all its keys are documented in docs/report.md, and there are no others."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CurvePoint(Told):
    """What one threshold would do."""

    threshold: float = Field(description="a probability")
    escape: Rate = Field(description="defective parts below it, as `metrics.escape`")
    overkill: Rate = Field(description="good parts above it, as `metrics.overkill`")


class Judged(Told):
    """A part in one of the lists."""

    part: str = Field(description="its group and label")
    path: str = Field(description="its most suspicious view, relative to the dataset")
    truth: str = Field(description="good, or the defect type")
    verdict: str = Field(description="GOOD, REVIEW or DEFECTIVE")
    probability: float = Field(description="of the part; `verdict` is of this one")
    view_probability: float = Field(description="of that view")
    views: int = Field(description="pictures of the part")
    margin: float = Field(description="to the nearest threshold, in log-odds (base e); below zero: past it, on the wrong side")


class MadeWith(Told):
    """What it takes to make the same again."""

    run: str = Field(description="name of the run folder; empty where it is not known")
    weights_sha256: str = Field(description="of the run's weights; empty where the run folder is not known")
    source: SourceWeights | None = Field(description="the weights that training started from")
    manifest: dict[str, Any] | None = Field(description="the data version trained on: as `metrics.manifest`")
    split: str = Field(description="what keeps these pictures apart from those learned from, in sentences")
    calibration: str = Field(description="how scores became probabilities")
    seed: int = Field(description="of the training")
    recipe: dict[str, Any] = Field(description="the most telling keys; all are in recipe.yaml")
    environment: dict[str, str] = Field(description="versions of the software that wrote this report")


class Report(Told):
    """The whole of report.json."""

    schema_version: Literal[1] = Field(1, description="of this table; another meaning of a key is another number")
    title: str = Field(description="what was evaluated on")
    verdict: str = Field(description="the two sentences on top")
    unproven: str = Field(description="why no threshold means anything; empty where the model separates")
    leakage: str = Field(description="what the split leaks; empty where it does not")
    caveats: list[str] = Field(description="what makes the figures less than they seem, the gravest first")
    metrics: dict[str, Any] = Field(description="the content of metrics.json: see below")
    curve: list[CurvePoint] = Field(description="what every threshold would do to these parts, from the lowest up")
    worst: list[Judged] = Field(description="parts on the wrong side of a threshold: escapes first, the furthest first")
    least_sure: list[Judged] = Field(description="of all other parts those nearest to a threshold")
    robustness: RobustnessCard | None = Field(description="the card, as in robustness.json; none where it was not made")
    robustness_sentences: list[str] = Field(description="what the card says, or why there is none")
    made_with: MadeWith = Field(description="what it takes to make the same again")


def report_content(
    evaluation: Evaluation, recipe: Recipe, run: Path | None, robustness: RobustnessCard | None, no_robustness: str
) -> Report:
    """Everything the page says of an evaluation."""
    worst, least_sure = pick_parts(evaluation)
    return Report(
        title=evaluation.dataset,
        verdict=evaluation.verdict(),
        unproven=evaluation.unproven,
        leakage=evaluation.leakage,
        caveats=evaluation.caveats(),
        metrics=evaluation.metrics(),
        curve=threshold_curve(evaluation.parts),
        worst=worst,
        least_sure=least_sure,
        robustness=robustness,
        robustness_sentences=robustness.sentences() if robustness else [no_robustness] if no_robustness else [],
        made_with=made_with(evaluation, recipe, run),
    )


def threshold_curve(parts: Sequence[PartScore]) -> list[CurvePoint]:
    """Escapes and overkill of parts at every score that occurs, or at POINTS of them."""
    good = np.sort([part.score for part in parts if not part.defective])
    bad = np.sort([part.score for part in parts if part.defective])
    cuts = np.unique([part.score for part in parts])
    if len(cuts) > POINTS:
        cuts = cuts[np.unique(np.linspace(0, len(cuts) - 1, POINTS).round().astype(int))]
    escaped, alarmed = np.searchsorted(bad, cuts, "left"), len(good) - np.searchsorted(good, cuts, "right")
    return [
        CurvePoint(threshold=float(cut), escape=rate(int(low), len(bad)), overkill=rate(int(high), len(good)))
        for cut, low, high in zip(cuts, escaped, alarmed, strict=True)
    ]


def views_of(samples: Sequence[Sample], scores: Scores) -> dict[str, list[tuple[float, Sample]]]:
    """Part -> its pictures, the most suspicious first."""
    views: dict[str, list[tuple[float, Sample]]] = defaultdict(list)
    for sample, score in zip(samples, scores, strict=True):
        views[sample.part].append((float(score), sample))
    return {part: sorted(shown, key=lambda view: (-view[0], view[1].path)) for part, shown in views.items()}


def pick_parts(evaluation: Evaluation) -> tuple[list[Judged], list[Judged]]:
    """The worst errors, and of all other parts the least sure.

    Where no threshold was found, nothing errs and nothing is near: then those that rank worst for their truth are the errors.
    """
    thresholds, views = evaluation.decision.thresholds, views_of(evaluation.samples, evaluation.scores)
    judged = [judge(part, thresholds, views[part.part]) for part in evaluation.parts]
    if evaluation.decision.undecided or evaluation.unproven:
        misled = sorted(judged, key=lambda one: one.probability if one.truth != "good" else 1 - one.probability)
        return misled[:SHOWN], []
    wrong = [one for one in judged if is_error(one)]
    wrong.sort(key=lambda one: (one.truth == "good", one.margin, one.part))
    others = sorted((one for one in judged if not is_error(one)), key=lambda one: (one.margin, one.part))
    return wrong[:SHOWN], others[:SHOWN]


def judge(part: PartScore, thresholds: Thresholds, views: Sequence[tuple[float, Sample]]) -> Judged:
    """A part as it is listed; `views` are its pictures, the most suspicious first."""
    verdict, (view, sample) = decide(part.score, thresholds), views[0]
    odds, accept, reject = to_log_odds(np.array([part.score, thresholds.accept, thresholds.reject]))
    if verdict.value == (Verdict.GOOD if part.defective else Verdict.DEFECTIVE).value:
        margin = -abs(odds - (accept if part.defective else reject))
    else:
        margin = min(abs(odds - accept), abs(odds - reject))
    return Judged(
        part=part.part,
        path=sample.path,
        truth=(part.defect_type or "defective") if part.defective else "good",
        verdict=verdict.value,
        probability=part.score,
        view_probability=view,
        views=len(views),
        margin=float(margin),
    )


def is_error(one: Judged) -> bool:
    """An escape, or overkill."""
    return bool(one.verdict == (Verdict.DEFECTIVE if one.truth == "good" else Verdict.GOOD).value)


def made_with(evaluation: Evaluation, recipe: Recipe, run: Path | None) -> MadeWith:
    """Data, weights, recipe and software."""
    weights = run / WEIGHTS if run else None
    return MadeWith(
        run=run.name.removesuffix(PARTIAL) if run else "",
        weights_sha256=sha256_of(weights) if weights and weights.is_file() else "",
        source=recipe.source,
        manifest=evaluation.trained_on,
        split=split_words(evaluation),
        calibration=str(evaluation.decision.calibration),
        seed=recipe.seed,
        recipe={key: getattr(recipe, key) for key in HIGHLIGHTS},
        environment=environment(),
    )


RULES = {
    "group": "group by group",
    "brought": "as the dataset brings it",
    "time": "by time, the newest groups to test on",
    "slice": "by a column, the groups of one value to test on",
    "fold": "group by group, into folds",
}


def split_words(evaluation: Evaluation) -> str:
    """What the split guarantees, and what it rests on."""
    manifest = evaluation.trained_on
    if manifest is None:
        return "It is not known what the run was trained on, so nobody knows whether it learned from these pictures."
    known = (
        "Nobody named the groups: clusters of look-alikes stand in for them, so one part seen in two poses may count as two."
        if evaluation.groups_are_guessed
        else "The dataset names the groups (parts, serial numbers, bursts); they are as true as those names."
    )
    if evaluation.leakage:
        return f"{evaluation.leakage} {known}"
    if evaluation.learned:
        return f"{evaluation.learned} of these pictures show what the run learned from. {known}"
    rule = RULES.get(str(manifest["rule"]).split(":")[0], str(manifest["rule"]))
    return (
        "No group of these pictures is in what the run learned from or was chosen by: training refuses a split in which a group, "
        f"or a copy of a picture, lies on both sides. The data was split {rule}. {known}"
    )

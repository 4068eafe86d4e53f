"""Two evaluations of the same test parts held against each other: which is better, and whether that is real."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field
from scipy.stats import binomtest

from deploy.verdict import Verdict, decide
from pipeline.comparison.paired import Answered, Difference, bootstrap, differences, holm, measure
from pipeline.evaluation.assessment import Evaluation
from pipeline.evaluation.metrics import CONFIDENCE, labels_of
from pipeline.evaluation.report.content import Told, views_of
from pipeline.training.run import environment

Name = Literal["A", "B"]


class Change(Told):
    """A part on which the two runs say something else."""

    part: str = Field(description="its group and label")
    path: str = Field(description="the view that run B finds most suspicious, relative to the dataset")
    truth: str = Field(description="good, or the defect type")
    verdict_a: str = Field(description="of run A")
    verdict_b: str = Field(description="of run B")
    probability_a: float = Field(description="of the part, by run A")
    probability_b: float = Field(description="of the part, by run B")


class Discordance(Told):
    """Of one kind of outcome, the parts that have it with one run only; those say which run has more (McNemar 1947)."""

    what: str = Field(description="escapes, overkill or parts to review")
    total: int = Field(description="parts that could have it")
    a: int = Field(description="that have it with run A")
    b: int = Field(description="that have it with run B")
    only_a: int = Field(description="with run A and not with B")
    only_b: int = Field(description="with run B and not with A")
    p: float = Field(description="two-sided, exact")
    adjusted: float = Field(description="after Holm, over these and the AUROC")

    @property
    def better(self) -> Name | None:
        """The run with significantly fewer."""
        return None if self.adjusted > 1 - CONFIDENCE or self.a == self.b else "A" if self.a < self.b else "B"


class AurocGap(Told):
    """AUROC of run B less that of run A, over pictures."""

    a: float | None = Field(description="of run A")
    b: float | None = Field(description="of run B")
    value: float | None = Field(description="the difference; none without pictures of both classes")
    low: float | None = Field(description="of its 95 % interval, by a paired bootstrap over groups; none for too few groups")
    high: float | None = Field(description="the other end")
    p: float | None = Field(description="two-sided")
    adjusted: float | None = Field(description="after Holm, over this and the counts")

    @property
    def better(self) -> Name | None:
        """The run with the significantly higher one."""
        if self.value is None or self.adjusted is None or self.low is None or self.high is None:
            return None
        real = self.adjusted <= 1 - CONFIDENCE and (self.low > 0 or self.high < 0)
        return None if not real else "B" if self.value > 0 else "A"

    def __str__(self) -> str:
        return "not defined" if self.value is None else str(Difference(self.value, self.low, self.high))


class Versus(Told):
    """The whole of versus.json."""

    schema_version: Literal[1] = Field(1, description="of this table")
    run_a: str = Field(description="name of run A's folder")
    run_b: str = Field(description="name of run B's folder")
    sentence: str = Field(description="which is better, and whether that is real")
    better: Name | None = Field(description="A or B; none where nothing is shown, or one is better in this and the other in that")
    parts: int = Field(description="that both are judged on")
    pictures: int = Field(description="of these parts")
    left_out: list[str] = Field(description="why pictures were left out, in sentences")
    auroc: AurocGap = Field(description="over pictures")
    counts: list[Discordance] = Field(description="escapes, overkill and reviews of both, each at its own thresholds")
    changes: list[Change] = Field(description="parts with another verdict, the gravest first")
    metrics_a: dict[str, object] = Field(description="metrics.json of run A on these parts")
    metrics_b: dict[str, object] = Field(description="metrics.json of run B on these parts")
    environment: dict[str, str] = Field(description="versions of the software that wrote this")


def hold(a: Evaluation, b: Evaluation, names: tuple[str, str], left_out: Sequence[str] = ()) -> Versus:
    """Hold two evaluations of the very same samples against each other."""
    verdicts = [[decide(part.score, one.decision.thresholds) for part in one.parts] for one in (a, b)]
    truth = np.array([part.defective for part in a.parts])
    said = np.array([[verdict.value for verdict in row] for row in verdicts])
    asked = {
        "escapes": (truth, Verdict.GOOD),
        "overkill": (~truth, Verdict.DEFECTIVE),
        "parts to review": (np.ones_like(truth), Verdict.REVIEW),
    }
    gap = auroc_gap(a, b)
    has = {what: [(row == verdict.value)[who] for row in said] for what, (who, verdict) in asked.items()}
    ps = [mcnemar(int((one & ~two).sum()), int((two & ~one).sum())) for one, two in has.values()]
    adjusted = holm([*ps, *([] if gap.p is None else [gap.p])])
    gap = gap.model_copy(update={"adjusted": None if gap.p is None else adjusted[-1]})
    counts = [
        Discordance(
            what=what,
            total=len(one),
            a=int(one.sum()),
            b=int(two.sum()),
            only_a=int((one & ~two).sum()),
            only_b=int((two & ~one).sum()),
            p=p,
            adjusted=after,
        )
        for (what, (one, two)), p, after in zip(has.items(), ps, adjusted, strict=False)
    ]
    better, sentence = which(gap, counts, names)
    return Versus(
        run_a=names[0],
        run_b=names[1],
        sentence=sentence,
        better=better,
        parts=len(a.parts),
        pictures=len(a.samples),
        left_out=list(left_out),
        auroc=gap,
        counts=counts,
        changes=changes(a, b),
        metrics_a=a.metrics(),
        metrics_b=b.metrics(),
        environment=environment(),
    )


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided exact p-value that two runs err alike, from the parts on which one errs alone (McNemar, 1947)."""
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def auroc_gap(a: Evaluation, b: Evaluation) -> AurocGap:
    """Over pictures, with a paired bootstrap over groups."""
    if a.auroc.value is None or b.auroc.value is None:
        return AurocGap(a=a.auroc.value, b=b.auroc.value, value=None, low=None, high=None, p=None, adjusted=None)
    groups = np.array([sample.group for sample in a.samples])
    fold = [Answered(labels_of(a.samples), groups, np.stack([a.scores, b.scores])[:, None])]
    drawn = bootstrap(fold)
    found = differences(measure(fold).auroc[:, 0, 0], drawn.auroc if drawn else None, 0, [1])[0]
    return AurocGap(a=a.auroc.value, b=b.auroc.value, value=found.value, low=found.low, high=found.high, p=found.p, adjusted=None)


def which(gap: AurocGap, counts: Sequence[Discordance], names: tuple[str, str]) -> tuple[Name | None, str]:
    """The better run and a sentence; a run is better where something real speaks for it and nothing real against it."""
    for_whom = {"A": [], "B": []}  # type: dict[str, list[str]]
    for one in counts:
        if one.better:
            few, many = (one.a, one.b) if one.better == "A" else (one.b, one.a)
            for_whom[one.better].append(f"{few} instead of {many} {one.what} of {one.total} parts ({_p(one.adjusted)})")
    if gap.better:
        for_whom[gap.better].append(f"an AUROC higher by {abs(gap.value or 0):.3f} ({_p(gap.adjusted or 0)})")
    names_by: dict[Name, str] = {"A": names[0], "B": names[1]}
    reasons = {name: " and ".join(for_whom[name]) for name in names_by}
    if reasons["A"] and reasons["B"]:
        return None, f"Neither is better in all: {names[0]} has {reasons['A']}; {names[1]} has {reasons['B']}. Both are real."
    escapes, overkill, review = counts
    more = {"A": escapes.a > escapes.b, "B": escapes.b > escapes.a}
    for name, called in names_by.items():
        if reasons[name] and more[name]:
            return None, (
                f"{called} has {reasons[name]}, which is real, but more escapes: {escapes.a} by {names[0]} and {escapes.b} by "
                f"{names[1]} of {escapes.total} parts. So few cannot tell whether that is luck."
            )
        if reasons[name]:
            return name, f"{called} is better, and that is real: {reasons[name]}."
    ranks = "" if gap.value is None else f", AUROC {gap.a:.3f} and {gap.b:.3f}"
    return None, (
        f"Neither is shown to be better: {names[0]} and {names[1]} have {escapes.a} and {escapes.b} escapes, {overkill.a} and "
        f"{overkill.b} overkill, {review.a} and {review.b} parts to review{ranks}; luck explains such differences."
    )


def changes(a: Evaluation, b: Evaluation) -> list[Change]:
    """Parts with another verdict: those where run B errs anew first, then those where A erred, then the rest."""
    views = views_of(b.samples, b.scores)
    found = []
    for one, two in zip(a.parts, b.parts, strict=True):
        before, after = decide(one.score, a.decision.thresholds), decide(two.score, b.decision.thresholds)
        if before is not after:
            wrong = Verdict.GOOD if one.defective else Verdict.DEFECTIVE
            order = (not one.defective, after is not wrong, before is not wrong, one.part)
            change = Change(
                part=one.part,
                path=views[one.part][0][1].path,
                truth=(one.defect_type or "defective") if one.defective else "good",
                verdict_a=before.value,
                verdict_b=after.value,
                probability_a=one.score,
                probability_b=two.score,
            )
            found.append((order, change))
    return [change for _, change in sorted(found, key=lambda pair: pair[0])]


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"

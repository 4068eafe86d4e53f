"""The gate: a candidate ships only if it answers like FP32 on held-out groups, through the real engine."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deploy.bundle import GateEvidence
from deploy.engines import Engine
from deploy.preprocess import Preprocessing
from deploy.verdict import Thresholds, decide
from pipeline.data.sample import Sample
from pipeline.evaluation.limits import Limits
from pipeline.evaluation.metrics import Scores, count_verdicts, labels_of, part_scores
from pipeline.evaluation.predict import derive, predict
from pipeline.evaluation.thresholds import Promise

MAX_AUROC_DROP = 0.002
MIN_AGREEMENT = 0.995
MAX_FP32_DIFFERENCE = 1e-4


@dataclass(frozen=True)
class Reference:
    """What candidates are held against: scores N on the test groups, and the thresholds they are judged by."""

    scores: Scores
    thresholds: Thresholds


@dataclass(frozen=True)
class Judgement:
    """A candidate's thresholds and evidence; `refusal` says why it does not pass, or is None."""

    thresholds: Thresholds
    promises: tuple[Promise, ...]
    evidence: GateEvidence
    scores: Scores
    refusal: str | None


def judge(
    engine: Engine,
    spec: Preprocessing,
    validation: Sequence[Sample],
    test: Sequence[Sample],
    limits: Limits,
    fp32: Reference,
    torch: Scores,
) -> Judgement:
    """Derive the candidate's own thresholds on validation groups, then compare it with FP32 on test groups."""
    derived = derive(validation, spec, engine.infer, limits)
    scores = predict(test, spec, engine.infer)
    evidence = compare(test, Reference(scores, derived.thresholds), fp32, torch)
    refused = refusal(evidence)
    if refused and derived.undecided:
        refused = f"{refused}; {derived.undecided}"
    return Judgement(derived.thresholds, derived.promises, evidence, scores, refused)


def compare(test: Sequence[Sample], candidate: Reference, fp32: Reference, torch: Scores) -> GateEvidence:
    """Figures of a candidate beside FP32's on the same pictures."""
    from sklearn.metrics import roc_auc_score

    truth = labels_of(test)
    same = [
        decide(ours, candidate.thresholds) == decide(theirs, fp32.thresholds)
        for ours, theirs in zip(candidate.scores, fp32.scores, strict=True)
    ]
    return GateEvidence(
        pictures=len(test),
        auroc=float(roc_auc_score(truth, candidate.scores)),
        auroc_fp32=float(roc_auc_score(truth, fp32.scores)),
        agreement=float(np.mean(same)),
        escapes=count_verdicts(part_scores(test, candidate.scores), candidate.thresholds).escape.count,
        escapes_fp32=count_verdicts(part_scores(test, fp32.scores), fp32.thresholds).escape.count,
        max_difference=float(np.abs(candidate.scores - torch).max()),
    )


def refusal(evidence: GateEvidence) -> str | None:
    """Why the evidence does not pass the gate, in one sentence; None when it passes."""
    reasons = []
    if evidence.auroc is not None and evidence.auroc_fp32 is not None and evidence.auroc < evidence.auroc_fp32 - MAX_AUROC_DROP:
        reasons.append(f"AUROC {evidence.auroc:.4f} against {evidence.auroc_fp32:.4f} in FP32 (may drop by {MAX_AUROC_DROP})")
    if evidence.agreement < MIN_AGREEMENT:
        reasons.append(f"{evidence.agreement:.1%} of verdicts agree with FP32 (at least {MIN_AGREEMENT:.1%} needed)")
    if evidence.escapes > evidence.escapes_fp32:
        reasons.append(f"{evidence.escapes} escapes against {evidence.escapes_fp32} in FP32")
    return "; ".join(reasons) or None

"""The gate: a candidate ships only if it answers like FP32 on held-out groups, through the real engine.

How much alike can be asked has a limit: FP32 itself does not repeat its verdicts when a camera sees the same part twice. So they
must agree in MIN_AGREEMENT of all pictures, or as often as FP32 agrees with itself from shot to shot, whichever is less; and
AUROC may drop as far as it does there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy.stats import norm

from deploy.bundle_spec import GateEvidence, Judged
from deploy.engines import Engine
from deploy.preprocess import Picture, Preprocessing, fitted, letterbox, letterbox_placement, read_picture
from deploy.verdict import Thresholds, decide
from pipeline.data.sample import Sample
from pipeline.evaluation.calibration import to_log_odds, to_probability
from pipeline.evaluation.limits import Limits
from pipeline.evaluation.metrics import Scores, count_verdicts, labels_of, part_scores
from pipeline.evaluation.predict import Infer, predict
from pipeline.evaluation.thresholds import Derived, derive_thresholds, prove

MAX_AUROC_DROP = 0.002
MIN_AGREEMENT = 0.995
MAX_FP32_DIFFERENCE = 1e-4
FULL_WELL = 10_000
"""Electrons that make a pixel white, as in the usual industrial sensors (Sony IMX250, IMX264). Their number varies by its square
root (EMVA 1288): 1.8 grey levels at medium brightness."""
SHOTS = 5


@dataclass(frozen=True)
class Reference:
    """What FP32 says of one split, and how often it says the same verdict again."""

    samples: Sequence[Sample]
    scores: Scores
    derived: Derived
    repeatability: float
    """Share of the same verdicts in two shots of the same part."""
    auroc_again: float | None
    """The lowest AUROC of those shots; None without both labels."""
    noise: float
    """Standard deviation of the difference of its log-odds between two shots."""


def refer(infer: Infer, spec: Preprocessing, samples: Sequence[Sample], derived: Derived) -> Reference:
    """Run FP32 on a split, and again as a camera would see the same parts SHOTS times more."""
    scores, shots = np.empty(len(samples)), np.empty((SHOTS, len(samples)))
    random = np.random.default_rng(0)
    for number, sample in enumerate(samples):
        picture = read_picture(sample.file)
        scores[number] = infer(letterbox(picture, spec)[None]).defect[0]
        shots[:, number] = infer(shoot(picture, spec, random)).defect
    odds = to_log_odds(shots)
    apart = odds - odds.mean(axis=0)  # what noise does to all shots alike is no matter of repetition
    again = to_probability(to_log_odds(scores) + apart)
    repeats = [agreement(*pair, derived.thresholds, derived.thresholds) for pair in combinations(again, 2)]
    aurocs = [_auroc(samples, shot) for shot in again]
    lowest = min((one for one in aurocs if one is not None), default=None)
    between = float(apart.std() * np.sqrt(2 * SHOTS / (SHOTS - 1)))  # the mean of so few is too near to each of them
    return Reference(samples, scores, derived, float(np.mean(repeats)), lowest, between)


def thinned(reference: Reference, most: int) -> Reference:
    """At most so many pictures, evenly over the scores; what FP32 is known to do stays."""
    order = np.argsort(reference.scores)
    chosen = np.sort(order[np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int)])
    return replace(reference, samples=[reference.samples[place] for place in chosen], scores=reference.scores[chosen])


def shoot(picture: Picture, spec: Preprocessing, random: np.random.Generator) -> Picture:
    """SHOTS letterboxed shots of a picture H x W x 3 with the noise of light.

    Shrinking adds up the electrons of pixels, so it is the letterboxed frame that gets noise, of as large a well. Bars get none.
    """
    top, left, height, width = letterbox_placement(picture.shape[0], picture.shape[1], spec)
    per_level = FULL_WELL * max(1.0, picture.shape[0] * picture.shape[1] / (height * width)) / 255
    electrons = fitted(picture.astype(np.float32), spec).clip(0, 255) * per_level
    frames = np.repeat(letterbox(picture, spec)[None], SHOTS, axis=0)
    seen = random.poisson(electrons, (SHOTS, *electrons.shape)) / per_level
    frames[:, top : top + height, left : left + width] = np.clip(np.rint(seen), 0, 255)
    return frames


def allowed_noise(fp32: Reference) -> float:
    """The noise in log-odds, as of independent errors, at which verdicts would just be expected to agree as the gate asks.

    Where FP32 itself decides nothing there are no verdicts to keep: a camera's noise is the measure then.
    """
    if fp32.derived.undecided:
        return fp32.noise
    ends = to_log_odds(np.array([fp32.derived.thresholds.accept, fp32.derived.thresholds.reject]))
    odds = to_log_odds(fp32.scores)[:, None]
    needed = needed_agreement(fp32)

    def kept(amount: float) -> float:
        inside = np.diff(norm.cdf((ends - odds) / amount), axis=1)[:, 0]  # REVIEW
        below, above = norm.cdf((ends[0] - odds[:, 0]) / amount), norm.sf((ends[1] - odds[:, 0]) / amount)
        place = (odds >= ends).sum(axis=1)
        return float(np.choose(place, (below, inside, above)).mean())

    amounts = np.geomspace(1e-4, 100, 1000)
    return float(max((amount for amount in amounts if kept(amount) >= needed), default=amounts[0]))


def agreement(ours: Scores, theirs: Scores, our: Thresholds, their: Thresholds) -> float:
    """Share of pictures with the same verdict."""
    return float(np.mean([decide(one, our) == decide(other, their) for one, other in zip(ours, theirs, strict=True)]))


def judge(
    engine: Engine, spec: Preprocessing, validation: Reference, test: Reference, limits: Limits, torch: Scores | None = None
) -> Judged:
    """A candidate's thresholds by its own answers on the validation groups, then its figures beside FP32's on the test groups.

    `torch` holds the trained model's scores of the test groups, FP32's where it is not given.
    """
    derived = rederive(validation, predict(validation.samples, spec, engine.infer), limits)
    scores = predict(test.samples, spec, engine.infer)
    evidence = compare(test, scores, derived.thresholds, torch)
    refused = refusal(evidence) or ""
    if not refused and test.derived.undecided and (amount := noise(scores, test.scores)) > test.noise:
        refused = (
            f"its answers differ from FP32's by {amount:.3f} in log-odds, at most {test.noise:.3f} expected, as from shot to shot"
        )
    promises = [str(promise) for promise in derived.promises]
    return Judged(thresholds=derived.thresholds, promises=promises, gate=evidence, refused=refused)


def rederive(validation: Reference, scores: Scores, limits: Limits) -> Derived:
    """Thresholds of a candidate with these scores N: FP32's, carried over to its scale, if they miss no more parts; else its own.

    A threshold lies at a part's score: derived anew from scores that differ in the fourth digit it may jump to the next part, and
    turn verdicts that nothing else turns.
    """
    theirs = validation.derived
    if theirs.undecided:
        return theirs
    parts, before = part_scores(validation.samples, scores), part_scores(validation.samples, validation.scores)
    thresholds = carried_over(theirs.thresholds, *scale(scores, validation.scores))
    ours, fp32 = count_verdicts(parts, thresholds), count_verdicts(before, theirs.thresholds)
    now, then = prove(parts, thresholds, limits), prove(before, theirs.thresholds, limits)
    misses_more = ours.escape.count > fp32.escape.count or ours.overkill.count > fp32.overkill.count
    if misses_more or any(one.errors > other.errors for one, other in zip(now, then, strict=True)):
        return derive_thresholds(parts, limits)
    kept = [one.model_copy(update={"errors": found.errors}) for one, found in zip(theirs.promises, now, strict=True)]
    return Derived(thresholds, tuple(kept))


def scale(ours: Scores, theirs: Scores) -> tuple[float, float]:
    """Slope and offset of our log-odds over theirs: rounding shifts all answers a little, as any noise does."""
    if not np.ptp(theirs):
        return 0.0, float(to_log_odds(ours).mean())
    slope, offset = np.polyfit(to_log_odds(theirs), to_log_odds(ours), 1)
    return float(slope), float(offset)


def noise(ours: Scores, theirs: Scores) -> float:
    """What our log-odds do not tell of theirs: the standard deviation that is left when ours are carried over to their scale."""
    slope, offset = scale(theirs, ours)
    return float((to_log_odds(theirs) - slope * to_log_odds(ours) - offset).std())


def carried_over(thresholds: Thresholds, slope: float, offset: float) -> Thresholds:
    """Where thresholds lie on another scale; those at 0 and 1 stay there."""
    ends = np.array([thresholds.accept, thresholds.reject])
    moved = to_probability(slope * to_log_odds(ends) + offset)
    accept, reject = sorted(float(one) for one in np.where((ends > 0) & (ends < 1), moved, ends))
    return Thresholds(accept=accept, reject=reject)


def compare(fp32: Reference, scores: Scores, thresholds: Thresholds, torch: Scores | None = None) -> GateEvidence:
    """Figures of a candidate's scores N at its thresholds, beside FP32's on the same pictures."""
    theirs = fp32.derived.thresholds
    return GateEvidence(
        pictures=len(fp32.samples),
        auroc=_auroc(fp32.samples, scores),
        auroc_fp32=_auroc(fp32.samples, fp32.scores),
        auroc_again=fp32.auroc_again,
        agreement=agreement(scores, fp32.scores, thresholds, theirs),
        repeatability=fp32.repeatability,
        escapes=count_verdicts(part_scores(fp32.samples, scores), thresholds).escape.count,
        escapes_fp32=count_verdicts(part_scores(fp32.samples, fp32.scores), theirs).escape.count,
        max_difference=float(np.abs(scores - (fp32.scores if torch is None else torch)).max()),
    )


def _auroc(samples: Sequence[Sample], scores: Scores) -> float | None:
    from sklearn.metrics import roc_auc_score

    truth = labels_of(samples)
    return float(roc_auc_score(truth, scores)) if truth.any() and not truth.all() else None


def needed_agreement(known: GateEvidence | Reference) -> float:
    """The share of verdicts that have to agree with FP32's, which repeats no more than its `repeatability`."""
    return min(MIN_AGREEMENT, known.repeatability)


def refusal(evidence: GateEvidence) -> str | None:
    """Why the evidence does not pass the gate, in one sentence; None when it passes."""
    reasons = []
    if evidence.auroc is not None and evidence.auroc_fp32 is not None:
        least = evidence.auroc_fp32 - MAX_AUROC_DROP
        least = least if evidence.auroc_again is None else min(least, evidence.auroc_again)
        if evidence.auroc < least:
            reasons.append(f"AUROC {evidence.auroc:.4f} against {evidence.auroc_fp32:.4f} in FP32 (at least {least:.4f} needed)")
    if not evidence.agreement >= needed_agreement(evidence):  # also where it is not a number
        itself = ", as often as FP32 with itself from shot to shot" if evidence.repeatability < MIN_AGREEMENT else ""
        needed = f"at least {needed_agreement(evidence):.1%}{itself}"
        reasons.append(f"{evidence.agreement:.1%} of verdicts agree with FP32 ({needed})")
    if evidence.escapes > evidence.escapes_fp32:
        reasons.append(f"{evidence.escapes} escapes against {evidence.escapes_fp32} in FP32")
    return "; ".join(reasons) or None

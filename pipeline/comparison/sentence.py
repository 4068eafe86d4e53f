"""The comparison in a sentence: which arm wins, and whether that can be told at all."""

from collections.abc import Sequence

from pipeline.comparison.paired import Difference
from pipeline.comparison.result import ArmResult, Comparison, Pair

HARM = "the source weights harm here: use --from-scratch, or another source (pipeline sources)"


def verdict(comparison: Comparison) -> str:
    """Which arm wins and whether the difference is real; where transfer is really worse than from scratch, that it harms."""
    point = comparison.whole
    best, pairs = point.best, point.versus_best
    by_name = {one.arm.name: one for one in point.arms}
    beaten = [pair for pair in pairs if pair.auroc.real]
    untold = [pair for pair in pairs if not pair.auroc.real]
    harmed = [pair for pair in beaten if best.arm.from_scratch and not by_name[pair.arm].arm.from_scratch]
    if pairs[0].auroc.p is None:
        text = (
            f"no difference can be told: a fold tests on fewer than two groups of a class, and {comparison.defective_groups} "
            f"defective groups are too few for {comparison.folds} folds"
        )
    elif len(pairs) == 1:
        text = _two(comparison, best, by_name[pairs[0].arm], pairs[0], harmful=bool(harmed))
    elif not beaten:
        text = (
            f"no winner can be told from these {comparison.defective_groups} defective groups: {best.arm.name} is ahead with "
            f"AUROC {best.auroc.value:.2f}, but not really above {_names(untold)}"
        )
    else:
        text = f"{best.arm.name} has the highest AUROC, {best.auroc.value:.2f}: really above {_gaps(beaten)}"
        text += f"; no difference to {_names(untold)} can be told" if untold else ""
    if len(pairs) > 1 and harmed:
        text += f"; negative transfer: {best.arm.name} is BETTER than {_names(harmed)}: {HARM}"
    return text + _other_figure(pairs)


def _two(comparison: Comparison, best: ArmResult, other: ArmResult, pair: Pair, harmful: bool) -> str:
    against = f"AUROC {best.auroc.value:.2f} against {other.auroc.value:.2f}"
    if not pair.auroc.real:
        return (
            f"no difference between {best.arm.name} and {other.arm.name} can be told from these {comparison.defective_groups} "
            f"defective groups: {against} ({_gap(pair.auroc)})"
        )
    told = f"{against}, and the difference ({_gap(pair.auroc)}) is real"
    if harmful:
        return f"negative transfer: {best.arm.name} is BETTER than {other.arm.name}: {told}; {HARM}"
    return f"{best.arm.name} wins over {other.arm.name}: {told}"


def _other_figure(pairs: Sequence[Pair]) -> str:
    """Average precision may say the opposite."""
    torn = [pair for pair in pairs if pair.average_precision.real and pair.average_precision.value > 0]
    return f"; by average precision {_names(torn)} is better" if torn else ""


def _names(pairs: Sequence[Pair]) -> str:
    return ", ".join(pair.arm for pair in pairs)


def _gaps(pairs: Sequence[Pair]) -> str:
    return ", ".join(f"{pair.arm} ({_gap(pair.auroc)})" for pair in pairs)


def _gap(less: Difference) -> str:
    """The best arm's lead: the pair is the other less the best."""
    if less.low is None or less.high is None:
        return f"{-less.value:+.2f}"
    return f"{-less.value:+.2f}, {-less.high:.2f} to {-less.low:.2f}"

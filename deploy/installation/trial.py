"""One model in one engine on this device: opened, and its answers to the golden pictures held against the lab's."""

from collections.abc import Callable

from deploy.bundle import Bundle
from deploy.bundle_spec import PRECISIONS
from deploy.engines import RUNTIMES, Engine, open_engine
from deploy.errors import BundleError, EngineError
from deploy.installation.choice import Outcome, PairFound
from deploy.selftest import ask_golden, mismatch, other_verdicts


def pairs_of(bundle: Bundle) -> list[tuple[str, str]]:
    """Every model of the bundle with every engine there is, the plainest first."""
    return [(precision, runtime) for runtime in RUNTIMES for precision in PRECISIONS if precision in bundle.spec.models]


def passed(bundle: Bundle, runtime: str) -> list[str]:
    """The bundle's models that the lab passed in this engine. Raises BundleError when there is none."""
    found = [name for name in PRECISIONS if name in bundle.spec.models and not _refusal(bundle, name, runtime)]
    if not found:
        raise BundleError(f"no model of {bundle.path} passed the gate in {runtime}; choose another engine")
    return found


def _refusal(bundle: Bundle, precision: str, runtime: str) -> str:
    try:
        bundle.judged(precision, runtime)
    except BundleError as error:
        return str(error)
    return ""


def try_pair(
    bundle: Bundle, precision: str, runtime: str, threads: int | None = None, opener: Callable[..., Engine] = open_engine
) -> tuple[PairFound, Engine | None]:
    """What the golden pictures show of this pair, and its engine where it agrees with the lab. One that fails raises nothing."""

    def refused(outcome: Outcome, reason: str, engine: str = "") -> tuple[PairFound, None]:
        return PairFound(precision=precision, runtime=runtime, outcome=outcome, refused=reason, engine=engine), None

    if reason := _refusal(bundle, precision, runtime):
        return refused("not passed in the lab", reason)
    try:
        engine = opener(bundle, precision, runtime, threads)
    except EngineError as error:
        return refused("cannot run here", str(error))
    try:
        tested = ask_golden(bundle, engine, precision)
    except EngineError as error:
        return refused("failed", str(error), engine.name)
    thresholds = bundle.judged(precision, runtime).thresholds
    other = other_verdicts(tested, bundle.model(precision).golden, thresholds)
    reason = "" if tested.alike else mismatch(tested, engine, precision)
    if other and not reason:
        reason = (
            f"{other} of {tested.pictures} golden pictures get another verdict from {engine.name} than from the lab's answers; "
            "use another precision, or export on this version of the engine"
        )
    found = PairFound(
        precision=precision,
        runtime=runtime,
        outcome="differs" if reason else "agrees",
        refused=reason,
        engine=engine.name,
        pictures=tested.pictures,
        other_verdicts=other,
        difference=tested.max_difference,
        tolerance=tested.tolerance,
    )
    return found, None if reason else engine

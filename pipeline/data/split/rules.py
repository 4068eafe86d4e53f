"""The rules a split is made by, as manifest.json names them: group, brought, time:COLUMN, slice:COLUMN=VALUE, fold:1of5."""

from collections.abc import Mapping, Sequence

from deploy.errors import DatasetError, RunError
from pipeline.data.sample import Sample, Split
from pipeline.data.split import SHARES, group_units, spread
from pipeline.data.split.grow import Rule
from pipeline.data.split.holdout import split_by_slice, split_by_time
from pipeline.data.split.leaks import refuse_leaks


def describe_rule(rule: str) -> str:
    """The rule in words, after "split"."""
    kind, _, rest = rule.partition(":")
    words = {
        "group": "by group",
        "brought": "as the dataset brings it",
        "time": f"by time ({rest})",
        "slice": f"with the slice {rest} as its test part",
        "fold": f"by group, fold {rest.replace('of', ' of ')}",
    }
    if kind not in words:
        raise RunError(
            f"a split by the rule {rule!r}; expected one of: {', '.join(words)}; use the version of the pipeline that made it, "
            "or split afresh with --fresh"
        )
    return words[kind]


def rule_of(rule: str, seed: int) -> Rule:
    """The function behind a rule's name."""
    kind, _, rest = rule.partition(":")
    if kind == "group":
        return lambda samples, placed: spread(samples, seed, SHARES, placed)
    if kind == "brought":
        return _as_brought
    if kind == "time":
        return lambda samples, placed: split_by_time(samples, rest, placed)
    if kind == "slice":
        column, _, value = rest.partition("=")
        return lambda samples, placed: split_by_slice(samples, column, value, seed, placed)
    raise DatasetError(f"the version was split {describe_rule(rule)}, which nothing grows from; split afresh with --fresh")


def _as_brought(samples: Sequence[Sample], placed: Mapping[str, Split]) -> dict[str, Split]:
    unit = group_units(samples)
    chosen = dict(placed)
    new = [sample for sample in samples if unit[sample.group] not in placed]
    refuse_leaks(new, "correct the split the dataset brings, or split afresh by group with --fresh")
    for sample in new:
        if not sample.split:
            raise DatasetError(
                f"the version keeps the split the dataset brought, and now it brings none (first: {sample.path}); add it, or "
                "split afresh by group with --fresh"
            )
        chosen[unit[sample.group]] = sample.split
    return chosen

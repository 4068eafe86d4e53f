"""Finds pictures that are tested on although a sibling of theirs is learned from, and puts it into words."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from deploy.errors import DatasetError
from pipeline.data.groups import is_guessed
from pipeline.data.sample import Sample, Split

Reason = Literal["group", "same file", "look-alike"]
FORBIDDEN: Mapping[Split, tuple[Split, ...]] = {"test": ("train", "validation"), "validation": ("train",)}
"""Part -> the parts that must hold no sibling of its pictures."""
WORDS: Mapping[Reason, str] = {"group": "of the same group", "same file": "byte-identical", "look-alike": "look-alikes"}


@dataclass(frozen=True)
class Leak:
    """A picture with a sibling in a part of the split that must know nothing of it."""

    test: str
    """Path of the test or validation picture."""
    train: str
    """Path of one sibling in the part it must not be in."""
    reason: Reason
    part: Split
    """Where `test` is: test or validation."""
    sibling_part: Split
    """Where `train` is: train; or validation, which thresholds are chosen on, for a test picture with no sibling in training."""


def leaks(samples: Sequence[Sample], look_alikes: Mapping[str, Hashable] | None = None) -> list[Leak]:
    """Every validation or test picture that has a sibling in training, and test pictures that have one in validation.

    Siblings are of one group, byte-identical, or in one cluster of `look_alikes` (path -> cluster). One leak per picture, in the
    order of `samples`: training before validation, and the strongest reason first. A group that was guessed counts as look-alike.
    """
    found = []
    first: dict[tuple[Split, Reason, Hashable], str] = {}
    for sample in sorted(samples, key=lambda sample: sample.path):
        for reason, kin in _kin(sample, look_alikes):
            if sample.split:
                first.setdefault((sample.split, reason, kin), sample.path)
    for sample in samples:
        part = sample.split
        if part == "test" or part == "validation":
            found += [
                Leak(sample.path, sibling, reason, part, sibling_part)
                for sibling_part in FORBIDDEN[part]
                for reason, kin in _kin(sample, look_alikes)
                if (sibling := first.get((sibling_part, reason, kin)))
            ][:1]
    return found


def _kin(sample: Sample, look_alikes: Mapping[str, Hashable] | None) -> list[tuple[Reason, Hashable]]:
    """What the sample shares with its siblings, the surest first."""
    kin: list[tuple[Reason, Hashable]] = []
    if sample.sha256:
        kin.append(("same file", sample.sha256))
    if sample.group:
        kin.append(("look-alike" if is_guessed(sample) else "group", f"group {sample.group}"))
    if look_alikes and sample.path in look_alikes:
        kin.append(("look-alike", look_alikes[sample.path]))
    return kin


def count_leaks(samples: Sequence[Sample], found: Sequence[Leak]) -> str:
    """How many pictures leak where, and why: "212 of 240 test pictures have a sibling in training (12 byte-identical)"."""
    reasons: dict[tuple[Split, Split], Counter[Reason]] = defaultdict(Counter)
    for leak in found:
        reasons[leak.part, leak.sibling_part][leak.reason] += 1
    total = Counter(sample.split for sample in samples)
    return ", ".join(
        f"{why.total()} of {total[part]} {part} pictures have a sibling in {'training' if sibling == 'train' else sibling} "
        f"({', '.join(f'{count} {WORDS[reason]}' for reason, count in why.most_common())})"
        for (part, sibling), why in sorted(reasons.items())
    )


def leakage_warning(samples: Sequence[Sample]) -> str:
    """The sentence a split that leaks carries into every report; empty when it does not leak."""
    found = leaks(samples)
    if not found:
        return ""
    return f"LEAKAGE ALLOWED: {count_leaks(samples, found)}: the test knows what was learned, so the figures flatter the network."


def refuse_leaks(samples: Sequence[Sample], advice: str) -> None:
    """Raise DatasetError when the split leaks, with numbers, one pair by name, and `advice`."""
    found = leaks(samples)
    if found:
        first = found[0]
        raise DatasetError(
            f"the split leaks: {count_leaks(samples, found)}; first: {first.test} ({first.part}) and {first.train} "
            f"({first.sibling_part}), {WORDS[first.reason]}; {advice}"
        )

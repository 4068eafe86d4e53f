"""One line of `inspector doctor`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """What was looked at, what was found, and what to do for more."""

    what: str
    found: str
    todo: str = ""
    """Empty where nothing is amiss."""

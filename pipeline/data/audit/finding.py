"""What every check of the audit gives: findings for people, figures for audit.json."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.data.lookalikes import LookAlikes
from pipeline.data.sample import Sample
from pipeline.data.survey import Skipped
from pipeline.data.survey.facts import Facts

Severity = Literal["error", "warning", "note"]
EXIT_CODES: Mapping[Severity, int] = {"note": 0, "warning": 1, "error": 2}


@dataclass(frozen=True)
class Shown:
    """A picture in the report."""

    file: Path
    caption: str


@dataclass(frozen=True)
class Finding:
    """One thing the engineer should know."""

    severity: Severity
    what: str
    """In one sentence, with its numbers."""
    advice: str = ""
    """What to do about it."""
    rows: tuple[tuple[Shown, ...], ...] = ()
    """Pictures that show it; those of a row belong together."""


@dataclass(frozen=True)
class Checked:
    """What one check found."""

    findings: tuple[Finding, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Keys of audit.json."""


@dataclass(frozen=True)
class Material:
    """What the checks work on: a dataset, every readable picture of it measured and grouped."""

    source: Path
    name: str
    groups_from: str
    groups_are_named: bool
    """Somebody said which pictures show one part."""
    notes: tuple[str, ...]
    """What to know of how the dataset was read."""
    samples: tuple[Sample, ...]
    """The readable ones, with groups, and with the split that training would use."""
    facts: tuple[Facts, ...]
    skipped: tuple[Skipped, ...]
    bad_masks: tuple[Skipped, ...]
    look_alikes: LookAlikes
    features: npt.NDArray[np.float16] | None
    """N x D by a frozen backbone, where weights are at hand."""
    split_is_brought: bool

    def file(self, path: str) -> Path:
        """Where the picture of that relative path lies."""
        return self._files[path]

    @cached_property
    def _files(self) -> dict[str, Path]:
        return {sample.path: sample.file for sample in self.samples}

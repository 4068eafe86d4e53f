"""One picture and what is known of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Label = Literal["good", "defective"]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Sample:
    """One picture with its label, defect type, group and origin."""

    origin: str
    """The dataset folder it came from."""
    path: str
    """Relative to `origin`, with forward slashes."""
    label: Label
    defect_type: str = ""
    """Empty for good pictures."""
    group: str = ""
    """What must never be split between training and test: a part, a serial number, a burst, a shift."""
    mask: str = ""
    """Relative to `origin`; empty where there is none."""
    split: Split | Literal[""] = ""
    sha256: str = ""
    mask_sha256: str = ""
    """Of what the mask is read from; empty where there is no mask."""
    slices: tuple[tuple[str, str], ...] = ()
    """What else is known of it, sorted by column: ("camera", "2"), ("time", "2026-03-01T10:20:00")."""

    @property
    def file(self) -> Path:
        """Where the picture lies."""
        return Path(self.origin) / self.path

    @property
    def mask_file(self) -> Path | None:
        """Where its defect mask lies, if it has one."""
        return Path(self.origin) / self.mask if self.mask else None

    @property
    def part(self) -> str:
        """What rates are counted over: the pictures of one group with one label."""
        return f"{self.group}|{self.label}"

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
    """What tells where the defect is, relative to `origin`; empty where nothing does: see `pipeline.data.masks`."""
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
        """The file that tells where its defect is, if there is one: see `pipeline.data.masks`."""
        file, coco, _ = self.mask.partition(".json#")
        return Path(self.origin) / (file + ".json" if coco else self.mask) if self.mask else None

    @property
    def mask_entry(self) -> str:
        """Which picture of a COCO file `mask` names: "17" of annotations/instances.json#17. Empty for all other files."""
        return self.mask.partition(".json#")[2]

    @property
    def part(self) -> str:
        """What rates are counted over: the pictures of one group with one label."""
        return f"{self.group}|{self.label}"

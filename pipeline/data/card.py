"""`dataset.yaml`: what a dataset says of itself."""

from functools import lru_cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy.errors import DatasetError

GOOD_NAMES = frozenset({"good", "ok", "normal", "pass", "perfect"})
DEFECTIVE_NAMES = frozenset({"defective", "defect", "bad", "ng", "nok", "anomaly", "anomalous", "fail"})


class Card(BaseModel):
    """`dataset.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None = Field(None, description="name in reports and run folders; default: the folder's name")
    licence: str | None = None
    description: str | None = None
    group_regex: str | None = Field(None, description="applied to the relative path; its first capture group is the group")
    good: list[str] = Field(default_factory=list, description="names of folders and categories that count as good, too")
    slices: list[str] | None = Field(None, description="which further columns of the table to keep; default: all of them")

    def is_good(self, name: str) -> bool:
        """Does a class folder, a label or an annotated category of this name mean a good part?"""
        return name.lower() in GOOD_NAMES or name.lower() in {good.lower() for good in self.good}


def read_card(root: Path) -> Card:
    """The card of a dataset folder, an empty one where there is none. Raises DatasetError for one that cannot be used."""
    file = root / "dataset.yaml"
    if not file.is_file():
        return Card()
    about = file.stat()
    return _read(file, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=16)
def _read(file: Path, changed: int, size: int) -> Card:
    try:
        return Card.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    except ValidationError as error:
        first = error.errors()[0]
        raise DatasetError(
            f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}; see datasets/README.md for its keys"
        ) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise DatasetError(f"{file} is no YAML: {str(error).splitlines()[0]}; see datasets/README.md for its keys") from error

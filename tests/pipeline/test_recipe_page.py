"""docs/recipe.md tells every key of the recipe as the code has it."""

from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.data.augment.settings import Augmentation
from pipeline.training.recipe import Recipe

PAGE = Path(__file__).parents[2] / "docs" / "recipe.md"
LEFT_OUT = {"augmentation", "source"}


def rows(settings: type[BaseModel]) -> list[str]:
    return [_row(name, field) for name, field in settings.model_fields.items() if name not in LEFT_OUT]


def _row(name: str, field: FieldInfo) -> str:
    choices = [one for one in get_args(field.annotation) if isinstance(one, str | int) and not isinstance(one, type)]
    told = ", ".join(f"`{one}`" for one in choices)
    text = "; ".join(part for part in (field.description or "", told) if part)
    return f"| `{name}` | {_value(field.default)} | {text} |"


def _value(default: Any) -> str:
    if default is None:
        return "none"
    return ("on" if default else "off") if isinstance(default, bool) else str(default)


def test_the_page_tells_every_key() -> None:
    page = PAGE.read_text(encoding="utf-8").splitlines()
    for settings in (Recipe, Augmentation):
        missing = [row for row in rows(settings) if row not in page]
        assert not missing, "docs/recipe.md lacks:\n" + "\n".join(missing)

"""Which key does what: one table for the window's buttons, the terminal and a script."""

import re
from dataclasses import dataclass
from enum import Enum

GOOD = "good"
DEFECTIVE = "defective/defective"
"""Folder of defective pictures whose type nobody named."""
MOST_TYPES = 9
_END = frozenset({"\x1b", "\x04"})  # Esc; and Ctrl-D, which a terminal without line editing hands over as it is
_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|[^\x1b])")


class Command(Enum):
    """What a key does besides taking a picture."""

    NEXT = "next part"
    UNDO = "undo"
    SKIP = "skip"
    END = "end"


@dataclass(frozen=True)
class Key:
    """One key, its button's text, and what it does: take a picture into a class folder, or a command."""

    key: str
    text: str
    does: str | Command
    """A class folder below the collection, such as `defective/scratch`, or a command."""


def parse_types(text: str) -> tuple[str, ...]:
    """Defect types from `scratch,dent`. Raises ValueError saying which name cannot be a folder, or that there are too many."""
    types = tuple(part.strip() for part in text.split(","))
    if len(types) > MOST_TYPES:
        raise ValueError(f"found {len(types)} types; at most {MOST_TYPES} have a key, 1 to {MOST_TYPES}")
    for name in types:
        if not re.fullmatch(r"\w[\w .-]{0,39}", name) or name.endswith("."):
            raise ValueError(f"{name!r} cannot be a defect type; use letters, digits, -, _ and spaces, such as scratch,dent")
        if name.lower() == GOOD:
            raise ValueError(f"{name!r} is no defect type: the key g is for good pictures")
    if len({name.lower() for name in types}) < len(types):
        raise ValueError(f"found the same type twice in {text!r}; name each once")
    return types


def keys_for(types: tuple[str, ...], steps: bool) -> tuple[Key, ...]:
    """The keys of a session; `steps`: the source waits for us, so that pictures can be skipped."""
    skip = (Key("s", "skip", Command.SKIP),) if steps else ()
    return (
        Key("g", "good", GOOD),
        Key("d", "defective", DEFECTIVE),
        *(Key(str(number), name, f"defective/{name}") for number, name in enumerate(types, start=1)),
        Key("n", "next part", Command.NEXT),
        Key("u", "undo", Command.UNDO),
        *skip,
        Key("q", "end", Command.END),
    )


def find(keys: tuple[Key, ...], pressed: str) -> Key | None:
    """The key that was pressed, whatever Caps Lock says; Esc and Ctrl-D end. None when it does nothing."""
    name = "q" if pressed in _END else pressed.lower()
    return next((key for key in keys if key.key == name), None)


def typed(chunk: str) -> list[str]:
    """The keys in what a terminal or a script sent: arrow and function keys are no Esc, white space only separates."""
    return [key for key in _ESCAPE_SEQUENCE.sub("", chunk) if not key.isspace()]

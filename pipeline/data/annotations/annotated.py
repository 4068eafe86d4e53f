"""One annotation file of one picture."""

from dataclasses import dataclass

from pipeline.data.annotations.shapes import Mark


@dataclass(frozen=True)
class Annotated:
    """What an annotation file says of a picture."""

    picture: str
    """The picture's name as the file tells it, without folders; empty where it does not."""
    width: int
    """0 where the file does not tell."""
    height: int
    marks: tuple[Mark, ...]
    flags: tuple[str, ...] = ()
    """What is ticked of the picture as a whole."""

"""What can be made of a frame before its turn comes, on the thread that read it, while the engine is at the frame before it."""

from dataclasses import dataclass

from deploy.cameras import Frame
from deploy.inspector.judge import Judge
from deploy.preprocess import Picture


@dataclass(frozen=True)
class Ahead:
    """Of one region, all of which is one part."""

    picture: Picture
    """Its pixels, H x W x 3 BGR."""
    letterboxed: Picture
    """These as the judge's graph takes them."""


@dataclass(frozen=True)
class Prepared(Frame):
    """A frame with what was made of it, by region and for one judge: another one may want another size."""

    judge: Judge
    ahead: dict[str, Ahead]


def plain(frame: Frame | None) -> Frame | None:
    """The frame without what was made of it: whoever holds it for long would hold that, too, and its judge's engine."""
    if not isinstance(frame, Prepared):
        return frame
    return Frame(frame.picture, frame.captured_at, frame.sequence, frame.name)


def ahead_of(frame: Frame, region: str, judge: Judge) -> Ahead | None:
    """What was made of this frame for this region and judge, if it was."""
    return frame.ahead.get(region) if isinstance(frame, Prepared) and frame.judge is judge else None

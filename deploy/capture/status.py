"""What an interface shows, in words, and what it must be able to do."""

from dataclasses import dataclass
from typing import Protocol

from deploy.capture.in_hand import InHand
from deploy.capture.labelling import Labelling, Message, counted
from deploy.preprocess import Picture


@dataclass(frozen=True)
class Status:
    """What the user must know before pressing the next key."""

    part: str
    """The current part and its pictures."""
    counts: str
    """All pictures of the folder by class."""
    picture: str
    """Which picture is in hand and how sharp it is, or why there is none."""
    ready: bool
    """May a picture be taken now?"""
    last: Message
    """What the last key did."""


class Interface(Protocol):
    """A window, a terminal or a script."""

    scripted: bool
    """Nobody watches: a key waits for its picture, and a lost camera ends the session."""

    def next_key(self, picture: Picture | None, status: Status) -> str | None:
        """Show this, wait a moment for a key, and return it; None when none was pressed."""


def status_of(labelling: Labelling, in_hand: InHand, last: Message) -> Status:
    """The status as it is now."""
    if in_hand.trouble:
        picture = f"NO PICTURE: {in_hand.trouble}"
    elif in_hand.ended and not in_hand.fresh:
        picture = NO_MORE
    elif in_hand.shown is None:
        picture = "waiting for the first picture"
    else:
        picture = f"sharpness {int(in_hand.sharpness)}  {in_hand.shown.name}"
    every = f"in all: {counted(labelling.collection.counts()) or 'no pictures'}"
    return Status(labelling.part_line(), every, picture, in_hand.fresh, last)


NO_MORE = "there are no more pictures"

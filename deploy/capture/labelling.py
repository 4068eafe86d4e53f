"""The rules of a session: what each key does to the collection, and what there is to tell about it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from deploy.cameras import Frame
from deploy.capture.collection import Collection
from deploy.capture.keys import GOOD
from deploy.errors import DatasetError


@dataclass(frozen=True)
class Taken:
    """One picture of this session."""

    file: str
    kind: str
    """Its class folder: `good` or `defective/<type>`."""
    part: int
    group: str
    sequence: int
    """Which frame of the source it was."""


@dataclass(frozen=True)
class Message:
    """What the last key did; an alarm when it did not do what was asked."""

    text: str
    alarm: bool = False


class Labelling:
    """One session on one collection. Pictures belong to the current part until the next one begins."""

    def __init__(self, collection: Collection, min_sharpness: float = 0) -> None:
        self.collection = collection
        self.part = 1
        self.taken: list[Taken] = []
        self.not_done: list[str] = []
        """Why keys were not carried out, where nobody may have seen it: one reason for each."""
        self._min_sharpness = min_sharpness

    def take(self, frame: Frame, kind: str, sharpness: float) -> tuple[Message, bool]:
        """Save this frame under its label, unless it is less sharp than the limit; also tells whether the frame is done with."""
        if sharpness < self._min_sharpness:
            text = f"refused: sharpness {int(sharpness)} of {frame.name} is below {self._min_sharpness:g}"
            return Message(text, alarm=True), True
        part = self._of_part()
        group = part[-1].group if part else self.collection.name_group(self.part)
        try:
            file = self.collection.add(frame.picture, kind, group)
        except DatasetError as error:
            self.not_done.append(str(error))
            return Message(f"NOT SAVED: {error}", alarm=True), False
        self.taken.append(Taken(file, kind, self.part, group, frame.sequence))
        return Message(f"{short(kind)}: {file}"), True

    def next_part(self) -> Message:
        """Begin the next part; a part without pictures is none and keeps its number."""
        if not self._of_part():
            return Message(f"part {self.part} has no pictures yet", alarm=True)
        self.part += 1
        return Message(f"part {self.part} begins")

    def undo(self) -> tuple[Message, Taken | None]:
        """Take back the session's last picture and return to its part, so that taking it anew does not make it another part."""
        if not self.taken:
            return Message("nothing to undo in this session", alarm=True), None
        last = self.taken[-1]
        try:
            self.collection.remove(last.file)
        except DatasetError as error:
            self.not_done.append(str(error))
            if (self.collection.folder / last.file).exists():
                return Message(f"NOT UNDONE: {error}", alarm=True), None
        self.taken.pop()
        self.part = last.part
        return Message(f"undone: {last.file}; this is part {self.part} again"), last

    def part_line(self) -> str:
        """The current part in words: `part 3: 2 good, 1 scratch (good and defective)`."""
        kinds = Counter(one.kind for one in self._of_part())
        if not kinds:
            return f"part {self.part}: no pictures yet"
        mixed = " (good and defective)" if 0 < kinds[GOOD] < kinds.total() else ""
        return f"part {self.part}: {counted(kinds)}{mixed}"

    def summary(self) -> str:
        """What this session took and what there is to do with it."""
        folder, taken = self.collection.folder, self.taken
        if not taken:
            return f"no pictures were taken; {folder} is as it was"
        kinds = Counter(one.kind for one in taken)
        defective = len(taken) - kinds[GOOD]
        types = f" ({counted(kind for kind in kinds.elements() if kind != GOOD)})" if defective else ""
        every = sum(self.collection.counts().values())
        total = f", now {every} in all" if every != len(taken) else ""
        pictures, parts = _plural(len(taken), "picture"), _plural(len({one.group for one in taken}), "part")
        return (
            f"{pictures} of {parts}: {kinds[GOOD]} good, {defective} defective{types} in {folder}{total}; "
            f"next: pipeline audit {folder}"
        )

    def _of_part(self) -> list[Taken]:
        return [one for one in self.taken if one.part == self.part]


def counted(kinds: Iterable[str] | Mapping[str, int]) -> str:
    """Class folders with their numbers in words, good first: `8 good, 3 scratch`."""
    counts = Counter(kinds)
    return ", ".join(f"{counts[kind]} {short(kind)}" for kind in sorted(counts, key=lambda kind: (kind != GOOD, kind)))


def short(kind: str) -> str:
    """A class folder as people say it: `scratch` for `defective/scratch`."""
    return kind.removeprefix("defective/")


def _plural(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"

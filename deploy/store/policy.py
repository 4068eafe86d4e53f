"""Which pictures are worth keeping. This half runs in the loop: it keeps references, copies nothing and encodes nothing."""

import time
from collections import OrderedDict, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from deploy.cameras import Frame
from deploy.inspector.part import PartResult
from deploy.inspector.step import Step
from deploy.store.rows import Kept, Place
from deploy.verdict import Verdict

MB = 1_000_000
IN_SIGHT = 32
"""Parts whose worst picture is held until their verdict is final; beyond that the one not seen for longest is let go."""
SUSPECT = (Verdict.REVIEW, Verdict.DEFECTIVE)
"""All of these parts' pictures are kept."""
FAULT_EVERY_S = 60.0
"""A fault of one kind that comes again sooner gets no pictures: an engine that fails on every frame would fill the disk."""


@dataclass(frozen=True)
class Policy:
    """Which pictures are kept, and how much disk and memory they may take."""

    good_every: int = 100
    """One in so many good parts; 0 keeps none. All that are defective or for review are kept."""
    before_fault: int = 5
    """Frames kept from just before a fault; the first one after it is kept too."""
    held_bytes: int = 48 * MB
    """Pictures in memory that may become worth keeping: from before a fault, and the worst of each part in sight. The cameras
    share it evenly; beyond that those from before a fault are let go first, and last the worst of parts that look defective."""
    quota_bytes: int = 10_000 * MB
    """All pictures together. The oldest good ones make room for others, and only then the oldest of the others."""
    floor_bytes: int = 1_000 * MB
    """Free space that pictures leave on the disk: the record itself and the system need it."""
    waiting_bytes: int = 48 * MB
    """Pictures in memory that wait for the disk; beyond that they are dropped and counted."""
    quality: int = 95
    """Of the JPEG files, 1 to 100."""


@dataclass(frozen=True, eq=False)
class Shot:
    """A picture worth keeping, of a part or fault that was given the number `record`."""

    record: int
    place: Place
    number: int
    """The part's, or the fault's."""
    kind: str
    """good, review, defective, before or after."""
    frame: Frame
    at: str


class Choice:
    """Chooses from what the loop reports. Frames are held by reference, so their pictures must not be painted over."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._at: dict[str, dict[Place, _Watch]] = {}
        """By camera: its regions look at the same pictures."""

    def choose(self, step: Step, place: Place, rows: Sequence[Kept], at: str) -> tuple[list[Shot], int]:
        """The pictures to keep now, the most telling first, and how many should have been kept but had been let go.

        `rows` are those of the step's parts and faults, in this order.
        """
        watches = self._at.setdefault(place.camera, {})
        watch = watches.setdefault(place, _Watch())
        records = [row.record for row in rows]
        shots, missed = [], 0
        if step.frame is not None:
            if watch.awaited is not None and not step.faults:
                record, number = watch.awaited
                shots.append(Shot(record, place, number, "after", step.frame, at))
                watch.awaited = None
            watch.remember(step, self._policy.before_fault)
        for part, record in zip(step.parts, records, strict=False):
            frame, _ = watch.worst.pop(part.part, (None, None))
            if not self._is_wanted(part, watch):
                continue
            if frame is None:
                missed += 1
            else:
                shots.append(Shot(record, place, part.part, part.verdict.value.lower(), frame, part.at))
        now = time.monotonic()
        for fault, record in zip(step.faults, records[len(step.parts) :], strict=False):
            if now - watch.faulted.get(fault.kind, float("-inf")) < FAULT_EVERY_S:
                continue
            watch.faulted[fault.kind] = now
            watch.awaited = record, fault.number
            shots += [Shot(record, place, fault.number, "before", frame, fault.at) for frame in watch.recent]
            watch.recent.clear()
        _let_go(watches.values(), self._policy.held_bytes // len(self._at))
        return shots, missed

    def _is_wanted(self, part: PartResult, watch: "_Watch") -> bool:
        if part.verdict is not Verdict.GOOD:
            return part.verdict is not Verdict.FAULT  # whose pictures are those around the fault
        watch.good += 1
        return self._policy.good_every > 0 and (watch.good - 1) % self._policy.good_every == 0


class _Watch:
    """What is held of one region of one camera."""

    def __init__(self) -> None:
        self.good = 0
        self.worst: OrderedDict[int, tuple[Frame, Verdict]] = OrderedDict()
        """Where each part in sight looked worst, and what it is so far."""
        self.recent: deque[Frame] = deque()
        self.awaited: tuple[int, int] | None = None
        """Record and number of the fault whose first frame afterwards is wanted."""
        self.faulted: dict[str, float] = {}

    def remember(self, step: Step, before_fault: int) -> None:
        frame = step.frame
        assert frame is not None
        for seen in step.seen:
            worst = frame if seen.so_far.worst_frame == frame.sequence else self.worst.pop(seen.part, (None, None))[0]
            if worst is not None:  # else it was let go, and no other frame stands for it
                self.worst[seen.part] = worst, seen.so_far.verdict
                self.worst.move_to_end(seen.part)
        while len(self.worst) > IN_SIGHT:
            self.worst.popitem(last=False)
        self.recent.append(frame)
        while len(self.recent) > before_fault:
            self.recent.popleft()


def _let_go(watches: Collection[_Watch], limit_bytes: int) -> None:
    """Of what is held of one camera so many bytes stay, and one frame in any case.

    First those from before a fault go, then the worst of parts that look good, then the others; of each the oldest first: the
    worst view of a part that travels is seldom its newest.
    """
    held: dict[int, tuple[int, int]] = {}
    """By the frame's number: how much it matters, and its bytes."""
    for watch in watches:
        worst = ((frame, 2 if verdict in SUSPECT else 1) for frame, verdict in watch.worst.values())
        for frame, matters in (*((frame, 0) for frame in watch.recent), *worst):
            held[frame.sequence] = max((matters, frame.picture.nbytes), held.get(frame.sequence, (0, 0)))
    too_much = sum(size for _, size in held.values()) - limit_bytes
    for sequence in sorted(held, key=lambda sequence: (held[sequence][0], sequence))[:-1]:
        if too_much <= 0:
            return
        for watch in watches:
            kept = ((part, one) for part, one in watch.worst.items() if one[0].sequence != sequence)
            watch.worst = OrderedDict(kept)
            watch.recent = deque(frame for frame in watch.recent if frame.sequence != sequence)
        too_much -= held[sequence][1]

"""One camera under inspection: its regions, its outages, and where every frame went."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from deploy.cameras import Frame, Unreadable
from deploy.cameras.checks import PictureCheck
from deploy.cameras.life import NothingYet
from deploy.errors import CameraError, StaleFrame
from deploy.inspector.ahead import Prepared
from deploy.inspector.judge import Judge
from deploy.inspector.part import now_utc
from deploy.inspector.spot import Spot
from deploy.inspector.step import Fault, Step

News = Frame | Unreadable | CameraError
"""What a camera brought: a frame, one that cannot be read, or why it brings none; NothingYet when it is back and waits."""
HANGS = "the engine hangs, or what its answer is handed to"


@dataclass(frozen=True)
class Turn:
    """What one turn of the loop brought, from one camera. Of the frames it tells of, each was judged, dropped or faulted."""

    camera: str
    judge: Judge
    """Who decided."""
    steps: dict[str, Step]
    """By region; what befell the whole camera is under "" where it has several."""
    frame: Frame | None = None
    """None when the camera brought nothing to look at."""
    judged: int = 0
    dropped: int = 0
    """Frames that passed unseen since the turn before."""
    faulted: int = 0
    """Frames that should have been judged and could not be, at one region at least."""
    outage: Fault | None = None
    """What keeps the camera from delivering now."""
    latency_ms: float | None = None
    """From capture to the last region's decision."""


@dataclass
class Watch:
    """Turns what one camera brings into steps. For one thread."""

    camera: str
    spots: Sequence[Spot]
    check: PictureCheck | None = None
    last: int = 0
    """The number of the last frame that came here."""
    _numbers: "count[int]" = field(default_factory=lambda: count(1))
    _outage: tuple[Fault, float] | None = None

    def prepared(self, frame: Frame, judge: Judge) -> Frame:
        """The frame with what can be made of it before its turn. For any thread; what fails is met again and told in its turn."""
        try:
            made = {spot.region.name: spot.ahead(frame.picture, judge) for spot in self.spots}
        except Exception:  # no memory, say
            return frame
        ahead = {region: one for region, one in made.items() if one is not None}
        return Prepared(frame.picture, frame.captured_at, frame.sequence, frame.name, judge, ahead) if ahead else frame

    def turn(self, news: News, judge: Judge) -> Turn:
        """Judge a frame, or note why there is none. Never raises, and never repeats a verdict."""
        if isinstance(news, Frame):
            return self._frame(news, judge)
        if isinstance(news, Unreadable):
            return self._unreadable(news, judge)
        if isinstance(news, NothingYet):
            return self._back(judge)
        return self._lost("stale" if isinstance(news, StaleFrame) else "camera", str(news), judge)

    def hangs(self, news: News, seconds: float, judge: Judge) -> Turn:
        """It is not done so far. For a thread other than that which waits for it in `turn`; counts no frame."""
        sequence = None if isinstance(news, CameraError) else news.sequence
        message = f"{self.name_of(news)} has been in hand for {seconds:.1f} s: {HANGS}"
        fault = self._fault("engine", message, sequence)
        return replace(self._turn(judge, self._with({}, [fault], None, 0)), outage=fault)

    def name_of(self, news: News) -> str:
        """What to call it in a message."""
        return "an outage" if isinstance(news, CameraError) else news.name

    def end(self, judge: Judge) -> Turn:
        """The camera is over: parts still in sight get their verdicts."""
        return self._turn(judge, {spot.region.name: Step(parts=spot.end()) for spot in self.spots})

    def _frame(self, frame: Frame, judge: Judge) -> Turn:
        dropped, self.last = frame.sequence - self.last - 1, frame.sequence
        misfits = (spot.region.misfit(frame.picture) for spot in self.spots)
        trouble = next((one for one in misfits if one), None) or self._trouble(frame)
        if trouble is not None:
            return self._bad(frame, trouble, dropped, judge)
        recovered = self._recover()
        steps = {spot.region.name: self._look(spot, frame, judge) for spot in self.spots}
        is_faulted = any(step.faults for step in steps.values())
        latency_ms = max((step.latency_ms for step in steps.values() if step.latency_ms is not None), default=None)
        steps = self._with(steps, [], recovered, dropped)
        return self._turn(judge, steps, frame, not is_faulted, dropped, is_faulted, latency_ms)

    def _trouble(self, frame: Frame) -> str | None:
        try:
            return self.check.trouble(frame) if self.check else None
        except Exception as error:  # no memory, say
            return f"{frame.name} could not be checked ({error or type(error).__name__})"

    def _look(self, spot: Spot, frame: Frame, judge: Judge) -> Step:
        try:
            return spot.look(frame, judge, lambda: next(self._numbers))
        except Exception as error:  # no memory, say: this frame is lost, the next one is not
            fault = self._fault("engine", f"{frame.name} could not be judged ({error or type(error).__name__})", frame.sequence)
            return Step(frame, faults=[fault], parts=spot.unjudged(frame, fault.message, judge))

    def _bad(self, frame: Frame, trouble: str, dropped: int, judge: Judge) -> Turn:
        """A picture that the camera should not have taken. Only the first one is kept, the others are the same fault."""
        fault, recovered = self._begin("picture", trouble, frame.sequence)
        told = fault or (self._outage[0] if self._outage else self._fault("picture", trouble, frame.sequence))
        steps = {}
        for spot in self.spots:
            parts = [*(spot.end(trouble) if fault else []), *spot.unjudged(frame, told.message, judge)]
            steps[spot.region.name] = Step(frame if fault else None, parts=parts)
        steps = self._with(steps, [fault] if fault else [], recovered, dropped)
        return self._turn(judge, steps, frame if fault else None, dropped=dropped, faulted=True)

    def _unreadable(self, error: Unreadable, judge: Judge) -> Turn:
        dropped, self.last = error.sequence - self.last - 1, error.sequence
        fault = self._fault("picture", str(error), error.sequence)
        unseen = {spot.region.name: spot.unjudged(error, fault.message, judge) for spot in self.spots}
        if len(self.spots) == 1:
            fault = replace(fault, part=next((part.part for parts in unseen.values() for part in parts), None))
        steps = self._with({name: Step(parts=parts) for name, parts in unseen.items()}, [fault], None, dropped)
        return self._turn(judge, steps, dropped=dropped, faulted=True)

    def _lost(self, kind: str, why: str, judge: Judge) -> Turn:
        fault, recovered = self._begin(kind, why)
        if fault is None:
            return self._turn(judge, {})
        # What was in sight will be somewhere else when the camera is back, and what was seen of it is old by then.
        steps = {spot.region.name: Step(parts=spot.end(why)) for spot in self.spots}
        return self._turn(judge, self._with(steps, [fault], recovered, 0))

    def _back(self, judge: Judge) -> Turn:
        """The line may wait for the station to be ready before it brings a part."""
        is_picture = self._outage is not None and self._outage[0].kind == "picture"
        recovered = None if is_picture else self._recover()
        return self._turn(judge, {} if recovered is None else self._with({}, [], recovered, 0))

    def _begin(self, kind: str, why: str, frame: int | None = None) -> tuple[Fault | None, Fault | None]:
        """A new outage, and the one that it takes over from; nothing while the same one goes on.

        A camera whose frames come too late is as good as lost: the one often turns into the other, and back.
        """
        if self._outage is not None and (self._outage[0].kind == "picture") == (kind == "picture"):
            return None, None
        recovered = self._recover()
        fault = self._fault(kind, why, frame)
        self._outage = fault, time.monotonic()
        return fault, recovered

    def _recover(self) -> Fault | None:
        if self._outage is None:
            return None
        (fault, since), self._outage = self._outage, None
        return replace(fault, lasted_s=time.monotonic() - since)

    def _fault(self, kind: str, message: str, frame: int | None = None) -> Fault:
        return Fault(next(self._numbers), kind, message, now_utc(), frame)

    def _with(self, steps: dict[str, Step], faults: list[Fault], recovered: Fault | None, dropped: int) -> dict[str, Step]:
        """What befell the whole camera, in the step of its only region or in one of its own."""
        own = "" if len(self.spots) > 1 else self.spots[0].region.name
        if own in steps:
            if not (faults or recovered or dropped):  # as for nearly every frame
                return steps
            step = steps[own]
            return {**steps, own: replace(step, faults=[*faults, *step.faults], recovered=recovered, dropped=dropped)}
        return {own: Step(faults=faults, recovered=recovered, dropped=dropped), **steps}

    def _turn(
        self,
        judge: Judge,
        steps: dict[str, Step],
        frame: Frame | None = None,
        judged: bool = False,
        dropped: int = 0,
        faulted: bool = False,
        latency_ms: float | None = None,
    ) -> Turn:
        outage = self._outage[0] if self._outage else None
        return Turn(self.camera, judge, steps, frame, int(judged), dropped, int(faulted), outage, latency_ms)

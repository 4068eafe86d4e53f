"""Drift: is the line still what the bundle was judged on, and what it was when the bundle was put to work?

Brightness and sharpness of what the model looks at are compared with the bundle's good pictures (`deploy/reference.py`), scores
and the defect rate with what is usual on the line itself (`drift_baseline.py`); `drift_limits.py` says how much is too much. Of
each region one part in every `every_s` seconds is looked at, after its verdict is out: a window covers minutes and not moments,
and costs next to nothing. An alarm is an event of the record and a line on the screen. It never changes a verdict.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2

from deploy.files import write_whole
from deploy.inspector.drift_baseline import NAME, Baseline, Baselines, read_baselines
from deploy.inspector.drift_window import DriftWindow, Figure, State
from deploy.inspector.judge import Judge
from deploy.inspector.locate import Box, Sighting, cut
from deploy.inspector.region import Region
from deploy.inspector.step import Step
from deploy.inspector.watch import Turn
from deploy.preprocess import Picture
from deploy.reference import light_and_focus
from deploy.verdict import Verdict

LOOK_S = 1.0
"""How often windows are compared with what is expected."""
KEEP_S = 60.0
"""How often the disk takes what was learned meanwhile."""
NO_REFERENCE = "brightness and sharpness are not watched: the bundle has no reference; export it again"
END_S = 1.0
"""How long each of two writes may take at the end."""
CORNER = Sighting(Box(0, 0, 1, 1), Box(0, 0, 1, 1), whole=True)


@dataclass(frozen=True)
class DriftWanted:
    """How the parts of each region are watched."""

    window: int = 500
    """Parts that are compared."""
    every_s: float = 1.0
    """Seconds from one that is looked at to the next."""


@dataclass
class _Place:
    region: Region
    window: DriftWindow
    part_due: float = 0.0
    picture_due: float = 0.0


class Drift:
    """Watches one session: one thread adds, another one looks, any may read the figures.

    `cameras` are names with their regions, none where nothing is watched; `folder` keeps what was learned; `tell` hears of each
    change as a sentence.
    """

    def __init__(
        self, cameras: Iterable[tuple[str, Sequence[Region]]], wanted: DriftWanted, folder: Path, tell: Callable[[str], None]
    ) -> None:
        self._wanted = wanted
        self._folder = folder
        self._tell = tell
        self._places = {
            (camera, region.name): _Place(region, DriftWindow(camera, region.name, wanted.window))
            for camera, regions in cameras
            for region in regions
        }
        self._baselines, trouble = read_baselines(folder)
        self._has_learned = False
        self._keeping: threading.Thread | None = None
        self._judge: Judge | None = None
        self._news = [trouble] if trouble and self._places else []
        self._figures: tuple[Figure, ...] = ()
        self._look_due, self._keep_due = 0.0, time.monotonic() + KEEP_S
        self._lock = threading.Lock()

    def figures(self) -> tuple[Figure, ...]:
        """All that is watched, as of the last look. With a bundle that has no reference, brightness and sharpness are not."""
        return self._figures

    def alarms(self) -> list[str]:
        """What drifts, in sentences."""
        return [figure.sentence() for figure in self._figures if figure.drifts]

    def add(self, turn: Turn) -> None:
        """Take in one turn of the loop. Measures one picture now and then, so publish first."""
        now = time.monotonic()
        if turn.judge is not self._judge:
            self._begin(turn.judge)
        for name, step in turn.steps.items():
            place = self._places.get((turn.camera, name))
            if place is None:  # what befell a whole camera
                continue
            if now >= place.part_due and self._add_part(place.window, step):
                place.part_due = now + self._wanted.every_s
            if now >= place.picture_due and self._add_picture(place, step, turn.judge):
                place.picture_due = now + self._wanted.every_s

    def look(self) -> None:
        """Compare, tell what has changed, and keep what was learned. Returns at once when it is not time."""
        now = time.monotonic()
        if self._judge is None or now < self._look_due:
            return
        self._look_due = now + LOOK_S
        drifted = {(one.camera, one.region, one.quantity) for one in self._figures if one.state is State.DRIFTING}
        with self._lock:
            reference = self._judge.bundle.spec.reference
            windows = [place.window.frozen() for place in self._places.values()]
            news, self._news = self._news, []
        self._figures = tuple(figure for window in windows for figure in window.figures(reference))
        for one in self._figures:
            has_drifted = (one.camera, one.region, one.quantity) in drifted
            if one.state is (State.STEADY if has_drifted else State.DRIFTING):
                news.append(one.sentence())
        for sentence in news:
            self._tell(sentence)
        if now >= self._keep_due:
            self._keep_due = now + KEEP_S
            self._keep_beside()

    def close(self) -> None:
        """Look for the last time, and keep what was learned. Nobody adds any more."""
        self._look_due = 0.0
        self.look()
        for _ in range(2):  # the first one may have begun before the last part
            self._keep_beside(END_S)

    def _keep_beside(self, wait_s: float = 0.0) -> None:
        """On a thread of its own, since a disk may hang; waited for so long."""
        if self._keeping is None or not self._keeping.is_alive():
            thread = threading.Thread(target=self._keep, name="drift", daemon=True)
            with suppress(RuntimeError):  # no thread to be had now: in KEEP_S again
                thread.start()
                self._keeping = thread
        if self._keeping is not None:
            self._keeping.join(wait_s)

    def _keep(self) -> None:
        with self._lock:
            if not self._has_learned:
                return
            self._has_learned = False
            bundles = {
                bundle: {name: one.model_copy(update={"scores": one.scores.copy()}) for name, one in known.items()}
                for bundle, known in self._baselines.bundles.items()
            }
        try:
            write_whole(self._folder / NAME, Baselines(bundles=bundles).model_dump_json() + "\n")
        except (OSError, MemoryError):  # a full disk, say: later
            self._has_learned = True

    def _begin(self, judge: Judge) -> None:
        with self._lock:
            if self._judge is None or judge.bundle_sha256 != self._judge.bundle_sha256:
                known = self._baselines.of(judge.bundle_sha256)
                for (camera, region), place in self._places.items():
                    place.window.begin(known.setdefault(f"{camera}/{region}", Baseline()))
                if self._places and judge.bundle.spec.reference is None:
                    self._news.append(NO_REFERENCE)
            self._judge = judge

    def _add_part(self, window: DriftWindow, step: Step) -> bool:
        part = next((one for one in step.parts if one.probability is not None), None)
        if part is None or part.probability is None:
            return False
        with self._lock:
            self._has_learned |= not window.baseline.is_complete
            if learned := window.add_part(part.probability, part.verdict is Verdict.GOOD):
                self._news.append(learned)
        return True

    def _add_picture(self, place: _Place, step: Step, judge: Judge) -> bool:
        with suppress(MemoryError, cv2.error):  # one picture less is no matter
            picture = _judged_picture(place.region, step, judge)
            if picture is None:
                return False
            measured = light_and_focus(picture, judge.preprocessing)
            with self._lock:
                place.window.add_picture(*measured)
        return True


def _judged_picture(region: Region, step: Step, judge: Judge) -> Picture | None:
    """What the model was shown of the first part that it judged in this step, if it did."""
    box = next((seen.sighting.window for seen in step.seen if seen.view.probability is not None), None)
    if step.frame is None or box is None:
        return None
    corner = region.in_frame(CORNER).window
    picture = region.cut(step.frame.picture, judge.preprocessing.pad_bgr)
    return cut(picture, box._replace(left=box.left - corner.left, top=box.top - corner.top))

"""What the loop reports of one region: a step for every frame, with the parts that have their verdict and the faults."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from deploy.cameras import Frame
from deploy.inspector.locate import Sighting
from deploy.inspector.part import PartResult, View


@dataclass(frozen=True)
class Fault:
    """Something that kept a frame from being judged. While it lasts the station is not ready."""

    number: int
    """Counts from 1 within a session, for each camera."""
    kind: str
    """camera, picture, engine, stale, deadline or part."""
    message: str
    at: str
    frame: int | None = None
    part: int | None = None
    lasted_s: float | None = None
    """How long a camera was lost; None until it is back."""


@dataclass(frozen=True)
class Seen:
    """One part in the frame just judged."""

    part: int
    sighting: Sighting
    view: View
    so_far: PartResult
    """The verdict if the part left now."""
    heatmap: npt.NDArray[np.float32] | None
    """The graph's h x w answer for the sighting's window."""


@dataclass(frozen=True)
class Step:
    """What one frame, or its absence, meant at one region of one camera."""

    frame: Frame | None = None
    """None when the camera brought nothing."""
    dropped: int = 0
    """Frames that passed unseen since the step before."""
    latency_ms: float | None = None
    """From capture to the decision."""
    seen: list[Seen] = field(default_factory=list)
    parts: list[PartResult] = field(default_factory=list)
    """Parts that have left: their verdicts are final."""
    faults: list[Fault] = field(default_factory=list)
    recovered: Fault | None = None
    """The camera's fault, now with how long it lasted."""

"""Pictures that a camera should not have taken: black, glaring, blurred or frozen. Faults of the camera, not verdicts on parts.

They cost 0.4 ms for each picture of 1920 x 1080 (one core), and 5 ms more once a second where sharpness is checked.
"""

import zlib
from dataclasses import dataclass

import numpy as np

from deploy.cameras import Frame
from deploy.preprocess import Picture
from deploy.sharpness import sharpness

LOOKED_AT = 160
"""Rows, and columns, of the picture that are looked at, evenly spread: brightness and noise show in a few of them, too."""
DARK_SHARE = 0.99
"""Hot pixels and a status lamp still shine in a black picture."""
BRIGHT = 250
"""Grey values from here on are glare: the sensor has nothing more to tell."""

BLUR_EVERY_S = 1.0
"""Sharpness is measured so often, because it costs the most; until then the last finding holds."""


@dataclass(frozen=True)
class Checks:
    """What is still a picture. None leaves a check out: what is usual differs from scene to scene."""

    black_below: float | None = None
    """Grey value, 0..255. A picture of which DARK_SHARE is darker is black: 16 suits most cameras."""
    glare_above: float | None = None
    """Largest share of the picture, 0..1, that may be at or above BRIGHT; with a backlight much of it always is."""
    blurred_below: float | None = None
    """Least sharpness as `deploy.sharpness` measures it, in squared grey steps, compared for one camera over one kind of part."""
    frozen_s: float | None = None
    """So many seconds of identical pictures are a frozen camera. A sensor's noise makes any two differ, but compressed video of
    a scene at rest repeats itself for up to its key frame interval, often 2 s: give more than that."""


class PictureCheck:
    """Checks one camera's frames, in the order in which they come."""

    def __init__(self, checks: Checks) -> None:
        self._checks = checks
        self._fingerprint = 0
        self._since: float | None = None
        self._blur: str | None = None
        self._blur_due = 0.0

    def trouble(self, frame: Frame) -> str | None:
        """What is wrong with this frame and what to do about it; None when it is a picture."""
        seen = decimated(frame.picture)
        return (
            black(seen, self._checks.black_below)
            or glaring(seen, self._checks.glare_above)
            or self._frozen(seen, frame.captured_at)
            or self._blurred(frame)
        )

    def _blurred(self, frame: Frame) -> str | None:
        if frame.captured_at >= self._blur_due:
            self._blur = blurred(frame.picture, self._checks.blurred_below)
            self._blur_due = frame.captured_at + BLUR_EVERY_S
        return self._blur

    def _frozen(self, seen: Picture, captured_at: float) -> str | None:
        limit_s = self._checks.frozen_s
        if limit_s is None:
            return None
        fingerprint = zlib.crc32(seen.tobytes())
        if self._since is None or fingerprint != self._fingerprint:
            self._fingerprint, self._since = fingerprint, captured_at
        same_s = captured_at - self._since
        if same_s < limit_s:
            return None
        return f"the picture has not changed for {same_s:.1f} s, at most {limit_s:.1f} s are allowed; restart the camera"


def decimated(picture: Picture) -> Picture:
    """At most LOOKED_AT x LOOKED_AT pixels of it, evenly spread, none of them averaged away."""
    rows, columns = (max(1, -(-side // LOOKED_AT)) for side in picture.shape[:2])
    return picture[::rows, ::columns]


def black(picture: Picture, limit: float | None) -> str | None:
    """Is it too dark, with hardly a brighter spot? `limit`: see `Checks.black_below`."""
    if limit is None:
        return None
    share = np.count_nonzero(picture < limit) / picture.size
    if share < DARK_SHARE:
        return None
    return (
        f"the picture is black: {share:.0%} of it is darker than {limit:.0f} of 255, expected is less than {DARK_SHARE:.0%}; "
        "check the light, the lens cap and the exposure"
    )


def glaring(picture: Picture, limit: float | None) -> str | None:
    """Is too much of it over-exposed? `limit`: see `Checks.glare_above`."""
    if limit is None:
        return None
    share = np.count_nonzero(picture >= BRIGHT) / picture.size
    if share <= limit:
        return None
    return f"{share:.0%} of the picture is over-exposed, at most {limit:.0%} is allowed; check the light and the exposure"


def blurred(picture: Picture, limit: float | None) -> str | None:
    """Is it less sharp than pictures of this scene are? `limit`: see `Checks.blurred_below`."""
    if limit is None:
        return None
    found = sharpness(picture)
    if found >= limit:
        return None
    return f"the picture is blurred: sharpness {found:.0f}, at least {limit:.0f} is expected; check the focus and clean the lens"

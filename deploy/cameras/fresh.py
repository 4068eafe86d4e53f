"""How old a stream's frame is when it reaches us: what waited in a buffer must not look new because we read it just now.

A network camera opens with a second of old frames; after a pause of the network, and on a slow link, they come late. Two
witnesses tell. The stream's own clock (RTSP): it may start anywhere, but the quickest frame so far fixes where it stands against
ours, and whatever comes later than that was held up on its way. Without such a clock (MJPEG over HTTP), the waiting: a read that
had to wait found nothing in the buffer; after a gap, and while reads need not wait, a frame may be as old as the last one that
was surely new. Both err towards too old. Neither sees a delay that every frame has, such as the camera's own encoder.
"""

from collections import deque
from statistics import fmean

from deploy.errors import CameraLost

DRIFT = 0.001
"""Seconds per second by which a camera's clock may run slow against ours. A link that falls behind by less is not noticed: that
would be 2 s in half an hour."""
SET_BACK_S = 0.1
"""A stream's clock that goes back by more was set; by less it is corrected now and then, which only makes frames look older."""
WAITED = 0.75
"""Share of the time between two frames in the stream that must have passed here, too: then the buffer was empty."""
GAP = 2.5
"""So many usual intervals without a frame are a gap: what comes after it may have been held up."""
EMPTIED_S = 1.0
"""Reads that never wait empty any buffer within this time; a camera that is faster than it states never lets them wait."""


class Freshness:
    """Stamps the frames of one stream, in the order in which they come."""

    def __init__(self, opened_at: float, fps: float | None) -> None:
        """`opened_at`: when opening began, in time.monotonic() seconds; no frame of the stream is older. `fps`: as stated."""
        self._opened_at = opened_at
        self._arrived = opened_at
        self._caught_up = False
        self._began: float | None = None
        """When the first frame came."""
        self._stream_s: float | None = None
        self._lead = 0.0
        """What the quickest frame had: its arrival minus its stream time, in seconds."""
        self._waits = 0
        self._intervals: deque[float] = deque([1 / fps] if fps else [], maxlen=25)
        self._new_at = opened_at
        """When the last surely new frame came."""
        self._behind_from: float | None = None
        self._after_gap = False

    def captured_at(self, arrived: float, stream_s: float | None) -> float | None:
        """When the frame was captured, in time.monotonic() seconds; None while the stream is still catching up after opening.

        `arrived`: when its read ended, in the same seconds; `stream_s`: its time in the stream, None where that has none.
        Raises CameraLost when the stream's clock was set back: only a new connection surely holds nothing up.
        """
        if self._began is None:
            self._began = arrived
        captured_at = self._by_waiting(arrived) if stream_s is None else self._by_clock(arrived, stream_s)
        self._caught_up |= arrived - self._began > EMPTIED_S
        self._arrived, self._stream_s = arrived, stream_s
        return captured_at if self._caught_up else None

    def _by_clock(self, arrived: float, stream_s: float) -> float:
        lead, passed = arrived - stream_s, arrived - self._arrived
        if self._stream_s is None:
            self._lead = lead
        else:
            back_s = self._stream_s - stream_s
            if back_s > SET_BACK_S:
                raise CameraLost(f"the stream's clock was set back by {back_s:.1f} s: how old its frames are is not known now")
            self._lead = min(lead, self._lead + DRIFT * passed)
            # Twice in a row: a busy processor makes any single read look like one that waited.
            self._waits = self._waits + 1 if passed >= WAITED * (stream_s - self._stream_s) else 0
            self._caught_up |= self._waits >= 2
        return max(stream_s + self._lead, self._opened_at)

    def _by_waiting(self, arrived: float) -> float:
        interval = arrived - self._arrived
        usual = fmean(self._intervals) if self._intervals else interval
        gap = interval > GAP * usual
        if gap:
            if self._after_gap:  # two in a row: nothing had piled up, the camera is only slower than we thought
                self._new_at, self._caught_up = self._arrived, True
            self._behind_from = arrived
        elif interval >= usual / 2 or (self._behind_from is not None and arrived - self._behind_from > EMPTIED_S):
            self._new_at, self._caught_up, self._behind_from = arrived, True, None
        if gap or self._behind_from is None:
            self._intervals.append(min(interval, GAP * usual))
        self._after_gap = gap
        return self._new_at

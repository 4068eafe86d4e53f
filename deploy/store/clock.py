"""The wall clock may be set while a station runs; nothing is ordered by it, and the record says when it jumped."""

import time

JUMP_S = 1.0
"""A time server's gentle corrections are far smaller; a clock that was set is far more."""


class ClockWatch:
    """Compares the wall clock with the monotonic one, which nobody can set."""

    def __init__(self) -> None:
        self._ahead_s = time.time() - time.monotonic()

    def jumped(self) -> str | None:
        """What happened since the question before; None if the two clocks went on together."""
        ahead_s = time.time() - time.monotonic()
        jump_s, self._ahead_s = ahead_s - self._ahead_s, ahead_s
        if abs(jump_s) < JUMP_S:
            return None
        return (
            f"the clock jumped {'back' if jump_s < 0 else 'on'} by {abs(jump_s):.1f} s; records are in the order of their numbers"
        )

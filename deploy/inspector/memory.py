"""Freed memory goes back to the system: where many threads take and free pictures, the C library keeps more of it every hour."""

import ctypes
import time
from contextlib import suppress

C_LIBRARY = ctypes.CDLL(None)
EVERY_S = 10.0
"""Each time takes some milliseconds, in which a thread that asks for memory may wait."""


class Memory:
    """Call `look` now and then from the main thread."""

    def __init__(self) -> None:
        self._due = time.monotonic() + EVERY_S

    def look(self) -> None:
        """Give back what is free, once in EVERY_S."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + EVERY_S
            give_back()


def give_back() -> None:
    """Return free pages of all threads to the system; nothing where the C library is not glibc and cannot."""
    with suppress(AttributeError):
        C_LIBRARY.malloc_trim(0)

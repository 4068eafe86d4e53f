"""Memory that stays the same for months, although many threads take and free pictures. What is said here is of glibc."""

import ctypes
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

C_LIBRARY = ctypes.CDLL(None)
M_ARENA_MAX = -8
"""As in malloc.h."""
EVERY_S = 10.0
"""Each time takes some milliseconds, in which a thread that asks for memory may wait."""


class Memory:
    """Make it before the first thread, and call `look` now and then from the main one."""

    def __init__(self) -> None:
        share_one_pool()
        self._due = time.monotonic() + EVERY_S

    def look(self) -> None:
        """Give back what is free, once in EVERY_S."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + EVERY_S
            give_back()


@contextmanager
def settled() -> Iterator[None]:
    """What is there now stays meanwhile: the collector of cycles looks at what came later only.

    So it holds up no frame (17 ms for all that the inspector imports), and it comes soon: it waits until what is new is a quarter
    of what it looks at, and a cycle may hold pictures.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def share_one_pool() -> None:
    """Let all threads to come take memory from one pool; nothing where the C library is not glibc and cannot.

    By default each has its own, and a picture that one thread takes and another one frees leaves holes in every one of them.
    """
    with suppress(AttributeError):
        C_LIBRARY.mallopt(M_ARENA_MAX, 1)


def give_back() -> None:
    """Return free pages to the system; nothing where the C library is not glibc and cannot."""
    with suppress(AttributeError):
        C_LIBRARY.malloc_trim(0)

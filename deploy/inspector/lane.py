"""A short way from the hot path to what may be slow: it is never waited for, and what it cannot take is counted."""

import threading
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Lane(Generic[Item]):
    """At most `size` items. Where they `must_pass`, as from a recording that nobody hurries, the giver waits for room."""

    def __init__(self, size: int, must_pass: bool) -> None:
        self.dropped = 0
        self._size = size
        self._must_pass = must_pass
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: Item) -> None:
        """Give an item; a full lane loses its oldest, unless it must pass."""
        with self._changed:
            if self._must_pass:
                self._changed.wait_for(lambda: len(self._items) < self._size or self._closed)
            if len(self._items) >= self._size:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._changed.notify_all()

    def get(self, timeout_s: float | None = None) -> Item | None:
        """The oldest item; None when none came in time, or the lane is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed, timeout_s)
            if not self._items:
                return None
            self._changed.notify_all()
            return self._items.popleft()

    def is_empty(self) -> bool:
        """Is there nothing to get?"""
        return not self._items

    def close(self) -> None:
        """Nothing more comes, or nobody takes it: let go of who waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

"""`order: key`: which event of a partition may start next, and what of them is passed. Pure: no clock, no I/O.

Events are named by their ordinals. One at a time runs per key; of those that may start, the oldest starts first, so
that the watermark, up to which everything is passed, moves on.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Hashable, Iterable


class KeyOrder:
    """Events that have arrived and are not done. A key is busy from an event's arrival until its last one is done."""

    def __init__(self) -> None:
        self._behind: dict[Hashable, deque[int]] = {}  # by busy key: those that wait for the one that is first
        self._key: dict[int, Hashable] = {}
        self._ready: list[int] = []  # a heap
        self._below: int | None = None

    def __len__(self) -> int:
        return len(self._key)

    @property
    def ready(self) -> int:
        """How many could start at once, keys being busy or not."""
        return len(self._ready)

    def arrive(self, ordinal: int, key: Hashable) -> None:
        """The next event of the partition."""
        self._key[ordinal] = key
        waiting = self._behind.get(key)
        if waiting is None:
            self._behind[key] = deque()
            heapq.heappush(self._ready, ordinal)
        else:
            waiting.append(ordinal)

    def start(self) -> int | None:
        """The event to start now; None if none may."""
        if not self._ready or (self._below is not None and self._ready[0] >= self._below):
            return None
        return heapq.heappop(self._ready)

    def join(self, first: int, most: int) -> list[int]:
        """At most so many events that wait behind a started one of their key: they run with it."""
        waiting = self._behind[self._key[first]]
        joined: list[int] = []
        while waiting and len(joined) < most and (self._below is None or waiting[0] < self._below):
            joined.append(waiting.popleft())
        return joined

    def again(self, first: int, joined: Iterable[int] = ()) -> None:
        """A started event is to start once more; those that had joined it go back to wait behind it."""
        self._behind[self._key[first]].extendleft(reversed(list(joined)))
        heapq.heappush(self._ready, first)

    def done(self, ordinals: Iterable[int]) -> None:
        """Started events of one key are done: the next of their key may start."""
        key: Hashable = None
        for ordinal in ordinals:
            key = self._key.pop(ordinal)
        waiting = self._behind[key]
        if waiting:
            heapq.heappush(self._ready, waiting.popleft())
        else:
            del self._behind[key]

    def bar(self, ordinal: int) -> None:
        """Start nothing from this event on: it failed for good, and the partition is to stop before it."""
        self._below = ordinal if self._below is None else min(self._below, ordinal)


class Passed:
    """What is done with: everything up to the watermark, whose id is `at`, and some events above it."""

    def __init__(self, watermark: int, at: bytes) -> None:
        self.watermark, self.at = watermark, at
        self.above: dict[int, bytes] = {}

    def add(self, ordinal: int, event_id: bytes) -> None:
        """One more event is done with."""
        above = self.above
        above[ordinal] = event_id
        while self.watermark + 1 in above:
            self.watermark += 1
            self.at = above.pop(self.watermark)

    def ids(self) -> list[bytes]:
        """The ids of those above the watermark, in their order."""
        return [self.above[ordinal] for ordinal in sorted(self.above)]

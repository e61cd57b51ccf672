"""`order: key`: which event of a partition may start next, and what of them is passed. Pure: no clock, no I/O.

One at a time runs per key; of those that may start, the oldest starts first, so that the watermark, up to which
everything is passed, moves on.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush, heappushpop
from typing import Any

import msgspec

Key = bytes | str | None  # only compared


class Flight(msgspec.Struct, order=True, gc=False):
    """One call of the handler, from its event's arrival to the commit: an event, or with `batch` several of one key,
    of which the oldest is the flight and the others have joined it. One object for all books: millions are built."""

    ordinal: int  # counts the partition's events; no two flights compare equal
    key: Key
    event: Any
    alone: bool = False  # of a batch that failed: one last attempt without the others
    joined: Sequence[Flight] = ()
    since: float = 0.0  # seconds of a monotonic clock: when it started
    until: float = 0.0  # when it was over
    effects: list[Any] | None = None  # what it did, once it is done

    @property
    def events(self) -> list[Any]:
        """All its events, in their order."""
        return [self.event, *[each.event for each in self.joined]]

    @property
    def size(self) -> int:
        """How many events it has."""
        return 1 + len(self.joined)


class KeyOrder:
    """Events that have arrived and are not done. A key is busy from an event's arrival until its last one is done."""

    def __init__(self) -> None:
        self._behind: dict[Key, deque[Flight] | None] = {}  # by busy key: those that wait for the first, if any do
        self._ready: list[Flight] = []  # a heap
        self._below = sys.maxsize
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def keys(self) -> Iterable[Key]:
        """Those that are busy."""
        return self._behind.keys()

    @property
    def ready(self) -> int:
        """How many could start at once."""
        return len(self._ready)

    def arrive(self, flight: Flight) -> None:
        """The next event of the partition."""
        self._size += 1
        key, behind = flight.key, self._behind
        if key not in behind:
            behind[key] = None
            heappush(self._ready, flight)
        elif (waiting := behind[key]) is None:
            behind[key] = deque((flight,))
        else:
            waiting.append(flight)

    def start(self) -> Flight | None:
        """The event to start now; None if none may."""
        ready = self._ready
        return heappop(ready) if ready and ready[0].ordinal < self._below else None

    def join(self, first: Flight, most: int) -> None:
        """Let at most so many events that wait behind a started one of their key run with it."""
        waiting, joined = self._behind[first.key], list[Flight]()
        while waiting and len(joined) < most and waiting[0].ordinal < self._below:
            joined.append(waiting.popleft())
        first.joined = joined

    def again(self, flight: Flight) -> None:
        """A started event is to start once more; those that had joined it go back to wait behind it."""
        if flight.joined:
            behind = self._behind[flight.key] or ()
            self._behind[flight.key] = deque((*flight.joined, *behind))
            flight.joined = ()
        heappush(self._ready, flight)

    def done(self, flight: Flight) -> None:
        """A started flight is done: the next of its key may start."""
        self._size -= 1 + len(flight.joined)
        waiting = self._behind[flight.key]
        if waiting:
            heappush(self._ready, waiting.popleft())
        else:
            del self._behind[flight.key]

    def follow(self, over: Flight) -> Flight | None:
        """`done` and `start` in one."""
        waiting, ready = self._behind[over.key], self._ready
        if not waiting or waiting[0].ordinal >= self._below:
            self.done(over)
            return self.start()
        self._size -= 1 + len(over.joined)
        return heappushpop(ready, waiting.popleft()) if ready else waiting.popleft()

    def bar(self, ordinal: int) -> None:
        """Start nothing from this event on: it failed for good, and the partition is to stop before it."""
        self._below = min(self._below, ordinal)


class Passed:
    """What is done with: everything up to the watermark, and some events above it.

    Books of what is done and of what others were told lie apart by what is done and untold, so both are kept in one:
    `tell` moves `told`, an ordinal, and `at`, its id, as far as they may go.
    """

    def __init__(self, watermark: int, at: bytes) -> None:
        self.watermark = self.told = watermark
        self.at = at
        self._ids: dict[int, bytes] = {}  # of events above `told`

    def add(self, flights: Iterable[Flight]) -> None:
        """More events are done with."""
        ids, watermark = self._ids, self.watermark
        for flight in flights:
            ids[flight.ordinal] = flight.event._id
            for other in flight.joined:
                ids[other.ordinal] = other.event._id
        while watermark + 1 in ids:
            watermark += 1
        self.watermark = watermark

    def tell(self, untold: Iterable[Flight] = ()) -> tuple[list[bytes], bytes]:
        """Everything that is done is told, but for the `untold`. Returns the ids above `told`, in any order, and the
        last of them; b"" if there is none."""
        ids = self._ids
        kept = {each.ordinal for flight in untold for each in (flight, *flight.joined)}
        end = min(self.watermark, min(kept) - 1) if kept else self.watermark
        if end > self.told:
            self.at = ids[end]
            for ordinal in range(self.told + 1, end + 1):
                del ids[ordinal]
            self.told = end
        above = ids if not kept else {ordinal: each for ordinal, each in ids.items() if ordinal not in kept}
        return list(above.values()), above[max(above)] if above else b""

"""What a lane has read and not yet started: replies of XREAD, bounded by count and by bytes."""

from __future__ import annotations

from collections import deque
from typing import Any

from runnelctl.event import Event

READ_EVENTS = 4_096  # of all lanes together: small enough for the processor's caches, large enough to amortise a read
LANE_EVENTS_LEAST, LANE_EVENTS_MOST = 100, 1_000
BUFFER_BYTES = 8 * 1024 * 1024
UNKNOWN_EVENT_BYTES = 1024 * 1024  # the guess before anything was read: start small, grow with what is seen


def share(lanes: int) -> int:
    """One lane's part of a read, when a slice has so many."""
    return max(LANE_EVENTS_LEAST, min(LANE_EVENTS_MOST, READ_EVENTS // max(1, lanes)))


class Intake:
    """Replies as they came, in order. `fetched` is the id of the last entry in it, or where to read on from."""

    __slots__ = ("_replies", "count", "event_bytes", "fetched", "total")

    def __init__(self, cursor: bytes) -> None:
        self._replies: deque[list[Any]] = deque()
        self.count = self.total = 0  # held now; taken in since the read session began
        self.event_bytes = float(UNKNOWN_EVENT_BYTES)
        self.fetched = cursor

    def has_room(self, share: int) -> bool:
        """Whether another read is welcome. One may be here while the next is under way: that is the read-ahead."""
        return self.count <= share and self.count * self.event_bytes < BUFFER_BYTES

    def appetite(self, share: int) -> int:
        """How many entries the next read may bring, by count and by bytes."""
        return max(1, min(share, int(BUFFER_BYTES / self.event_bytes)))

    def add(self, entries: list[Any], event_bytes: float) -> None:
        """Take the entries that follow `fetched`; `event_bytes` is their mean size."""
        self._replies.append(entries)
        self.count += len(entries)
        self.total += len(entries)
        self.fetched = entries[-1][0]
        self.event_bytes = event_bytes

    def guess(self, event_bytes: float) -> None:
        """What other partitions of the stream hold, for one that brought nothing yet: it must not keep reads small."""
        if self.event_bytes == UNKNOWN_EVENT_BYTES:
            self.event_bytes = event_bytes

    def take(self, size: int, *, gather: bool) -> list[Any]:
        """At most `size` entries, at least one. Several replies are joined only to `gather` a batch."""
        replies = self._replies
        entries = replies.popleft()
        while gather and len(entries) < size and replies:
            entries = entries + replies.popleft()
        if len(entries) > size:
            replies.appendleft(entries[size:])
            entries = entries[:size]
        self.count -= len(entries)
        return entries

    def put_back(self, events: list[Event]) -> None:
        """Events that were taken, but are to be taken again in other runs."""
        self._replies.appendleft([[event._id, event._fields] for event in events])
        self.count += len(events)

    def restart(self, cursor: bytes) -> None:
        """Forget everything, read on from `cursor`."""
        self._replies.clear()
        self.count = self.total = 0
        self.fetched = cursor


def mend(run: list[Event], event_id: bytes, record: bytes) -> None:
    """If that event is among these, replace its record by what an operator made of it."""
    for event in run:
        if event._id == event_id:
            fields = event._fields
            kept = [fields[i : i + 2] for i in range(0, len(fields), 2) if fields[i] != b"data"]
            event._fields = [b"data", record, *(part for pair in kept for part in pair)]

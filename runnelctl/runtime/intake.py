"""What a lane has read and not yet started: replies of XREAD, bounded by count and by bytes."""

from __future__ import annotations

from collections import deque
from typing import Any

from runnelctl.core.entry import with_record
from runnelctl.event import Event

READ_EVENTS = 2_048  # of one read
# So much may wait for handlers, if lanes that have some of it are to get more: what was read long ago has left the
# processor's cache.
ENOUGH_EVENTS = 4_096
LANE_EVENTS_LEAST, LANE_EVENTS_MOST = 100, 1_000  # of one read
BUFFER_BYTES = 8 * 1024 * 1024  # of a lane
HELD_BYTES = 128 * 1024 * 1024  # of all lanes of a slice: with many, each has less
REPLY_BYTES = 32 * 1024 * 1024  # of a reply, as far as it can be foreseen
REPLY_MOST_BYTES = 128 * 1024 * 1024  # a reply that turns out longer is given up, and asked for in shorter ones
SHORTER = 16
WINDOW_SHARES = 4
ENTRY_BYTES = 400  # what an entry takes in memory beside its bytes
_LEAST_BYTES = 100.0


def read_count(lanes: int, behind: int, event_bytes: float, most_bytes: float = BUFFER_BYTES) -> int:
    """How many events of each of so many lanes to ask for, where `behind` of them have events for sure, of so many
    bytes at the most. `most_bytes`: what a lane may hold."""
    share = max(LANE_EVENTS_LEAST, min(LANE_EVENTS_MOST, READ_EVENTS // (behind or lanes)))
    return max(1, min(share, int(min(most_bytes, REPLY_BYTES / lanes) / event_bytes)))


def read_lanes(most: int, event_bytes: float, most_bytes: float) -> int:
    """How many lanes that have more to read at once, at most `most`: few, so that each gets many events. A run, its
    commit and its hop into a thread cost the same however long it is. Arguments as of `read_count`."""
    each = max(1, min(LANE_EVENTS_MOST, int(most_bytes / event_bytes)))
    return max(1, min(most, READ_EVENTS // each))


def lane_bytes(lanes: int) -> float:
    """How much a lane may hold in a slice of so many lanes."""
    return min(BUFFER_BYTES, HELD_BYTES / max(1, lanes))


def window_events(lanes: int, event_bytes: float) -> int:
    """How many events may be out of the intake and not done, with `order: key`: a few times what it holds, since so
    many handlers run at once. At least one."""
    return max(1, int(WINDOW_SHARES * lane_bytes(lanes) / max(event_bytes, _LEAST_BYTES)))


def mean_bytes(entries: list[Any]) -> float:
    """How much one of these entries takes."""
    return ENTRY_BYTES + sum(sum(map(len, fields)) for _, fields in entries) / len(entries)


def suspected_bytes(events: int) -> float:
    """What to expect of each of so many events that were too much for one reply, so that the next asks for few."""
    return SHORTER * REPLY_BYTES / events


class Held:
    """How many events the lanes of a slice have read and not started."""

    __slots__ = ("events",)

    def __init__(self) -> None:
        self.events = 0


class Intake:
    """Replies as they came, in order. `fetched` is the id of the last entry in it, or where to read on from."""

    __slots__ = (
        "_asks", "_held", "_least", "_most_bytes", "_replies", "_room", "_suspected_bytes", "_suspects",
        "_wanted", "asked", "behind", "count", "event_bytes", "fetched", "total",
    )  # fmt: skip

    def __init__(self, cursor: bytes, held: Held | None = None) -> None:
        self._held = held or Held()
        self._replies: deque[list[Any]] = deque()
        self.count = self.total = 0  # held now; taken in since the read session began
        self.event_bytes = 0.0  # what to expect of one, by what came; 0 before anything did
        self._most_bytes: float = BUFFER_BYTES
        self.fetched = cursor
        self.asked = 0  # which read, as `ask` counts them, is under way; 0: none, or none that matters any more
        self._asks = 0
        self.behind = True  # as far as is known, Redis has more than was read
        self._least = self._room = LANE_EVENTS_LEAST
        self._wanted = 1  # with fewer than so many there may be nothing to do
        self._suspects, self._suspected_bytes = 0, 0.0  # so many of those that come next may each be so large

    @property
    def has_room(self) -> bool:
        """Whether another read is welcome. One may be here while the next is under way: that is the read-ahead."""
        return self.count <= self._room and self.count * self.event_bytes < self._most_bytes

    @property
    def short(self) -> bool:
        """Whether the handler may wait for more."""
        return self.count < self._wanted

    def want(self, events: int) -> None:
        """The handler is to get so many at once: never be full with fewer."""
        self._wanted = events
        self._least = max(self._least, events)
        self._room = max(self._room, events)

    def ask(self, count: int, most_bytes: float = BUFFER_BYTES) -> bytes:
        """A read goes out that brings up to `count` entries; returns after which id. `most_bytes` may be held."""
        self._room, self._most_bytes = max(self._least, count), most_bytes
        self._asks += 1
        self.asked = self._asks
        return self.fetched

    def add(self, entries: list[Any], event_bytes: float) -> None:
        """Take the entries that follow `fetched`; `event_bytes` is their mean size."""
        self._replies.append(entries)
        self._hold(len(entries))
        self.total += len(entries)
        self.fetched = entries[-1][0]
        self._suspects -= len(entries)
        self.expect(event_bytes)

    def expect(self, event_bytes: float) -> None:
        """So large were the last ones. Larger ones are believed at once, smaller ones step by step: there was a reason
        to be careful."""
        least = self._suspected_bytes if self._suspects > 0 else _LEAST_BYTES
        self.event_bytes = max(event_bytes, self.event_bytes / 2, least)

    def suspect(self, events: int, event_bytes: float) -> None:
        """Expect so much of each of the next `events`, however small the first of them are."""
        self._suspects, self._suspected_bytes = events, event_bytes
        self.expect(event_bytes)

    def dry(self) -> None:
        """A read brought nothing: what is suspected is not there any more, and what was large once is forgiven step by
        step, or it would keep the reads of its neighbours small."""
        self._suspects = 0
        if self.event_bytes:
            self.expect(0)

    def take(self, size: int, *, gather: bool) -> list[Any]:
        """At most `size` entries, at least one. Several replies are joined only to `gather` a batch."""
        replies = self._replies
        entries = replies.popleft()
        while gather and len(entries) < size and replies:
            entries = entries + replies.popleft()
        if len(entries) > size:
            replies.appendleft(entries[size:])
            entries = entries[:size]
        self._hold(-len(entries))
        return entries

    def put_back(self, events: list[Event]) -> None:
        """Events that were taken, but are to be taken again in other runs."""
        self._replies.appendleft([[event._id, event._fields] for event in events])
        self._hold(len(events))

    def restart(self, cursor: bytes) -> None:
        """Forget everything, read on from `cursor`."""
        self._replies.clear()
        self._hold(-self.count)
        self.total = 0
        self.fetched = cursor
        self.asked = 0
        self.behind = True

    def _hold(self, more: int) -> None:
        self.count += more
        self._held.events += more


def mend(run: list[Event], event_id: bytes, record: bytes) -> None:
    """If that event is among these, put one in its place that has what an operator made of its record: it may have been
    decoded ahead."""
    for at, event in enumerate(run):
        if event._id == event_id:
            (run[at],) = event._source.events([[event_id, with_record(event._fields, record)]])
            run[at].attempt = event.attempt

"""The books of a lane with `order: key`: what is done has gaps. A commit moves the cursor to the last event before the
first gap, and remembers the ids of those behind it: what they did is in Redis, and nobody may do it again."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from runnelctl.core.keyorder import Flight, Passed
from runnelctl.event import Event
from runnelctl.runtime import workload
from runnelctl.runtime.effects import Packing
from runnelctl.runtime.ledger import Ledger
from runnelctl.runtime.states import Effect
from runnelctl.store.leases import Commit, Session
from runnelctl.store.wire import Argument

if TYPE_CHECKING:
    from runnelctl.runtime.keyed import KeyedLane

#: Handlers that run side by side end one by one: without a gap between commits, each would carry a few events. After a
#: commit the next one goes when the clock comes to a multiple of this, which is the same moment for all lanes, so that
#: theirs travel together. What ends later than that is committed at once.
COMMIT_GAP_S = 0.010
WINDOW = 1_000  # how far beyond the committed cursor events may arrive: bounds memory, and what a commit remembers
_NO_ORDINAL = 0  # effects that belong to no event of the partition's future: those of a parked one


class KeyedLedger(Ledger):
    """See the module. `done` and `committed` are watermarks here: everything up to them is done, or committed."""

    lane: KeyedLane

    def __init__(self, lane: KeyedLane, session: Session) -> None:
        self._next_at = 0.0  # when the next commit may go unless somebody waits for it
        self._asking: asyncio.TimerHandle | None = None
        processor = lane.slice.processor
        held = min(lane.slice.commit_events, WINDOW) - processor.concurrency * max(1, lane.slice.batch_size)
        self._plenty = max(1, held // 2)  # so many events done: a later commit would keep others from starting
        super().__init__(lane, session)

    def restart(self, session: Session) -> None:
        """As Ledger.restart."""
        super().restart(session)
        #: Done in an earlier session, and not seen again yet. Ids, since they mean the same in every history.
        self.remembered = dict.fromkeys(
            sorted((each for each in session.above if _follows(each, session.cursor)), key=_parts)
        )
        self._passed = Passed(session.count, session.cursor)
        self._finished: deque[Flight] = deque()  # what is not in a commit yet
        self._above = b" ".join(self.remembered)
        self.uncommitted = self._in_commit = 0  # events done that no answered commit holds, and those under way

    def recall(self, ordinal: int, event: Event) -> bool:
        """Whether the event was done in an earlier session: then it is passed."""
        if event._id not in self.remembered:
            return False
        del self.remembered[event._id]
        self._pass((Flight(ordinal, None, event),))
        if self.done > self.committed:
            self.mark_dirty(monotonic())
        return True

    def finish(self, flights: Sequence[Flight]) -> None:
        """Flights are done, in this order."""
        if self._void:
            return
        self._pass(flights)
        self._finished += flights
        self.uncommitted += len(flights)
        for flight in flights:
            flight.event = None  # records must not wait for a commit
            if flight.joined:
                self.uncommitted += len(flight.joined)
                for other in flight.joined:
                    other.event = None
            if flight.effects:
                self.effects.append((flight.ordinal, b"", flight.effects))
        if not self.dirty_since:
            self.mark_dirty(monotonic())
        elif self.uncommitted >= self._plenty:
            self.ask()

    def ask(self) -> None:
        """As Ledger.ask, but not before the gap is over, unless much is done."""
        left_s = self._next_at - monotonic()
        if left_s <= 0 or self.uncommitted >= self._plenty:
            super().ask()
        elif self._asking is None:
            self._asking = self.lane.loop.call_later(left_s, self._ask_now)

    def _ask_now(self) -> None:
        self._asking = None
        super().ask()

    def beside(self, effects: list[Effect]) -> None:
        """As Ledger.beside."""
        if not self._void:
            self.uncommitted += 1
            self.effects.append((_NO_ORDINAL, b"", effects))
            self._finished.append(Flight(_NO_ORDINAL, None, None, effects=effects))
            self.mark_dirty(monotonic())

    def _pass(self, flights: Sequence[Flight]) -> None:
        self._passed.add(flights)
        self.done = self._passed.watermark

    # --- what Ledger asks

    def _aside(self, done: int) -> bool:
        return bool(self._finished) and not self._void

    def _cut(self, done: int, packing: Packing) -> tuple[int, bytes]:
        """All that finished, in the order in which it did, or as much as fits into one script."""
        if self._void:
            self.in_flight_bytes = 0
            return self.committed, self.cursor
        self._next_at = (monotonic() // COMMIT_GAP_S + 1) * COMMIT_GAP_S
        self._pack(packing)
        ids, last = self._passed.tell([flight for flight in self._finished if flight.ordinal != _NO_ORDINAL])
        above = b" ".join([*ids, *self.remembered])
        if above != self._above:
            self._above = above
            packing.add(("A", self._names[0], (above, last)))
        return self._passed.told, self._passed.at

    def _pack(self, packing: Packing) -> None:
        """The effects of what finished. What does not fit stays in `_finished`."""
        finished = self._finished
        self._fill(packing, inf)
        left = packing.events
        while left:
            flight = finished.popleft()
            self._in_commit += flight.size
            left -= bool(flight.effects)
        if not self.effects:
            finished.clear()
            self._in_commit = self.uncommitted

    def _drop(self) -> None:
        super()._drop()
        self._finished.clear()

    def _settled(self, commit: Commit) -> None:
        self.uncommitted, self._in_commit = self.uncommitted - self._in_commit, 0
        super()._settled(commit)
        self.lane.nudge()  # there may be room for more events

    def _needed(self) -> set[Argument]:
        """As Ledger._needed; and what was read for events that have arrived."""
        lane = self.lane
        lane.flights.book()
        arrived = (workload.read_key(key) for key in lane.order.keys if key is not None)
        return super()._needed().union(lane.states.redis_key(key) for key in arrived)


def _parts(event_id: bytes) -> tuple[int, int]:
    ms, _, seq = event_id.partition(b"-")
    return int(ms), int(seq or 0)


def _follows(event_id: bytes, cursor: bytes) -> bool:
    return _parts(event_id) > _parts(cursor)

"""A lane with `order: key`: up to `concurrency` handlers of one partition at once, one at a time per key.

    intake --arrive--> KeyOrder --start--> workers: the handler --book--> KeyedLedger --> committer

The drive lets events arrive, looks after the lease and pumps; the calls are the matter of keyedflights.py.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from runnelctl.core.keyorder import Flight, KeyOrder
from runnelctl.runtime import board as cells
from runnelctl.runtime import keyedfailures, sessions, suspicion, workload
from runnelctl.runtime.intake import window_events
from runnelctl.runtime.keyedflights import Flights
from runnelctl.runtime.keyedledger import WINDOW, KeyedLedger
from runnelctl.runtime.lane import Lane
from runnelctl.store.leases import Session

if TYPE_CHECKING:
    from runnelctl.runtime.slice import Slice


class KeyedLane(Lane):
    """See the module. A *flight* is one call of the handler: an event, or with `batch` several of one key."""

    ledger: KeyedLedger

    def __init__(self, slice_: Slice, unit: int, grant: int, session: Session) -> None:
        super().__init__(slice_, unit, grant, session)
        self.flights = Flights(self)
        self._stated = WINDOW  # how many events may wait with their states
        self.pauses: dict[int, asyncio.TimerHandle] = {}  # failed flights that are tried again
        self._begin()

    def make_ledger(self, session: Session) -> KeyedLedger:
        """As Lane.make_ledger."""
        return KeyedLedger(self, session)

    def _begin(self) -> None:
        """A read session begins: nothing has arrived."""
        self.order = KeyOrder()
        self._arrived = self.ledger.done
        self.failed: dict[int, tuple[str, int]] = {}  # for good: the record that blocks the partition, its state
        q = self.slice.board.q
        q[self.base + cells.U_STARTED], q[self.base + cells.U_LAST] = self.ledger.done + 1, 0

    @property
    def resting(self) -> bool:
        """Nothing is in a handler or waits for one."""
        return not self.flights.flying and not self.order

    # --- the drive

    async def _turn(self) -> None:
        if monotonic() >= self.check_at and not await self.pause():
            return
        if self.parking.asked:
            await self._replay()
        ledger = self.ledger
        if self.slice.trial.lane is self and await suspicion.conclude(self):
            return
        if self._must_block():
            ledger.block(*self.failed[ledger.done + 1])
            return
        careful = ledger.done < self.session.suspect or ledger.done < self.alone_until
        if careful and self.resting and not await self._may_try():
            return
        await self._arrive(1 if careful else WINDOW)
        self.flights.allowed = 1 if careful else max(1, self.slice.processor.concurrency)
        self.flights.pump()
        if (careful or not self._room(WINDOW)) and not self._must_block() and not self.parking.asked:
            await self.wait(None)

    def look_around(self, now: float) -> bool:
        """The short `pause`, for workers: put the next look off; or nudge the drive to a long one, and return False."""
        slice_, q, ledger = self.slice, self.slice.board.q, self.ledger
        deadline = slice_.board.d[cells.H_DEADLINE]
        revoked = q[self.base + cells.U_GRANT] != self.grant or not q[self.base + cells.U_WANTED]
        overdue = ledger.dirty_since and (now - ledger.dirty_since >= slice_.commit_every_s or ledger.heavy)
        if revoked or overdue or now >= deadline or slice_.trial.bars(self):
            self.nudge()
            return False
        self.check_at = min(now + self._turn_s, deadline)
        return True

    async def _replay(self) -> None:
        """A page of parked events, with nothing else of the partition in a handler; then the others have a turn."""
        self.flights.held = True
        await self.flights.land()
        await self.parking.replay()
        self.flights.held = False

    def _must_block(self) -> bool:
        return bool(self.failed) and not self.flights.flying and self.ledger.done == min(self.failed) - 1

    async def _may_try(self) -> bool:
        """After a death, one event at a time, from the cursor on: what may be to blame is tried alone."""
        if not self.intake.count:
            await self.wait(None)
            return False
        if not await suspicion.careful_size(self, 1):
            return False
        if suspicion.convicted(self):
            await self._arrive(1)
            first = self.order.start()
            if first is not None:
                keyedfailures.settle_dead(self, first)
                await sessions.settle(self)
            return False
        return True

    def _room(self, window: int) -> int:
        """How many events may arrive now."""
        if self.failed or self.stopping or self.resyncing or self.ended is not None:
            return 0
        ahead = self._arrived - self.ledger.committed if window > 1 else int(not self.resting)
        together = min(self._stated, window_events(len(self.slice.lanes), self.intake.event_bytes))
        return max(0, min(self.intake.count, window - ahead, together - len(self.order)))

    async def _arrive(self, window: int) -> None:
        if self.states.used:
            self._stated = max(self.slice.processor.concurrency, self.ledger.relieve_states())
        room = self._room(window)
        if room <= 0:
            return
        run = self._take(room)
        if self.states.used:
            await self.slice.load_states(self.states, run)
            if self.resyncing or self.ended is not None:
                return  # what was taken is read again, if by anybody then by somebody else
        ordinal, order, ledger = self._arrived, self.order, self.ledger
        for event in run:
            ordinal += 1
            if not ledger.remembered or not ledger.recall(ordinal, event):
                fields = event._fields
                key = fields[3] if len(fields) > 3 and fields[2] == b"key" else workload.stored_key(event)
                order.arrive(Flight(ordinal, key, event))
        self._arrived = ordinal

    async def read_anew(self) -> None:
        """As Lane.read_anew, once everything has landed."""
        await self._land()
        await super().read_anew()
        if not self.resyncing:
            self._begin()

    async def finish(self) -> None:
        """As Lane.finish."""
        await self._land()
        self.flights.close()
        self.slice.board.q[self.base + cells.U_LAST] = 0  # another kind of lane may follow

    async def _land(self) -> None:
        """Wait for what is in handlers; what waits for another attempt stays undone."""
        for pause in self.pauses.values():
            pause.cancel()
        self.pauses.clear()
        await self.flights.land()

    def fail(self, flight: Flight, record: str, state: int) -> None:
        """An event failed for good and stops the partition: the cursor must come to stand right before it. What is
        older goes on, what is younger does not start; the oldest that failed is the one that counts."""
        self.failed[flight.ordinal] = (record, state)
        self.order.bar(flight.ordinal)
        self.flights.off(flight)

    def idle(self) -> None:
        """As Lane.idle, but something may be in flight while the drive waits."""
        if not self.flights.flying:
            super().idle()

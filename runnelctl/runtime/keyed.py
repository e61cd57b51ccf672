"""A lane with `order: key`: up to `concurrency` handlers of one partition at once, one at a time per key.

    intake --arrive--> KeyOrder --start--> workers: the handler --> landed --> KeyedLedger --> committer

The drive lets events arrive, looks after the lease and starts workers; each worker takes one event after the other. The
next worker gets its turn only where one is suspended, so a handler that never waits costs no task and no switch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TYPE_CHECKING

from runnelctl.core.keyorder import KeyOrder
from runnelctl.event import Event
from runnelctl.runtime import board as cells
from runnelctl.runtime import keyedfailures, suspicion, workload
from runnelctl.runtime.context import Context
from runnelctl.runtime.intake import window_events
from runnelctl.runtime.keyedledger import WINDOW, KeyedLedger
from runnelctl.runtime.lane import Lane
from runnelctl.runtime.states import Effect
from runnelctl.runtime.threads import failure_of
from runnelctl.store.leases import Session

if TYPE_CHECKING:
    from runnelctl.runtime.slice import Slice


class KeyedLane(Lane):
    """See the module. A *flight* is one call of the handler: an event, or with `batch` several of one key."""

    ledger: KeyedLedger

    def __init__(self, slice_: Slice, unit: int, grant: int, session: Session) -> None:
        super().__init__(slice_, unit, grant, session)
        self._workers = 0
        self._idle: list[asyncio.Future[None]] = []  # of workers that have nothing to do
        self._allowed, self._stated = 1, WINDOW  # how many may be in handlers, and how many may wait with their states
        self._linked = self._over = self._held = False
        self._grounded: asyncio.Future[None] | None = None
        self._flying: dict[int, float] = {}  # a flight's first ordinal -> since when
        self._starts: deque[tuple[int, float]] = deque()  # the same, the oldest first; some may have landed
        self.pauses: dict[int, asyncio.TimerHandle] = {}  # failed flights that are tried again
        self._begin()

    def make_ledger(self, session: Session) -> KeyedLedger:
        """As Lane.make_ledger."""
        return KeyedLedger(self, session)

    def _begin(self) -> None:
        """A read session begins: nothing has arrived."""
        self.order = KeyOrder()
        self.events: dict[int, Event] = {}
        self._arrived = self.ledger.done
        self.single: set[int] = set()  # of a batch that failed: each gets one last attempt alone
        self.failed: dict[int, tuple[str, int]] = {}  # for good: the record that blocks the partition, its state
        q = self.slice.board.q
        q[self.base + cells.U_STARTED], q[self.base + cells.U_LAST] = self.ledger.done + 1, 0

    @property
    def resting(self) -> bool:
        """Nothing is in a handler or waits for one."""
        return not self._flying and not self.events

    # --- the drive

    async def _turn(self) -> None:
        if monotonic() >= self.check_at and not await self.pause():
            return
        if self.parking.asked:
            await self._replay()
        ledger, trial = self.ledger, self.slice.trial
        if trial.lane is self and self.session.suspect <= ledger.done:
            trial.over(self)
        if self._must_block():
            ledger.block(*self.failed[ledger.done + 1])
            return
        careful = ledger.done < self.session.suspect or ledger.done < self.alone_until
        if careful and self.resting and not await self._may_try():
            return
        await self._arrive(1 if careful else WINDOW)
        self._allowed = 1 if careful else max(1, self.slice.processor.concurrency)
        self.pump()
        if (careful or not self._room(WINDOW)) and not self._must_block() and not self.parking.asked:
            await self.wait(None)

    async def _replay(self) -> None:
        """A page of parked events, with nothing else of the partition in a handler; then the others have a turn."""
        self._held = True
        while self._flying:
            await self._ground()
        await self.parking.replay()
        self._held = False

    def _must_block(self) -> bool:
        return bool(self.failed) and not self._flying and self.ledger.done == min(self.failed) - 1

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
                keyedfailures.settle_dead(self, first, self.events[first])
            return False
        return True

    def _room(self, window: int) -> int:
        """How many events may arrive now."""
        if self.failed or self.stopping or self.resyncing or self.ended is not None:
            return 0
        ahead = len(self.events) if window == 1 else self._arrived - self.ledger.committed
        together = min(self._stated, window_events(len(self.slice.lanes), self.intake.event_bytes))
        return max(0, min(self.intake.count, window - ahead, together - len(self.events)))

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
        for event in run:
            self._arrived += 1
            if not self.ledger.recall(self._arrived, event._id):
                self.events[self._arrived] = event
                self.order.arrive(self._arrived, workload.key_or_none(event))

    async def read_anew(self) -> None:
        """As Lane.read_anew, once everything has landed."""
        await self._land()
        await super().read_anew()
        if not self.resyncing:
            self._begin()

    async def finish(self) -> None:
        """As Lane.finish."""
        await self._land()
        self._over = True
        while self._idle:
            self._idle.pop().set_result(None)
        self.slice.board.q[self.base + cells.U_LAST] = 0  # another kind of lane may follow

    async def _land(self) -> None:
        """Wait for what is in handlers; what waits for another attempt stays undone."""
        for pause in self.pauses.values():
            pause.cancel()
        self.pauses.clear()
        while self._flying:
            await self._ground()

    async def _ground(self) -> None:
        self._grounded = self.loop.create_future()
        await self._grounded

    # --- workers

    def pump(self) -> None:
        """See that somebody starts what may start."""
        self._linked = False
        if not self.order.ready or len(self._flying) >= self._allowed:
            return
        if self._idle:
            self._idle.pop().set_result(None)
        elif self._workers < self.slice.processor.concurrency:
            self._workers += 1
            self.slice.start(self._work())

    async def _work(self) -> None:
        context = self.slice.context_for(self)
        gave_way = False
        while True:
            if flight := self._depart():
                await self._fly(flight, context)
                gave_way = False
            elif self._over:
                return
            elif self.order.ready and not gave_way:
                gave_way = True
                await asyncio.sleep(0)  # handlers that never wait would keep the loop to themselves
            else:
                rest = self.loop.create_future()
                self._idle.append(rest)
                await rest

    def _depart(self) -> list[int]:
        """The ordinals of the next flight; none if nothing may start."""
        while True:
            over = self.stopping or self.resyncing or self.ended is not None
            if over or self._held or len(self._flying) >= self._allowed:
                return []
            if self.ledger.uncommitted + len(self._flying) * max(1, self.batch_size) >= self.slice.commit_events:
                return []  # the next commit makes room
            now = monotonic()
            if now >= self.check_at:
                self.look_around(now)
                return []
            first = self.order.start()
            if first is None:
                return []
            if not (self.parking.keys and self.parking.holds(self.events[first])):
                break
            keyedfailures.park(self, first)
        flight = [first]
        if self.batch_size > 1 and first not in self.single:
            flight += self.order.join(first, self.batch_size - 1 if self._allowed > 1 else 0)
        self._flying[first] = now
        self._starts.append((first, now))
        q, d = self.slice.board.q, self.slice.board.d
        q[self.base + cells.U_LAST] = max(q[self.base + cells.U_LAST], flight[-1])
        if len(self._flying) == 1:
            d[self.base + cells.U_SINCE] = now
        if not self._linked and self.order.ready and len(self._flying) < self._allowed:
            self._linked = True  # if this handler waits for something, another worker goes on
            self.loop.call_soon(self.pump)
        return flight

    async def _fly(self, flight: list[int], context: Context) -> None:
        slice_ = self.slice
        first, *others = events = [self.events[ordinal] for ordinal in flight]
        context.event, context.confined_to = None if others else first, first
        given = events if slice_.batch_size else first
        try:
            if slice_.form.kind == "sync":
                arguments = (given, context) if slice_.form.takes_ctx else (given,)
                error = await self.loop.run_in_executor(self._threads(), failure_of, slice_.handler, arguments)
                if error is not None:
                    raise error
            elif slice_.form.takes_ctx:
                await slice_.handler(given, context)
            else:
                await slice_.handler(given)
            effects = context.collect() if context.touched else []
        except BaseException as error:
            context.abandon()
            began = self._flying[flight[0]]
            await keyedfailures.settle(self, flight, events, error)
            self.observe(monotonic() - began, len(flight))
        else:
            self.count(cells.U_PROCESSED, len(flight))
            self.observe(monotonic() - self._flying[flight[0]], len(flight))
            self.done(flight, effects)

    def _threads(self) -> ThreadPoolExecutor:
        if self.thread is None:
            self.thread = ThreadPoolExecutor(self.slice.processor.concurrency, thread_name_prefix=self.name)
        return self.thread

    def done(self, flight: list[int], effects: list[Effect]) -> None:
        """All of a flight is done, with these effects."""
        for ordinal in flight:
            self.ledger.finish(ordinal, self.events.pop(ordinal)._id, effects if ordinal == flight[-1] else [])
        if self.single:
            self.single.difference_update(flight)
        self.order.done(flight)
        self.landed(flight[0])

    def landed(self, first: int) -> None:
        """A flight is over, however it went."""
        self._flying.pop(first, None)
        board, starts = self.slice.board, self._starts
        board.q[self.base + cells.U_STARTED] = self.ledger.done + 1
        while starts and self._flying.get(starts[0][0]) != starts[0][1]:
            starts.popleft()
        if starts:
            board.d[self.base + cells.U_SINCE] = starts[0][1]
        else:
            self.idle()
            self.nudge()
            if self._grounded is not None and not self._grounded.done():
                self._grounded.set_result(None)

    def fail(self, ordinal: int, record: str, state: int) -> None:
        """An event failed for good and stops the partition: the cursor must come to stand right before it. What is
        older goes on, what is younger does not start; the oldest that failed is the one that counts."""
        self.failed[ordinal] = (record, state)
        self.order.bar(ordinal)
        self.landed(ordinal)

    def idle(self) -> None:
        """As Lane.idle, but something may be in flight while the drive waits."""
        if not self._flying:
            super().idle()

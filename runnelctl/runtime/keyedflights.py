"""The calls of a lane with `order: key`: who departs, who is in a handler, and what of it is on the board.

Workers take one flight after the other. The next worker gets its turn only where one is suspended, so a handler that
never waits costs no task and no switch. What happens per flight is in `_work` and `_depart`; flights that end in one
turn of the loop get into the books together, in the next: until then they are `flying`, for everybody who asks.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TYPE_CHECKING

from runnelctl.core.keyorder import Flight
from runnelctl.runtime import board as cells
from runnelctl.runtime import keyedfailures
from runnelctl.runtime.states import Effect
from runnelctl.runtime.threads import failure_of

if TYPE_CHECKING:
    from runnelctl.runtime.keyed import KeyedLane


class Flights:
    """See the module. `allowed` at once, none while `held`."""

    def __init__(self, lane: KeyedLane) -> None:
        self.lane = lane
        self.allowed, self.held = 1, False
        self.flying: dict[int, Flight] = {}  # by their ordinals, the oldest start first
        self._aloft = 0  # how many of them are in a handler
        self._landed: list[Flight] = []  # the others, in the order in which they ended
        self._events = max(1, lane.batch_size)  # of one flight, at most
        self._most, self._ledger = lane.slice.commit_events, lane.ledger  # of events not committed; who counts them
        self._workers = 0
        self._idle: list[asyncio.Future[None]] = []  # of workers that have nothing to do
        self._linked = self._over = False
        self._had_turn = True  # the loop had a turn since the last departure
        self._grounded: asyncio.Future[None] | None = None
        # As the board has it: what is in handlers is among these ordinals.
        self._first = self._last = 0
        self._q, self._last_cell = lane.slice.board.q, lane.base + cells.U_LAST

    async def land(self) -> None:
        """Wait for all that fly."""
        while self.flying:
            self._grounded = self.lane.loop.create_future()
            await self._grounded

    def close(self) -> None:
        """Nothing departs any more; the workers go home."""
        self._over = True
        while self._idle:
            self._idle.pop().set_result(None)

    # --- workers

    def pump(self) -> None:
        """See that somebody starts what may start."""
        self._linked, self._had_turn = False, True
        # As many as are suspended in handlers show that these wait for something: so many more may begin at once.
        for _ in range(min(self.lane.order.ready, self.allowed - self._aloft, self._aloft + 1)):
            if self._idle:
                self._idle.pop().set_result(None)
            elif self._workers < self.lane.slice.processor.concurrency:
                self._workers += 1
                self.lane.slice.start(self._work())

    def _pump_soon(self) -> None:
        if not self._linked:
            self._linked = True
            self.lane.loop.call_soon(self.pump)

    async def _work(self) -> None:
        lane, slice_, landed = self.lane, self.lane.slice, self._landed
        context, batches, takes_ctx = slice_.context_for(lane), slice_.batch_size > 0, slice_.form.takes_ctx
        handler = self._in_thread if slice_.form.kind == "sync" else slice_.handler
        now, before = monotonic(), None
        while not self._over:
            flight = self._depart(now, before)
            before = None
            if flight is None:
                await self._rest()
                now = monotonic()
                continue
            event = flight.event
            given = flight.events if batches else event
            try:
                if takes_ctx:
                    context.event, context.confined_to = None if flight.joined else event, event
                    await handler(given, context)
                    if context.touched:
                        flight.effects = context.collect()
                else:
                    await handler(given)
            except BaseException as error:
                context.abandon()
                await keyedfailures.settle(lane, flight, error)
                self._aloft -= 1
                now = monotonic()
                lane.observe(now - flight.since, flight.size)
            else:
                now = flight.until = monotonic()
                self._aloft -= 1
                before = flight
                if not landed:
                    lane.loop.call_soon(self.book)
                landed.append(flight)

    async def _in_thread(self, *given: object) -> None:
        lane = self.lane
        if lane.thread is None:
            lane.thread = ThreadPoolExecutor(lane.slice.processor.concurrency, thread_name_prefix=lane.name)
        error = await lane.loop.run_in_executor(lane.thread, failure_of, lane.slice.handler, given)
        if error is not None:
            raise error

    async def _rest(self) -> None:
        if not self._aloft:
            self.book()  # at once: another lane's handler may block the loop now
        rest = self.lane.loop.create_future()
        self._idle.append(rest)
        await rest

    def _depart(self, now: float, before: Flight | None) -> Flight | None:
        """The next flight of a worker whose flight `before` is done; None if nothing may start now. Then somebody pumps
        when something may."""
        lane, flying = self.lane, self.flying
        # What is in here is paid per event. A lane that is to stop, or over, has put `check_at` back.
        due = now >= lane.check_at
        if self._aloft >= self.allowed or self.held or self._room <= 0 or (due and not self._look(now)):
            if before is not None:
                lane.order.done(before)
            return None
        flight = lane.order.start() if before is None else lane.order.follow(before)
        while flight is not None and lane.parking.keys and lane.parking.holds(flight.event):
            keyedfailures.park(lane, flight)
            flight = lane.order.start()
        if flight is None:
            return None
        if self._events > 1 and not flight.alone and self.allowed > 1:
            lane.order.join(flight, min(self._events, self._room) - 1)
        flight.since = now
        flying[ordinal := flight.ordinal] = flight
        if not self._aloft or flight.joined or ordinal < self._first:
            self._show_start(flight)
        elif ordinal > self._last:
            self._last = self._q[self._last_cell] = ordinal
        self._aloft += 1
        self._had_turn = False
        if not self._linked and self._aloft < self.allowed and lane.order.ready:
            self._pump_soon()  # if this handler waits for something, another worker goes on
        return flight

    @property
    def _room(self) -> int:
        """How many events may start: with those that a commit is still to hold, no more than a death may repeat. The
        next commit makes room."""
        return self._most - self._ledger.uncommitted - len(self.flying) * self._events

    def _look(self, now: float) -> bool:
        """A look around was due: whether a flight may start. If the lease's drive has to decide, it is awake now."""
        lane = self.lane
        if lane.stopping or lane.resyncing or lane.ended is not None or not lane.look_around(now):
            return False
        if not self._had_turn:
            self._pump_soon()  # handlers that never wait would keep the loop to themselves
        return self._had_turn

    # --- the books

    def book(self) -> None:
        """Put what ended into the books."""
        self._had_turn = True
        landed, lane = self._landed, self.lane
        if not landed:
            return
        flying, calls, events = self.flying, dict[int, int](), 0  # calls by the bits of their microseconds
        for flight in landed:
            del flying[flight.ordinal]
            bits, size = int((flight.until - flight.since) * 1e6).bit_length(), 1 + len(flight.joined)
            calls[bits] = calls.get(bits, 0) + size
            events += size
        lane.count(cells.U_PROCESSED, events)
        last = cells.LATENCY_BUCKETS - 1
        for bits, found in calls.items():
            lane.count(cells.U_LATENCY + min(bits, last), found)
        lane.ledger.finish(landed)
        landed.clear()
        self._show()

    def done(self, flight: Flight, effects: list[Effect]) -> None:
        """A flight is done by decree, with these effects. What ended before it comes first."""
        self.book()
        flight.effects = effects
        self.lane.order.done(flight)
        self.lane.ledger.finish([flight])
        self.off(flight)

    def off(self, flight: Flight) -> None:
        """A flight that did not land is over."""
        self.flying.pop(flight.ordinal, None)
        self._show()

    # --- the board

    def _show_start(self, flight: Flight) -> None:
        """A call begins, alone or among others."""
        last = flight.joined[-1].ordinal if flight.joined else flight.ordinal
        if self._aloft:
            self._show_range(min(self._first, flight.ordinal), max(self._last, last))
        else:
            self._show_range(flight.ordinal, last)
            self.lane.slice.board.d[self.lane.base + cells.U_SINCE] = flight.since

    def _show_range(self, first: int, last: int) -> None:
        self._first, self._last = first, last
        self._q[self._last_cell] = last
        self._q[self.lane.base + cells.U_STARTED] = first

    def _show(self) -> None:
        """Some are over."""
        lane, flying = self.lane, self.flying
        if flying:
            oldest = next(iter(flying.values()))
            if len(flying) == 1 and not oldest.joined:
                self._show_range(oldest.ordinal, oldest.ordinal)
            else:
                self._show_range(lane.ledger.done + 1, self._last)
            lane.slice.board.d[lane.base + cells.U_SINCE] = oldest.since
            return
        self._q[lane.base + cells.U_STARTED] = lane.ledger.done + 1
        lane.idle()
        lane.nudge()
        if self._grounded is not None and not self._grounded.done():
            self._grounded.set_result(None)

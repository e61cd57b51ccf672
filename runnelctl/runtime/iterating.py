"""The iterator form: a handler that runs once per partition, as a loop over its events.

    lane --run--> Iteration.take_on --> the handler's own task: async for event in events: ...
         <--how far it came, or its failure--

The handler is a task that lives over many runs. While a run has events and the lane's `check_at` is not due, each is
handed over inside `__anext__` without suspending: what is paid per event is what `calls.each` pays, and a turn of a
generator. An event (or a taken list, "what is in hand") is done when the handler asks for the next one or returns.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from runnelctl.errors import HandlerError
from runnelctl.event import Event
from runnelctl.handling import HandlerForm
from runnelctl.runtime import board as cells
from runnelctl.runtime.context import Context
from runnelctl.runtime.events import Events
from runnelctl.runtime.layers import Chain
from runnelctl.runtime.threads import failure_of, thread_of

if TYPE_CHECKING:
    from runnelctl.runtime.calls import Outcome
    from runnelctl.runtime.lane import Lane

SLOW_S = 0.001
CANCEL_S = 1.0  # how long a handler that was cancelled may take to notice

_NOTHING_TAKEN = (
    "the handler returned without asking for an event: an iterator handler loops, as in `async for event in events`"
)


async def iterate(lane: Lane, run: list[Event], index: int) -> Outcome:
    """Give run[index:] to the lane's handler, starting it if it is not at its loop already."""
    iteration = lane.iteration
    if iteration is None or iteration.over or lane.ledger.first + index < iteration.expected:
        if iteration is not None:
            await iteration.cancel()  # history changed under it: it saw events that come again
        iteration = lane.iteration = Iteration(lane)
    return await iteration.take_on(run, index)


class Iteration:
    """One start of the handler on one lane, from its first event until it returns, fails, or the lane is over."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.over = False
        self.ending = False  # who asks for the next event is told that there is none
        self.expected = 0  # the ordinal that comes next, unless some are passed over without it
        self.size, self.within_s = lane.slice.batch_size, lane.slice.batch_within_s  # of lists; 0: single events
        self._run: list[Event] = []
        self._index = 0  # what is in hand, or comes next
        self._hand = 0  # how many events the handler has at the moment
        self._turns = self._slow = 0
        self._began = 0.0
        self._error: BaseException | None = None
        self._refused: BaseException | None = None  # a failure that the handler has no say in
        self._task: asyncio.Task[None] | None = None
        self._back: asyncio.Future[None] | None = None
        self._more: asyncio.Future[None] | None = None
        self.chain = Chain(lane.slice.layers, self._source(), lane.context)

    # --- the lane's side

    async def take_on(self, run: list[Event], index: int) -> Outcome:
        """Let the handler have run[index:]; back when it asks for more, has ended, or `check_at` is due."""
        loop = asyncio.get_running_loop()
        lane = self.lane
        self._run, self._index, self._slow, self._began = run, index, 0, monotonic()
        self._back = loop.create_future()
        if self._task is None:
            self._mark(1)  # what it does before its loop is put down to the event that it is started for
            self._task = loop.create_task(self._main(), name=f"handler of {lane.name}")
        elif self._more is not None and not self._more.done():
            self._more.set_result(None)
        await self._back
        self._observe(self._index - index)
        self.expected = lane.ledger.first + self._index
        error, self._error = self._error, None
        return self._index, error

    async def finish(self) -> None:
        """The lane is over: let the loop end, so that what stands after it and in `finally` runs; cancel it if the
        lease is lost, since nothing may be done in the partition's name any more."""
        if self._task is None or self.over:
            return
        lane = self.lane
        if lane.ended is not None:
            await self.cancel()
            return
        self.ending = True
        if self._more is not None and not self._more.done():
            self._more.set_result(None)
        await asyncio.wait((self._task,), timeout=lane.slice.processor.timeout_ms / 1000)
        if not self.over:
            lane.slice.log.warning("%s: the handler did not end when its events did: cancelling it", lane.name)
            await self.cancel()
        if self._error is not None:
            lane.slice.log.error("%s: the handler failed at its end", lane.name, exc_info=self._error)
        if lane.context.touched:
            lane.slice.log.warning("%s: emits and states after the last event are part of no event: dropped", lane.name)
            lane.context.abandon()

    async def cancel(self) -> None:
        """End the handler where it waits for its next event."""
        if self._task is None or self.over:
            return
        self.ending = True
        self._task.cancel()
        await asyncio.wait((self._task,), timeout=CANCEL_S)
        if not self.over:
            self.lane.slice.log.warning("%s: the handler goes on though it was cancelled", self.lane.name)
        self.lane.context.abandon()

    def _observe(self, events: int) -> None:
        lane, slow = self.lane, self._slow
        lane.count(cells.U_PROCESSED, events)
        if events > slow and not self.size:
            end = lane.slice.board.d[lane.base + cells.U_SINCE] if self._error is not None else monotonic()
            lane.observe(max(0.0, end - self._began) / (events - slow), events - slow)

    # --- the handler's side

    async def _main(self) -> None:
        try:
            await self._handle()
        except BaseException as error:
            self._error = error
        if self._refused is not None:
            self._error = self._refused
        self.over = True
        self._come_back()

    async def _handle(self) -> None:
        slice_, lane = self.lane.slice, self.lane
        lane.context.event = None
        events = Events(self)
        try:
            if slice_.form.takes_ctx:
                await slice_.handler(events, lane.context)
            else:
                await slice_.handler(events)
        except BaseException as error:
            self.ending = True  # a middleware that goes on after the failure finds no more events
            await self.chain.failed(error)
        else:
            if not (self._turns or self._hand or self.ending):
                raise HandlerError(_NOTHING_TAKEN)
            self.ending = True
            await self.chain.returned()
            if self._hand:
                self._done()

    def _come_back(self) -> None:
        if self._back is not None and not self._back.done():
            self._back.set_result(None)

    async def _source(self) -> AsyncGenerator[Event | list[Event], None]:
        """The lane's events, or lists of them, in order. Asked for the next, what was in hand is done."""
        lane, context, ledger = self.lane, self.lane.context, self.lane.ledger
        q, d = lane.slice.board.q, lane.slice.board.d
        started, since = lane.base + cells.U_STARTED, lane.base + cells.U_SINCE
        checked, matches = lane.slice.checked, lane.slice.matches
        while await self._has_more():
            if self.size:
                events = self._list()
                if matches is not None:
                    events = self._chosen(events)
                self._look_at(events)
                if events:
                    yield events
                self._done()
                continue
            lane.batch_size = 0
            run, first, count, index = self._run, ledger.first, len(self._run), self._index
            now = monotonic()
            while index < count and now < lane.check_at and not self.size and not self.ending:
                event = run[index]
                q[started] = first + index
                d[since] = now
                context.event = event
                self._hand = 1
                if matches is None or self._chosen([event]):
                    if checked:
                        self._look_at((event,))
                    yield event
                if context.touched:
                    ledger.effects.append((first + index, event._id, context.collect()))
                ledger.done = first + index
                index += 1
                self._index, self._hand = index, 0
                if not ledger.dirty_since:
                    ledger.mark_dirty(now)
                before, now = now, monotonic()
                if now - before > SLOW_S:
                    lane.observe(now - before)
                    self._began += now - before
                    self._slow += 1
            self._turns += 1

    async def _has_more(self) -> bool:
        """Whether there is an event to hand out. Gives the turn back to the lane where it has to look around."""
        lane = self.lane
        while not self.ending:
            left = len(self._run) - self._index
            if left > 0 and self.size and lane.batch_size != self.size:
                lane.batch_size, lane.batch_within_s = self.size, self.within_s
                if left != self.size:  # the lane gathers it anew, as a list that is as long as can be
                    lane.intake.put_back(self._run[self._index :])
                    del self._run[self._index :]
                    left = 0
            lane.batch_within_s = self.within_s
            if left > 0 and monotonic() < lane.check_at:
                return True
            self._more = asyncio.get_running_loop().create_future()
            self._come_back()
            await self._more
        return False

    def _list(self) -> list[Event]:
        """All that is left of the run: the lane made it as long as was asked for."""
        events = self._run[self._index :]
        self._mark(len(events))
        self._hand = len(events)
        self.lane.context.event = events[0] if len(events) == 1 else None
        return events

    def _mark(self, events: int) -> None:
        board, base, first = self.lane.slice.board, self.lane.base, self.lane.ledger.first + self._index
        board.q[base + cells.U_LAST] = first + events - 1
        board.q[base + cells.U_STARTED] = first
        board.d[base + cells.U_SINCE] = monotonic()

    def _look_at(self, events: list[Event] | tuple[Event]) -> None:
        """With `validate: read`, a record that does not fit never reaches the handler, even one that catches all."""
        if self.lane.slice.checked:
            try:
                for event in events:
                    _ = event.value
            except BaseException as error:
                self._refused = error
                raise

    def _chosen(self, events: list[Event]) -> list[Event]:
        """With `match`: those that the handler is for. One that can't be decoded is a failure of its own."""
        assert self.lane.slice.matches is not None
        try:
            return [event for event in events if self.lane.slice.matches(event)]
        except BaseException as error:
            self._refused = error
            raise

    def _done(self) -> None:
        """What is in hand is done, with everything that it did."""
        lane, ledger, last = self.lane, self.lane.ledger, self._index + self._hand - 1
        now = monotonic()
        if lane.context.touched:
            ledger.effects.append((ledger.first + last, self._run[last]._id, lane.context.collect()))
        ledger.done = ledger.first + last
        if self.size or self._hand > 1:
            lane.observe(now - lane.slice.board.d[lane.base + cells.U_SINCE], self._hand)
        self._index, self._hand = last + 1, 0
        self._turns += 1
        ledger.mark_dirty(now)


def loop_over(handler: Callable[..., Any], form: HandlerForm) -> Callable[..., Any]:
    """A function of one event (or list) as an iterator handler, for middleware that goes around the events. A plain
    function runs in its partition's thread, at the price of a hop per call."""
    takes_ctx = form.takes_ctx

    async def loop(events: Events, ctx: Context) -> None:
        async for given in events.iteration.chain.head:
            await (handler(given, ctx) if takes_ctx else handler(given))

    async def loop_in_thread(events: Events, ctx: Context) -> None:
        running, thread = asyncio.get_running_loop(), thread_of(events.iteration.lane)
        async for given in events.iteration.chain.head:
            arguments = (given, ctx) if takes_ctx else (given,)
            error = await running.run_in_executor(thread, failure_of, handler, arguments)
            if error is not None:
                raise error

    looped: Any = loop_in_thread if form.kind == "sync" else loop
    looped.__wrapped__ = handler
    return looped  # type: ignore[no-any-return]

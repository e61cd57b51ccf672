"""Calling the handler: each form takes a lane, a run and an index, and calls the handler for run[index:] until the run
ends, a call fails, or the lane's `check_at` is due. It returns how far it came, and the failure if there was one.

The loops of `each` and `each_in_thread` are the hot path of the whole system: what is in them is paid per event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TYPE_CHECKING

from runnelctl.core.model import Processor
from runnelctl.event import Event
from runnelctl.handling import HandlerForm
from runnelctl.runtime import board as cells
from runnelctl.runtime import iterating
from runnelctl.runtime.threads import failure_of, thread_of

if TYPE_CHECKING:
    from runnelctl.runtime.lane import Lane

SLOW_S = 0.001  # calls above are clocked one by one, those below by the mean of their run

Outcome = tuple[int, BaseException | None]
Call = Callable[["Lane", list[Event], int], Awaitable[Outcome]]


def form_of(processor: Processor, form: HandlerForm) -> Call:
    """The way to call a handler of this form for this processor."""
    if form.kind == "events":
        return iterating.iterate
    if processor.batch is not None:
        return batch if form.kind == "async" else batch_in_thread
    return each if form.kind == "async" else each_in_thread


async def each(lane: Lane, run: list[Event], index: int) -> Outcome:
    """A coroutine handler, one event after the other, in the slice's loop."""
    slice_, context, ledger = lane.slice, lane.context, lane.ledger
    handler, takes_ctx = slice_.handler, slice_.form.takes_ctx
    q, d, started, since = slice_.board.q, slice_.board.d, lane.base + cells.U_STARTED, lane.base + cells.U_SINCE
    ordinal, slow = ledger.first + index, 0
    now = began = d[since] = monotonic()
    error: BaseException | None = None
    try:
        for event in run[index:]:
            if now >= lane.check_at:
                break
            q[started] = ordinal
            if takes_ctx:
                context.event = event
                await handler(event, context)
                if context.touched:
                    ledger.effects.append((ordinal, event._id, context.collect()))
            else:
                await handler(event)
            ledger.done = ordinal
            ordinal += 1
            if not ledger.dirty_since:
                ledger.mark_dirty(now)
            before, now = now, monotonic()
            if now - before > SLOW_S:
                lane.observe(now - before)
                d[since] = now
                began += now - before
                slow += 1
    except BaseException as raised:
        error = raised
    _observe(lane, ordinal - ledger.first - index, slow, began, now)
    return ordinal - ledger.first, error


async def each_in_thread(lane: Lane, run: list[Event], index: int) -> Outcome:
    """A plain function, in the partition's own thread: the whole run in one go, so that a hop is paid per run."""
    loop = asyncio.get_running_loop()
    outcome = await loop.run_in_executor(thread_of(lane), _each_sync, lane, run, index, loop)
    _catch_up(lane)
    return outcome


def _each_sync(lane: Lane, run: list[Event], index: int, loop: asyncio.AbstractEventLoop) -> Outcome:
    slice_, context, ledger = lane.slice, lane.context, lane.ledger
    handler, takes_ctx = slice_.handler, slice_.form.takes_ctx
    q, d, started, since = slice_.board.q, slice_.board.d, lane.base + cells.U_STARTED, lane.base + cells.U_SINCE
    ordinal, slow = ledger.first + index, 0
    now = began = d[since] = monotonic()
    error: BaseException | None = None
    try:
        for event in run[index:]:
            if now >= lane.check_at:
                break
            q[started] = ordinal
            if takes_ctx:
                context.event = event
                handler(event, context)
                if context.touched:
                    ledger.effects.append((ordinal, event._id, context.collect()))
            else:
                handler(event)
            ledger.done = ordinal
            ordinal += 1
            if not ledger.dirty_since:
                ledger.dirty_since = now
                loop.call_soon_threadsafe(ledger.mark_dirty, now)
            before, now = now, monotonic()
            if now - before > SLOW_S:
                lane.observe(now - before)
                d[since] = now
                began += now - before
                slow += 1
    except BaseException as raised:
        error = raised
    _observe(lane, ordinal - ledger.first - index, slow, began, now)
    return ordinal - ledger.first, error


async def batch(lane: Lane, run: list[Event], index: int) -> Outcome:
    """A coroutine handler that takes a list."""
    _begin_batch(lane, run, index)
    try:
        if lane.slice.form.takes_ctx:
            await lane.slice.handler(run[index:], lane.context)
        else:
            await lane.slice.handler(run[index:])
        return _end_batch(lane, run, index)
    except BaseException as error:
        return index, error


async def batch_in_thread(lane: Lane, run: list[Event], index: int) -> Outcome:
    """A plain function that takes a list, in the partition's own thread."""
    _begin_batch(lane, run, index)
    arguments: tuple[object, ...] = (run[index:], lane.context) if lane.slice.form.takes_ctx else (run[index:],)
    error = await asyncio.get_running_loop().run_in_executor(thread_of(lane), failure_of, lane.slice.handler, arguments)
    if error is not None:
        return index, error
    try:
        return _end_batch(lane, run, index)
    except BaseException as refused:  # a state that can't be stored
        return index, refused


def _begin_batch(lane: Lane, run: list[Event], index: int) -> None:
    board = lane.slice.board
    board.q[lane.base + cells.U_LAST] = lane.ledger.first + len(run) - 1
    board.q[lane.base + cells.U_STARTED] = lane.ledger.first + index
    board.d[lane.base + cells.U_SINCE] = monotonic()
    lane.context.event = run[index] if len(run) - index == 1 else None


def _end_batch(lane: Lane, run: list[Event], index: int) -> Outcome:
    ledger, last = lane.ledger, lane.ledger.first + len(run) - 1
    now = monotonic()
    elapsed = now - lane.slice.board.d[lane.base + cells.U_SINCE]
    if lane.context.touched:
        ledger.effects.append((last, run[-1]._id, lane.context.collect()))
    ledger.done = last
    ledger.mark_dirty(now)
    lane.observe(elapsed, len(run) - index)
    lane.count(cells.U_PROCESSED, len(run) - index)
    return len(run), None


def _observe(lane: Lane, calls: int, slow: int, began: float, now: float) -> None:
    lane.count(cells.U_PROCESSED, calls)
    if calls > slow:
        lane.observe((now - began) / (calls - slow), calls - slow)


def _catch_up(lane: Lane) -> None:
    if lane.ledger.done > lane.ledger.committed:
        lane.ledger.mark_dirty(monotonic())

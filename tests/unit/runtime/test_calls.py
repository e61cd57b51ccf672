"""Calling the handler in all four forms: what is marked on the board, where a call stops, what is handed on."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from runnelctl.core.model import Batch
from runnelctl.event import Event
from runnelctl.runtime import board as cells
from runnelctl.runtime import calls
from tests.bench import Bench, event, run, session

MakeBench = Callable[..., Bench]
KINDS = [ValueError, KeyboardInterrupt, SystemExit, asyncio.CancelledError, StopAsyncIteration]
START = session(cursor=b"10-0", count=10)


def forms(react: Callable[[Event, Any], None]) -> list[Any]:
    """The same reaction as a coroutine function and as a plain one, each with ctx."""

    async def concurrent(event: Event, ctx: Any) -> None:
        await asyncio.sleep(0)
        react(event, ctx)

    def plain(event: Event, ctx: Any) -> None:
        react(event, ctx)

    return [concurrent, plain]


def call(bench: Bench, count: int = 5, index: int = 0, check_at: float = math.inf) -> calls.Outcome:
    """Open a run of events 11.. and call the handler for it once."""
    lane = bench.lane
    events = [event(lane, number) for number in range(11, 11 + count)]

    async def body() -> calls.Outcome:
        lane.ledger.open_run(events)
        lane.ledger.done += index
        lane.check_at = check_at
        try:
            return await bench.slice.call(lane, events, index)
        finally:
            if lane.thread is not None:
                lane.thread.shutdown()

    return run(body())


@pytest.mark.parametrize("form", [0, 1])
def test_each_event_is_marked_before_the_handler_sees_it(bench: MakeBench, form: int) -> None:
    seen = []

    def react(event: Event, ctx: Any) -> None:
        seen.append((event.id, made.cell(cells.U_STARTED), made.since > 0, made.lane.ledger.done))

    made = bench(forms(react)[form], at=START)
    assert call(made) == (5, None)
    assert seen == [(f"{n}-0", n, True, n - 1) for n in range(11, 16)]
    assert (made.lane.ledger.done, made.cell(cells.U_PROCESSED)) == (15, 5)
    assert sum(made.cell(cells.U_LATENCY + bucket) for bucket in range(cells.LATENCY_BUCKETS)) == 5
    assert made.lane in made.slice.committer._dirty


@pytest.mark.parametrize("form", [0, 1])
def test_a_call_goes_on_in_the_middle_of_a_run(bench: MakeBench, form: int) -> None:
    seen = []
    made = bench(forms(lambda event, ctx: seen.append((event.id, made.cell(cells.U_STARTED))))[form], at=START)
    assert call(made, index=3) == (5, None)
    assert seen == [("14-0", 14), ("15-0", 15)]
    assert made.cell(cells.U_PROCESSED) == 2


@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize(
    "kind", [ValueError, KeyboardInterrupt, SystemExit, asyncio.CancelledError, StopAsyncIteration]
)
def test_an_exception_stops_at_its_event_and_is_handed_on(
    bench: MakeBench, form: int, kind: type[BaseException]
) -> None:
    def react(event: Event, ctx: Any) -> None:
        ctx.emit("out", {"k": event.id})
        if event.id == "13-0":
            raise kind("no")

    made = bench(forms(react)[form], at=START)
    index, error = call(made)
    assert index == 2
    assert type(error) is kind
    assert (made.lane.ledger.done, made.cell(cells.U_PROCESSED), made.cell(cells.U_STARTED)) == (12, 2, 13)
    assert [ordinal for ordinal, _, _ in made.lane.ledger.effects] == [11, 12], "nothing of the failed one"


@pytest.mark.parametrize("form", [0, 1])
def test_effects_are_booked_with_their_event(bench: MakeBench, form: int) -> None:
    def react(event: Event, ctx: Any) -> None:
        if event.id != "12-0":
            ctx.emit("out", {"k": event.id})
            ctx.state["n"] = ctx.state.get("n", 0) + 1

    made = bench(forms(react)[form], at=START)
    call(made, count=3)
    booked = [
        (ordinal, event_id, [op for op, _, _ in effects]) for ordinal, event_id, effects in made.lane.ledger.effects
    ]
    assert booked == [(11, b"11-0", ["E", "S"]), (13, b"13-0", ["E", "S"])]


@pytest.mark.parametrize("form", [0, 1])
def test_a_call_stops_when_it_is_time_to_look_around(bench: MakeBench, form: int) -> None:
    seen = []

    def react(event: Event, ctx: Any) -> None:
        seen.append(event.id)
        if len(seen) == 2:
            made.lane.check_at = 0.0

    made = bench(forms(react)[form], at=START)
    assert call(made) == (2, None)
    assert seen == ["11-0", "12-0"]
    assert made.lane.ledger.done == 12
    assert call(bench(forms(react)[form], at=START), check_at=0.0) == (0, None)


def test_a_plain_function_runs_in_a_thread_of_its_partition_and_the_loop_goes_on(bench: MakeBench) -> None:
    names, turned = set[str](), threading.Event()

    def plain(event: Event) -> None:
        names.add(threading.current_thread().name)
        if event.id == "11-0":
            assert turned.wait(20), "the loop must turn while a handler blocks"

    made = bench(plain, at=START)

    async def body() -> None:
        events = [event(made.lane, number) for number in (11, 12)]
        made.lane.ledger.open_run(events)
        made.lane.check_at = math.inf
        calling = asyncio.ensure_future(made.slice.call(made.lane, events, 0))
        await asyncio.sleep(0)
        turned.set()
        assert await calling == (2, None)
        assert made.lane.thread is not None
        made.lane.thread.shutdown()

    run(body())
    assert names == {"billing:0_0"}


def test_slow_calls_are_clocked_one_by_one(bench: MakeBench) -> None:
    def plain(event: Event) -> None:
        if event.id == "12-0":
            time.sleep(0.01)

    made = bench(plain, at=START)
    call(made)
    counts = [made.cell(cells.U_LATENCY + bucket) for bucket in range(cells.LATENCY_BUCKETS)]
    assert sum(counts) == 5
    assert sum(counts[14:]) == 1, "the one of 10 ms is in a bucket of its own"


def test_a_handler_without_ctx_gets_none(bench: MakeBench) -> None:
    seen = []
    made = bench(lambda event: seen.append(event.id), at=START)
    assert call(made, count=2) == (2, None)
    assert seen == ["11-0", "12-0"]


# --- batches --------------------------------------------------------------------------------------------------------


def batch_forms(react: Callable[[list[Event], Any], None]) -> list[Any]:
    async def concurrent(events: list[Event], ctx: Any) -> None:
        react(events, ctx)

    def plain(events: list[Event], ctx: Any) -> None:
        react(events, ctx)

    return [concurrent, plain]


@pytest.mark.parametrize("form", [0, 1])
def test_a_batch_is_one_call_and_marked_from_first_to_last(bench: MakeBench, form: int) -> None:
    seen: list[Any] = []

    def react(events: list[Event], ctx: Any) -> None:
        marks = (made.cell(cells.U_STARTED), made.cell(cells.U_LAST), made.since > 0)
        seen.append(([event.id for event in events], marks, ctx.event))
        ctx.emit("out", {"k": 1})
        ctx.state_of("a")["n"] = 1

    made = bench(batch_forms(react)[form], at=START, batch=Batch(size=3))
    assert call(made, count=3) == (3, None)
    assert seen == [(["11-0", "12-0", "13-0"], (11, 13, True), None)]
    assert (made.lane.ledger.done, made.cell(cells.U_PROCESSED)) == (13, 3)
    ((ordinal, event_id, effects),) = made.lane.ledger.effects
    assert (ordinal, event_id, [op for op, _, _ in effects]) == (13, b"13-0", ["E", "S"])
    assert sum(made.cell(cells.U_LATENCY + bucket) for bucket in range(cells.LATENCY_BUCKETS)) == 3


@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize("kind", [ValueError, StopIteration, KeyboardInterrupt, asyncio.CancelledError])
def test_a_failed_batch_did_nothing(bench: MakeBench, form: int, kind: type[BaseException]) -> None:
    def react(events: list[Event], ctx: Any) -> None:
        ctx.emit("out", {"k": 1})
        raise kind("no")

    made = bench(batch_forms(react)[form], at=START, batch=Batch(size=3))
    index, error = call(made, count=3)
    assert index == 0
    assert isinstance(error, RuntimeError if kind is StopIteration and form == 0 else kind)
    assert (made.lane.ledger.done, made.cell(cells.U_PROCESSED), len(made.lane.ledger.effects)) == (10, 0, 0)


def test_a_batch_of_one_knows_its_event(bench: MakeBench) -> None:
    keys = []

    async def one(events: list[Event], ctx: Any) -> None:
        keys.append(ctx.event.id)

    made = bench(one, at=START, batch=Batch(size=3))
    call(made, count=1)
    assert keys == ["11-0"]

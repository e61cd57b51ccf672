"""The iterator form: when an event is done, what starts the handler anew, and how it ends with its lane."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from runnelctl import Events, Reject, Skip
from runnelctl.core.model import Policy, Retry
from runnelctl.event import Event
from runnelctl.runtime import board as cells
from runnelctl.runtime import iterating
from tests.bench import Bench, entry, run, session

MakeBench = Callable[..., Bench]


def entries(first: int, last: int) -> list[Any]:
    return [entry(number) for number in range(first, last + 1)]


def test_each_event_is_done_when_the_next_is_asked_for(bench: MakeBench) -> None:
    seen: list[Any] = []

    async def handler(events: Events) -> None:
        seen.append("started")
        async for event in events:
            seen.append((event.id, made.lane.ledger.done, made.cell(cells.U_STARTED), made.since > 0))
        seen.append("ended")

    made = bench(handler)
    made.drive(*entries(1, 5))
    assert seen == ["started", *((f"{n}-0", n - 1, n, True) for n in range(1, 6)), "ended"]
    assert (made.lane.ledger.committed, made.cell(cells.U_PROCESSED)) == (5, 5)
    assert sum(made.cell(cells.U_LATENCY + bucket) for bucket in range(cells.LATENCY_BUCKETS)) == 5


def test_one_start_lasts_over_many_reads(bench: MakeBench) -> None:
    starts, total = [], []

    async def handler(events: Events) -> None:
        starts.append(1)
        count = 0
        async for _ in events:
            count += 1
            total.append(count)
            if count in (2, 4):  # more comes while the handler is at work
                made.lane.feed(entries(count + 1, count + 2), 100.0)
                await asyncio.sleep(0)

    made = bench(handler)
    made.drive(*entries(1, 2), until=lambda: made.lane.ledger.committed >= 6)
    assert (starts, total) == ([1], [1, 2, 3, 4, 5, 6])


def test_records_and_lists(bench: MakeBench) -> None:
    seen: list[Any] = []

    async def handler(events: Events) -> None:
        async for record in events.records():
            seen.append(record["n"])
            if record["n"] == 2:
                break
        async for event in events:
            seen.append(event.id)
            break
        async for taken in events.take(3, within=0):
            seen.append([event.id for event in taken])
            break
        async for records in events.take(2, within=0).records():
            seen.append([record["n"] for record in records])
            break
        async for records in events.records().take(1):
            seen.append([record["n"] for record in records])
            break
        async for record in events.records():
            seen.append(record["n"])

    made = bench(handler)
    made.drive(*entries(1, 11))
    assert seen == [1, 2, "3-0", ["4-0", "5-0", "6-0"], [7, 8], [9], 10, 11]
    assert made.lane.ledger.committed == 11


def test_a_list_is_in_flight_as_a_whole_and_waits_for_more(bench: MakeBench) -> None:
    seen: list[Any] = []

    async def handler(events: Events, ctx: Any) -> None:
        async for taken in events.take(4, within=60):
            marks = made.cell(cells.U_STARTED), made.cell(cells.U_LAST), made.since > 0
            seen.append(([event.id for event in taken], marks, made.lane.ledger.done))
            ctx.emit("out", {"k": len(taken)})

    made = bench(handler)

    def more() -> bool:
        if made.lane.batch_size and made.lane.intake.count == 3:  # they were given back, to be gathered as a list
            made.lane.feed([entry(4)], 100.0)
        return made.lane.ledger.committed == 4

    made.drive(*entries(1, 3), until=more)
    assert seen == [(["1-0", "2-0", "3-0", "4-0"], (1, 4, True), 0)]


@pytest.mark.parametrize("end", ["return", "break"])
def test_returning_ends_only_that_run(bench: MakeBench, end: str) -> None:
    seen: list[Any] = []

    async def handler(events: Events) -> None:
        seen.append("started")
        async for event in events:
            seen.append(event.id)
            if event.id in ("2-0", "3-0"):
                if end == "return":
                    return
                break

    made = bench(handler)
    made.drive(*entries(1, 5))
    assert seen == ["started", "1-0", "2-0", "started", "3-0", "started", "4-0", "5-0"]
    assert made.lane.ledger.committed == 5


def test_a_failed_event_comes_again_to_a_handler_started_anew(bench: MakeBench) -> None:
    seen: list[Any] = []

    async def handler(events: Events, ctx: Any) -> None:
        count = 0
        async for event in events:
            count += 1
            seen.append((event.id, event.attempt, count))
            ctx.emit("out", {"k": event.id})
            if event.id == "3-0" and event.attempt == 1:
                raise ValueError("no")

    made = bench(handler)
    made.drive(*entries(1, 4))
    assert seen == [("1-0", 1, 1), ("2-0", 1, 2), ("3-0", 1, 3), ("3-0", 2, 1), ("4-0", 1, 2)]
    assert len(made.store.appended) == 4, "nothing of the failed attempt"


@pytest.mark.parametrize(
    ("policy", "state"), [(Policy.QUARANTINE, cells.STATE_QUARANTINED), (Policy.HALT, cells.STATE_HALTED)]
)
def test_the_policy_meets_the_event_that_failed(bench: MakeBench, policy: Policy, state: int) -> None:
    async def handler(events: Events) -> None:
        async for record in events.records():
            if record["n"] == 3:
                raise ValueError("no")

    made = bench(handler, policy=policy)
    made.drive(*entries(1, 5), until=lambda: made.lane.ended is not None)
    assert made.lane.ended == state
    last = made.store.commits[-1]
    assert ('"event":"3-0"' in last.block, last.new, '"attempts":2' in last.block) == (True, b"2-0", True)


def test_ignore_skip_and_reject(bench: MakeBench) -> None:
    seen: list[Any] = []

    async def handler(events: Events, ctx: Any) -> None:
        async for event in events:
            seen.append((event.id, event.attempt))
            match event.id:
                case "1-0":
                    raise Skip("none of mine")
                case "2-0":
                    raise Reject("never")
                case "3-0":
                    raise ValueError("no")

    made = bench(handler, policy=Policy.IGNORE)
    made.drive(*entries(1, 4))
    assert seen == [("1-0", 1), ("2-0", 1), ("3-0", 1), ("3-0", 2), ("4-0", 1)]
    assert (made.lane.ledger.committed, made.cell(cells.U_FAILED)) == (4, 2)


def test_a_list_that_fails_is_tried_again_and_then_one_by_one(bench: MakeBench) -> None:
    seen: list[Any] = []

    async def handler(events: Events) -> None:
        async for taken in events.take(3, within=0):
            seen.append(([event.id for event in taken], taken[0].attempt))
            if any(event.id == "2-0" for event in taken):
                raise ValueError("no")

    made = bench(handler, policy=Policy.IGNORE)
    made.drive(*entries(1, 4))
    assert seen == [
        (["1-0", "2-0", "3-0"], 1), (["1-0", "2-0", "3-0"], 2),
        (["1-0"], 2), (["2-0"], 2), (["3-0"], 2), (["4-0"], 1),
    ]  # fmt: skip
    assert (made.lane.ledger.committed, made.cell(cells.U_FAILED)) == (4, 1)


def test_what_fails_before_the_loop_is_put_down_to_the_event_it_is_started_for(bench: MakeBench) -> None:
    starts: list[int] = []

    async def handler(events: Events) -> None:
        starts.append(made.cell(cells.U_STARTED))
        if len(starts) == 1:
            raise ValueError("the database is not there")
        async for _ in events:
            pass

    made = bench(handler)
    made.drive(*entries(1, 2))
    assert (starts, made.lane.ledger.committed) == ([1, 1], 2)


def test_a_handler_that_takes_nothing_meets_the_policy(bench: MakeBench) -> None:
    async def handler(events: Events) -> None:
        pass

    made = bench(handler)
    made.drive(*entries(1, 2), until=lambda: made.lane.ended is not None)
    assert made.lane.ended == cells.STATE_QUARANTINED
    assert "returned without asking for an event" in made.store.commits[-1].block


def test_a_record_that_is_none_fails_at_its_event(bench: MakeBench) -> None:
    async def handler(events: Events) -> None:
        async for _ in events.records():
            pass

    made = bench(handler, policy=Policy.IGNORE, retry=Retry(attempts=1, backoff_ms=0))
    made.drive(entry(1), entry(2, b"{"), entry(3))
    assert (made.lane.ledger.committed, made.cell(cells.U_FAILED)) == (3, 1)


def test_the_end_of_the_lane_ends_the_loop(bench: MakeBench) -> None:
    said: list[str] = []

    async def handler(events: Events, ctx: Any) -> None:
        try:
            async for event in events:
                said.append(event.id)
                if event.id == "2-0":
                    made.lane.stop()
                    await asyncio.sleep(0)
                    said.append("turn finished")
            said.append("after")
        finally:
            await asyncio.sleep(0)
            said.append(f"finally, {made.lane.ledger.committed} committed, released: {made.lane.ended is not None}")

    made = bench(handler)
    made.drive(*entries(1, 4), until=lambda: False)
    assert said[:4] == ["1-0", "2-0", "turn finished", "after"]
    assert said[4].endswith("released: False")
    assert (made.lane.ledger.committed, made.lane.ended) == (2, cells.STATE_RELEASED)


def test_a_lost_lease_cancels_the_loop(bench: MakeBench) -> None:
    said: list[str] = []

    async def handler(events: Events) -> None:
        try:
            async for event in events:
                said.append(event.id)
                made.lane.end(cells.STATE_LOST)
            said.append("after")
        except asyncio.CancelledError:
            said.append("cancelled")
            raise

    made = bench(handler)
    made.drive(*entries(1, 2), until=lambda: False)
    assert said == ["1-0", "cancelled"]
    assert made.lane.ended == cells.STATE_LOST


def test_a_handler_that_does_not_end_is_cancelled(bench: MakeBench, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(events: Events) -> None:
        async for _ in events:
            pass
        await asyncio.Event().wait()

    made = bench(handler, timeout_ms=20)
    made.drive(*entries(1, 2))
    assert "did not end when its events did" in caplog.text
    assert made.lane.ended == cells.STATE_RELEASED


def test_a_failure_after_the_loop_changes_nothing(bench: MakeBench, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(events: Events, ctx: Any) -> None:
        async for _ in events:
            pass
        ctx.emit("out", {"k": 1})
        raise ValueError("too late")

    made = bench(handler)
    made.drive(*entries(1, 2))
    assert "failed at its end" in caplog.text and "too late" in caplog.text and "dropped" in caplog.text
    assert (made.lane.ledger.committed, made.lane.ended) == (2, cells.STATE_RELEASED)
    assert not made.store.appended


def test_history_that_changed_starts_the_handler_anew(bench: MakeBench) -> None:
    seen: list[Any] = []

    async def handler(events: Events) -> None:
        seen.append("started")
        try:
            async for event in events:
                seen.append(event.id)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    made = bench(handler)
    lane = made.lane

    async def body() -> None:
        events = [Event(event_id, fields, lane.source) for event_id, fields in entries(1, 3)]
        lane.check_at = float("inf")
        lane.ledger.open_run(events[:2])
        assert await iterating.iterate(lane, lane.ledger.run, 0) == (2, None)
        lane.ledger.restart(session())  # Redis went back
        lane.ledger.open_run(events[:1])
        assert await iterating.iterate(lane, lane.ledger.run, 0) == (1, None)
        assert lane.iteration is not None
        await lane.iteration.cancel()

    run(body())
    assert seen == ["started", "1-0", "2-0", "cancelled", "started", "1-0", "cancelled"]


def test_state_that_cannot_be_stored_fails_the_event_at_the_next_turn(bench: MakeBench) -> None:
    caught: list[str] = []

    async def handler(events: Events, ctx: Any) -> None:
        try:
            async for event in events:
                ctx.state["x"] = object() if event.id == "2-0" else 1
        except Exception as error:
            caught.append(str(error))  # swallowing it does not make the event good

    made = bench(handler, policy=Policy.IGNORE, retry=Retry(attempts=1, backoff_ms=0))
    made.drive(*entries(1, 3))
    assert len(caught) == 1 and "cannot be stored" in caught[0]
    assert (made.lane.ledger.committed, made.cell(cells.U_FAILED)) == (3, 1)


def test_a_slow_turn_does_not_hold_up_looking_around(bench: MakeBench) -> None:
    """With `check_at` due, the handler waits for its next event while the lane looks around."""
    looked: list[int] = []

    async def handler(events: Events) -> None:
        async for _ in events:
            made.lane.check_at = 0.0

    made = bench(handler)
    pause = made.lane.pause

    async def looking() -> bool:
        looked.append(made.lane.ledger.done)
        assert made.lane.ledger.done == len(looked) - 1
        return await pause()

    made.lane.pause = looking  # type: ignore[method-assign]
    made.drive(*entries(1, 4))
    assert looked[:4] == [0, 1, 2, 3]


@pytest.mark.parametrize(("n", "within"), [(0, 1), (True, 1), ("2", 1), (1, -1), (1, "2"), (10**6, 1)])
def test_what_can_not_be_taken(bench: MakeBench, n: Any, within: Any) -> None:
    async def handler(events: Events) -> None:
        async for _ in events.take(n, within=within):
            pass

    made = bench(handler, policy=Policy.IGNORE, retry=Retry(attempts=1, backoff_ms=0))
    made.drive(entry(1))
    assert made.cell(cells.U_FAILED) == 1


def test_the_form_is_told_by_the_parameter() -> None:
    async def annotated(stream: AsyncIterator[Event]) -> None: ...
    async def named(events: Any, ctx: Any) -> None: ...
    async def other(event: Any) -> None: ...
    async def listed(events: list[Event]) -> None: ...

    from runnelctl import handling

    assert [handling.describe(each).kind for each in (annotated, named, other)] == ["events", "events", "async"]
    assert [handling.describe(each, True).kind for each in (named, listed)] == ["async", "async"]
    with pytest.raises(Exception, match=r"listed takes a list .* has no `batch:`"):
        handling.describe(listed)

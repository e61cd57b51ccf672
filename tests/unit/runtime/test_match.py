"""`match` in front of every form of handler: what is passed over is done, and nobody is called for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from runnelctl.core.model import Batch
from runnelctl.errors import RecordError
from runnelctl.event import Event
from runnelctl.runtime import calls
from tests.bench import Bench, event, run, session

MakeBench = Callable[..., Bench]
START = session(cursor=b"10-0", count=10)
EVEN = (("n", (12, 14)),)


def call(bench: Bench, broken: int = 0) -> tuple[calls.Outcome, int]:
    """The outcome for events 11 to 15, and how many are done after it."""
    lane = bench.lane
    events = [event(lane, number) for number in range(11, 16)]
    for each in events:
        number = int(each.id.partition("-")[0])
        each._fields = [b"data", b"{" if number == broken else b'{"n":%d}' % number]

    async def body() -> tuple[calls.Outcome, int]:
        lane.ledger.open_run(events)
        lane.check_at = float("inf")
        try:
            return await bench.slice.call(lane, events, 0), lane.ledger.done
        finally:
            if lane.iteration is not None:
                await lane.iteration.cancel()
            if lane.thread is not None:
                lane.thread.shutdown()

    return run(body())


def handlers(seen: list[Any]) -> dict[str, tuple[Any, Batch | None]]:
    async def concurrent(event: Event) -> None:
        seen.append(event.value["n"])

    def plain(event: Event) -> None:
        seen.append(event.value["n"])

    async def lists(given: list[Event]) -> None:
        seen.append([event.value["n"] for event in given])

    def plain_lists(given: list[Event]) -> None:
        seen.append([event.value["n"] for event in given])

    async def loop(events: Any) -> None:
        async for each in events:
            seen.append(each.value["n"])

    batch = Batch(size=5)
    return {
        "concurrent": (concurrent, None), "plain": (plain, None), "lists": (lists, batch),
        "plain_lists": (plain_lists, batch), "loop": (loop, None),
    }  # fmt: skip


FORMS = list(handlers([]))


@pytest.mark.parametrize("form", FORMS)
def test_only_what_matches_reaches_the_handler_and_all_is_done(bench: MakeBench, form: str) -> None:
    seen: list[Any] = []
    handler, batch = handlers(seen)[form]
    (index, error), done = call(bench(handler, at=START, batch=batch, match=EVEN))
    assert error is None
    assert (index, done) == (5, 15)
    assert seen == ([[12, 14]] if batch else [12, 14])


@pytest.mark.parametrize("form", FORMS)
def test_where_nothing_matches_nobody_is_called(bench: MakeBench, form: str) -> None:
    seen: list[Any] = []
    handler, batch = handlers(seen)[form]
    (index, error), done = call(bench(handler, at=START, batch=batch, match=(("n", (99,)),)))
    assert error is None
    assert (index, done, seen) == (5, 15, [])


@pytest.mark.parametrize("form", FORMS)
def test_a_record_that_cannot_be_decoded_is_a_failed_event(bench: MakeBench, form: str) -> None:
    seen: list[Any] = []
    handler, batch = handlers(seen)[form]
    (index, error), done = call(bench(handler, at=START, batch=batch, match=EVEN), broken=13)
    assert isinstance(error, RecordError)
    assert (index, done) == ((0, 10) if batch else (2, 12))


def test_middleware_sees_only_what_matches(bench: MakeBench) -> None:
    seen: list[Any] = []

    def layer(event: Event) -> Any:
        seen.append(("before", event.value["n"]))
        yield

    handler, _ = handlers(seen)["concurrent"]
    call(bench(handler, at=START, middleware=(layer,), match=EVEN))
    assert seen == [("before", 12), 12, ("before", 14), 14]

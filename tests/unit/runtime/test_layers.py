"""Middleware in both forms, around every form of handler."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from runnelctl import Events, HandlerError, Reject, Skip, layering
from runnelctl.core.model import Batch, Policy, Retry
from runnelctl.event import Event
from runnelctl.runtime import board as cells
from tests.bench import Bench, entry

MakeBench = Callable[..., Bench]
Said = list[Any]

ONCE = Retry(attempts=1, backoff_ms=0)


def entries(first: int, last: int) -> list[Any]:
    return [entry(number) for number in range(first, last + 1)]


def shown(given: Any) -> Any:
    return [event.id for event in given] if isinstance(given, list) else given.id


def handlers(react: Callable[[Any], None]) -> dict[str, Any]:
    """The same reaction in every form, but for batches."""

    async def concurrent(event: Event) -> None:
        await asyncio.sleep(0)
        react(event)

    def plain(event: Event) -> None:
        react(event)

    async def iterator(events: Events) -> None:
        async for event in events:
            react(event)

    return {"concurrent": concurrent, "plain": plain, "iterator": iterator}


def layers(said: Said, name: str) -> dict[str, Any]:
    """The same middleware in both forms."""

    async def around_events(events: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for event in events:
            said.append(f"{name} before {shown(event)}")
            try:
                yield event
            except BaseException as error:
                said.append(f"{name} saw {type(error).__name__}")
                raise
            said.append(f"{name} after {shown(event)}")

    def around_call(event: Any, ctx: Any) -> Iterator[None]:
        said.append(f"{name} before {shown(event)}")
        try:
            yield
        except BaseException as error:
            said.append(f"{name} saw {type(error).__name__}")
            raise
        said.append(f"{name} after {shown(event)}")

    return {"events": around_events, "call": around_call}


@pytest.mark.parametrize("form", ["concurrent", "plain", "iterator"])
@pytest.mark.parametrize("outer", ["events", "call"])
@pytest.mark.parametrize("inner", ["events", "call"])
def test_the_first_is_outermost_and_sees_what_is_raised(bench: MakeBench, form: str, outer: str, inner: str) -> None:
    said: Said = []

    def react(event: Event) -> None:
        said.append(event.id)
        if event.id == "2-0":
            raise KeyError("no")

    middleware = (layers(said, "a")[outer], layers(said, "b")[inner])
    made = bench(handlers(react)[form], middleware=middleware, policy=Policy.IGNORE, retry=ONCE)
    made.drive(*entries(1, 3))
    good = [["a before {}", "b before {}", "{}", "b after {}", "a after {}"] for _ in range(2)]
    assert said == [
        *(each.format("1-0") for each in good[0]),
        *("a before 2-0", "b before 2-0", "2-0", "b saw KeyError", "a saw KeyError"),
        *(each.format("3-0") for each in good[1]),
    ]
    assert (made.lane.ledger.committed, made.cell(cells.U_FAILED)) == (3, 1)


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("kind", ["events", "call"])
def test_batches_go_through_as_lists(bench: MakeBench, plain: bool, kind: str) -> None:
    said: Said = []

    async def concurrent(events: list[Event], ctx: Any) -> None:
        said.append(shown(events))
        ctx.emit("out", {"k": 1})

    def in_thread(events: list[Event], ctx: Any) -> None:
        said.append(shown(events))
        ctx.emit("out", {"k": 1})

    handler = in_thread if plain else concurrent
    made = bench(handler, middleware=(layers(said, "a")[kind],), batch=Batch(size=2, within_ms=0))
    made.drive(*entries(1, 3))
    assert said == [
        "a before ['1-0', '2-0']", ["1-0", "2-0"], "a after ['1-0', '2-0']", "a before ['3-0']", ["3-0"],
        "a after ['3-0']",
    ]  # fmt: skip
    assert len(made.store.appended) == 2


@pytest.mark.parametrize("form", ["concurrent", "plain", "iterator"])
@pytest.mark.parametrize("kind", ["events", "call"])
def test_a_dropped_event_counts_as_done(bench: MakeBench, form: str, kind: str) -> None:
    seen: Said = []

    async def drops(events: AsyncIterator[Event]) -> AsyncIterator[Event]:
        async for event in events:
            if event.value["n"] % 2:
                yield event

    def skips(event: Event) -> Iterator[None]:
        if not event.value["n"] % 2:
            raise Skip("even")
        yield

    middleware = (drops if kind == "events" else skips,)
    made = bench(handlers(lambda event: seen.append(event.id))[form], middleware=middleware)
    made.drive(*entries(1, 4))
    assert seen == ["1-0", "3-0"]
    assert (made.lane.ledger.committed, made.cell(cells.U_FAILED)) == (4, 0)


@pytest.mark.parametrize("form", ["concurrent", "plain", "iterator"])
@pytest.mark.parametrize("kind", ["events", "call"])
def test_one_that_catches_makes_the_event_done(bench: MakeBench, form: str, kind: str) -> None:
    said: Said = []

    async def catches(events: AsyncIterator[Event]) -> AsyncIterator[Event]:
        async for event in events:
            try:
                yield event
            except KeyError:
                said.append(f"caught at {event.id}")

    def catches_too(event: Event) -> Iterator[None]:
        try:
            yield
        except KeyError:
            said.append(f"caught at {event.id}")

    def react(event: Event) -> None:
        said.append(event.id)
        if event.id == "2-0":
            raise KeyError("no")

    middleware = (layers(said, "a")[kind], catches if kind == "events" else catches_too)
    made = bench(handlers(react)[form], middleware=middleware)
    made.drive(*entries(1, 3))
    assert said == [
        "a before 1-0", "1-0", "a after 1-0", "a before 2-0", "2-0", "caught at 2-0", "a after 2-0",
        "a before 3-0", "3-0", "a after 3-0",
    ]  # fmt: skip
    assert (made.lane.ledger.committed, made.cell(cells.U_FAILED)) == (3, 0)


@pytest.mark.parametrize("form", ["concurrent", "plain", "iterator"])
@pytest.mark.parametrize("kind", ["events", "call"])
def test_reject_and_retry_pass_through(bench: MakeBench, form: str, kind: str) -> None:
    seen: Said = []

    def react(event: Event) -> None:
        seen.append((event.id, event.attempt))
        if event.id == "1-0":
            raise Reject("never")
        if event.id == "2-0" and event.attempt == 1:
            raise ValueError("again")

    made = bench(handlers(react)[form], middleware=(layers([], "a")[kind],), policy=Policy.IGNORE)
    made.drive(*entries(1, 3))
    assert seen == [("1-0", 1), ("2-0", 1), ("2-0", 2), ("3-0", 1)]
    assert made.cell(cells.U_FAILED) == 1


def test_an_iterator_handler_takes_lists_through_middleware(bench: MakeBench) -> None:
    said: Said = []

    async def handler(events: Events) -> None:
        async for records in events.take(2, within=0).records():
            said.append([record["n"] for record in records])

    made = bench(handler, middleware=(layers(said, "a")["events"],))
    made.drive(*entries(1, 2))
    assert said == ["a before ['1-0', '2-0']", [1, 2], "a after ['1-0', '2-0']"]


def test_one_middleware_lives_over_many_events_and_ends_with_its_lane(bench: MakeBench) -> None:
    said: Said = []

    async def counts(events: AsyncIterator[Event], ctx: Any) -> AsyncIterator[Event]:
        count = 0
        try:
            async for event in events:
                count += 1
                yield event
        finally:
            said.append((count, ctx.processor))

    made = bench(handlers(lambda event: None)["plain"], middleware=(counts,))
    made.drive(*entries(1, 3))
    assert said == [(3, "billing")]


# --- what is wrong with a middleware -----------------------------------------------------------------------------


async def ends(events: AsyncIterator[Event]) -> AsyncIterator[Event]:
    async for event in events:
        yield event
        return


async def yields_twice(events: AsyncIterator[Event]) -> AsyncIterator[Event]:
    async for event in events:
        yield event
        yield event


async def yields_first(events: AsyncIterator[Event]) -> AsyncIterator[Any]:
    yield 1
    async for event in events:
        yield event


async def yields_a_value(events: AsyncIterator[Event]) -> AsyncIterator[Any]:
    async for event in events:
        yield event.value


async def yields_again_after_a_failure(events: AsyncIterator[Event]) -> AsyncIterator[Event]:
    async for event in events:
        try:
            yield event
        except ValueError:
            yield event


def does_not_yield(event: Event) -> Iterator[None]:
    if event.id == "never":
        yield


def has_two(event: Event) -> Iterator[None]:
    yield
    yield


def has_two_on_failure(event: Event) -> Iterator[None]:
    try:
        yield
    except ValueError:
        yield


WRONG = [
    (ends, "middleware ends ended while there were more events: it loops"),
    (yields_twice, "middleware yields_twice yielded twice for one event"),
    (yields_first, "middleware yields_first yielded twice for one event, or without having taken one"),
    (yields_a_value, "middleware yields_a_value yielded a value of type dict, which is no event"),
    (yields_again_after_a_failure, "middleware yields_again_after_a_failure yielded twice for one event"),
    (does_not_yield, "middleware does_not_yield did not yield; to pass over an event, it raises runnelctl.Skip"),
    (has_two, "middleware has_two yielded twice for one event"),
    (has_two_on_failure, "middleware has_two_on_failure yielded twice for one event"),
]


@pytest.mark.parametrize("form", ["concurrent", "plain", "iterator"])
@pytest.mark.parametrize(("wrong", "sentence"), WRONG, ids=lambda value: getattr(value, "__name__", ""))
def test_a_defect_of_a_middleware_meets_the_policy(bench: MakeBench, form: str, wrong: Any, sentence: str) -> None:
    def react(event: Event) -> None:
        if "failure" in wrong.__name__:
            raise ValueError("no")

    made = bench(handlers(react)[form], middleware=(wrong,), retry=ONCE)
    made.drive(*entries(1, 2), until=lambda: made.lane.ended is not None)
    assert made.lane.ended == cells.STATE_QUARANTINED
    assert sentence in made.store.commits[-1].block


class RunnelStyle:
    async def handler(self, parent: AsyncIterator[Any], **kwargs: Any) -> AsyncIterator[Any]:
        async for x in parent:
            yield x


class Callable_:
    def __call__(self, event: Any, ctx: Any) -> Iterator[None]:
        yield


class NeedsArguments:
    def __init__(self, source: Any) -> None: ...
    def __call__(self, event: Any) -> Iterator[None]:
        yield


class FailsToBeMade:
    def __init__(self) -> None:
        raise ValueError("no")


async def forgot_to_yield(events: Any) -> None:
    async for _ in events:
        pass


def three(a: Any, b: Any, c: Any) -> Iterator[None]:
    yield


@pytest.mark.parametrize(
    ("target", "kind", "takes_ctx"),
    [
        (RunnelStyle, "events", False),
        (RunnelStyle(), "events", False),
        (Callable_, "call", True),
        (ends, "events", False),
        (does_not_yield, "call", False),
    ],
)
def test_what_is_a_middleware(target: Any, kind: str, takes_ctx: bool) -> None:
    layer = layering.of(target, "x:y")
    assert (layer.kind, layer.takes_ctx) == (kind, takes_ctx)


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (3, "a middleware must be callable; x:y is of type int"),
        (forgot_to_yield, "it yields nothing: a middleware is `async def mw(events)`"),
        (lambda event, ctx: None, "it yields nothing"),
        (three, "x:y takes (a: Any, b: Any, c: Any)"),
        (NeedsArguments, "class NeedsArguments can't be made without arguments"),
        (FailsToBeMade, "x:y() raised ValueError: no"),
    ],
)
def test_what_is_none(target: Any, sentence: str) -> None:
    with pytest.raises(HandlerError) as caught:
        layering.of(target, "x:y")
    assert sentence in str(caught.value).replace("'", "") or sentence in str(caught.value)

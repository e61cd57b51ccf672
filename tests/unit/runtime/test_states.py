"""States with a time to live: gone here when they are gone in Redis, on a clock that the test turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from runnelctl.core.keyorder import Flight
from runnelctl.core.model import CommitBounds, Order
from runnelctl.event import Event
from runnelctl.runtime import keyed
from runnelctl.runtime import states as module
from runnelctl.runtime.states import STATE_BYTES_KEPT, STATES_KEPT, States, load
from tests.bench import Bench, entry


class Desk:
    def __init__(self, ttl_ms: int | None = 1_000) -> None:
        self.now = 0.0
        self.fetched: list[str] = []
        self.states = States(lambda key: f"s:{key}", self._fetch, ttl_ms, lambda: self.now)

    def _fetch(self, name: str) -> bytes | None:
        self.fetched.append(name)
        return b'{"n":5}'

    def use(self, key: str = "a") -> dict[str, object]:
        self.states.begin(key)
        return self.states.open(key)

    def done(self, key: str = "a") -> object:
        effects = self.states.settled({key: self.states.open(key)})
        return effects[0] if effects else None


def test_each_use_writes_it_anew_so_that_it_lives_on() -> None:
    desk = Desk()
    assert desk.states.missing({"a"}) == ["a"]
    desk.states.fill("a", b'{"n":1}', 400)
    assert desk.use() == {"n": 1}
    assert desk.done() == ("T", "s:a", (b'{"n":1}', 1_000))
    desk.now = 0.9
    assert desk.use() == {"n": 1}
    desk.done()
    desk.now = 1.8
    assert desk.use() == {"n": 1}


def test_it_is_gone_when_its_time_is_over() -> None:
    desk = Desk()
    desk.states.fill("a", b'{"n":1}', 400)
    desk.now = 0.4
    assert desk.use() == {}
    assert desk.done() is None, "an empty mapping over nothing is nothing to write"
    desk.use()["n"] = 2
    assert desk.done() == ("T", "s:a", (b'{"n":2}', 1_000))
    desk.now = 1.4
    assert desk.use() == {}
    assert desk.fetched == [], "Redis need not be asked"


def test_an_event_keeps_the_mapping_that_it_opened() -> None:
    desk = Desk()
    desk.states.fill("a", b'{"n":1}', 400)
    state = desk.use()
    desk.now = 9.0
    assert desk.states.open("a") is state


def test_one_that_was_stored_before_there_was_a_ttl_gets_one() -> None:
    desk = Desk()
    desk.states.fill("a", b'{"n":1}', -1)
    desk.now = 9.0
    assert desk.use() == {"n": 1}
    assert desk.done() == ("T", "s:a", (b'{"n":1}', 1_000))


def test_a_state_read_on_the_spot_is_read_again_with_its_time() -> None:
    desk = Desk()
    assert desk.use() == {"n": 5}
    desk.states.discard("a")
    assert desk.states.missing({"a"}) == ["a"]
    desk.states.fill("a", None, -2)
    assert desk.use() == {}


def test_an_emptied_one_is_deleted() -> None:
    desk = Desk()
    desk.states.fill("a", b'{"n":1}', 400)
    desk.use().clear()
    assert desk.done() == ("D", "s:a", ())


def test_without_a_ttl_nothing_changes() -> None:
    desk = Desk(None)
    desk.states.fill("a", b'{"n":1}')
    desk.now = 1e9
    assert desk.use() == {"n": 1}
    assert desk.done() is None


def test_memory_is_bounded_by_count() -> None:
    states = Desk(None).states
    for number in range(STATES_KEPT):
        states.fill(str(number), None)
    assert not states.heavy(1)
    states.fill("one more", None)
    assert states.heavy(1)
    states.prune({"s:0"})
    assert states.missing({"0", "1"}) == ["1"]
    assert not states.heavy(1)


def test_memory_is_bounded_by_bytes_and_what_is_needed_stays() -> None:
    desk = Desk(None)
    states = desk.states
    for key in "abcd":
        states.fill(key, b'{"n":"%s"}' % (b"x" * (STATE_BYTES_KEPT // 5)))
    assert not states.heavy(1)
    assert states.heavy(1_000), "with many lanes each keeps less"
    desk.use("a")["n"] = "y" * (STATE_BYTES_KEPT // 2)
    desk.done("a")
    states.grew(STATE_BYTES_KEPT // 2)
    assert states.heavy(1)
    states.prune({"s:a", "s:b", "s:never read"})
    assert states.missing({"a", "b", "c"}) == ["c"]
    assert not states.heavy(1)
    assert desk.use("a") == {"n": "y" * (STATE_BYTES_KEPT // 2)}


def test_what_is_written_again_and_again_is_measured_and_kept() -> None:
    desk = Desk(None)
    desk.use("a")["n"] = "x" * (STATE_BYTES_KEPT // 2)
    for _ in range(10):
        desk.done("a")
        desk.states.grew(STATE_BYTES_KEPT // 2)
        assert not desk.states.heavy(1)


def test_what_must_stay_is_no_reason_to_prune_again_at_once() -> None:
    states = Desk(None).states
    for key in "abc":
        states.fill(key, b'{"n":"%s"}' % (b"x" * (STATE_BYTES_KEPT // 2)))
    assert states.heavy(1)
    states.prune({"s:a", "s:b", "s:c"})
    assert not states.heavy(1)
    states.fill("d", b'{"n":"%s"}' % (b"x" * STATE_BYTES_KEPT))
    states.fill("e", b'{"n":"%s"}' % (b"x" * STATE_BYTES_KEPT))
    assert states.heavy(1)


def test_large_states_are_needed_a_few_at_a_time() -> None:
    states = Desk(None).states
    assert 100 < states.at_once(1) < 1_000, "nothing is known of them"
    states.fill("a", b'{"n":1}')
    for _ in range(10):
        states.heavy(1)
    assert states.at_once(1) > 1_000
    states.fill("a", b'{"n":"%s"}' % (b"x" * (STATE_BYTES_KEPT // 4)))
    states.heavy(1)
    assert states.at_once(1) == 3
    states.clear()
    assert states.at_once(1) == 3
    states.fill("b", b'{"n":"%s"}' % (b"x" * STATE_BYTES_KEPT))
    states.heavy(1)
    assert states.at_once(1) == 1


@pytest.mark.parametrize("order", list(Order))
def test_states_are_let_go_under_load(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, order: Order
) -> None:
    """New events are there at all times, and of the next one's key the last event is uncommitted: if its state were
    let go before Redis has it, it would be read as it was, and count too little."""
    monkeypatch.setattr(module, "STATES_KEPT", 20)
    monkeypatch.setattr(keyed, "WINDOW", 20)

    async def handler(event: Event, ctx: Any) -> None:
        await asyncio.sleep(0)
        ctx.state["n"] = ctx.state.get("n", 0) + 1

    made = bench(handler, order=order, concurrency=3 if order is Order.KEY else 1, commit=CommitBounds(events=10))
    states, ledger, most = made.lane.states, made.lane.ledger, 0

    async def read(states: States, run: list[Event]) -> None:
        for key in states.missing({event.key for event in run}):
            states.fill(key, made.store.states.get(f"state:{key}"))

    made.slice.load_states = read  # type: ignore[method-assign]

    def enough() -> bool:
        nonlocal most
        most = max(most, len(states._texts))
        return ledger.committed == 400

    for first in range(1, 400, 5):  # each five as by a read of their own
        made.lane.feed([entry(n, b'{"n":%d}' % n, b"k%d" % (n // 2 % 100)) for n in range(first, first + 5)], 100.0)
    made.drive(until=enough)
    assert set(made.store.states.values()) == {b'{"n":4}'} and len(made.store.states) == 100
    assert most <= 60


def test_what_is_not_committed_or_has_just_been_read_stays(bench: Callable[..., Bench]) -> None:
    async def handler(event: Event, ctx: Any) -> None:
        ctx.state["n"] = 1

    made = bench(handler, order=Order.KEY, concurrency=3)
    lane: Any = made.lane
    states, ledger = lane.states, lane.ledger
    for key in "abcd":
        states.fill(key, None)
    for ordinal, key in enumerate("abc", 1):
        name = key.encode()
        lane.order.arrive(Flight(ordinal, name, Event(*entry(ordinal, key=name), lane.source)))
    for key in "ab":
        flight = lane.order.start()
        flight.effects = [("S", f"state:{key}", (b"{}",))]
        lane.order.done(flight)
        ledger.finish([flight])
        if key == "a":
            assert ledger.next_commit() is not None, "under way"
    states.prune(ledger._needed())
    assert sorted(states.missing({*"abcd"})) == ["d"]
    ledger.outcome([b"OK"])
    states.prune(ledger._needed())
    assert sorted(states.missing({*"abcd"})) == ["a", "d"]


def test_a_state_that_a_handler_read_and_changed_meanwhile_is_not_taken_back() -> None:
    desk = Desk(None)

    class Wire:
        async def call(self, *_: str) -> list[bytes]:
            desk.use("a")["n"] = 6
            desk.done("a")
            return [b'{"n":5}'] * 2

    class Link:
        async def get(self) -> Wire:
            return Wire()

    link: Any = Link()
    asyncio.run(load(link, desk.states, {"a", "b"}))
    desk.use("a")["n"] = 5
    assert desk.done("a") == ("S", "s:a", (b'{"n":5}',))
    assert desk.use("b") == {"n": 5}

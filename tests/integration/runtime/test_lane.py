"""A whole lane (reader, handler, ledger, committer) against a real server and the faults that connections have.

Every event emits once and adds one to a state: whatever happens, the outputs are those of the events up to the cursor,
each once and in order, and the state counts them.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runnelctl.core import keys
from runnelctl.core.model import CommitBounds
from runnelctl.event import Event
from runnelctl.runtime import board as cells
from runnelctl.runtime import reader
from runnelctl.store import connect, endpoint
from tests.bench import Bench, run
from tests.partition import Partition
from tests.proxy import Fault, Proxy
from tests.servers import Server

NONCE = 4_611_686_018_427_387_905
EVENTS = 300


async def concurrent(event: Event, ctx: Any) -> None:
    await asyncio.sleep(0)
    plain(event, ctx)


def plain(event: Event, ctx: Any) -> None:
    ctx.emit("out", {"k": "x", "of": event.value["n"]})
    ctx.state["n"] = ctx.state.get("n", 0) + 1


class Site:
    """One partition with events in it, and a slice that runs it in this process."""

    def __init__(self, server: Server, topology: str, handler: Any, at: endpoint.Endpoint | None = None) -> None:
        self.client = connect.client(server.endpoint)
        self.part = Partition(self.client, topology)
        self.out = keys.events(topology, "out", 0)
        self.state = keys.state(topology, "orders", 0, "billing", "k")
        bounds = CommitBounds(every_ms=1, events=7)
        self.bench = Bench(handler, at_redis=at or server.endpoint, name=topology, commit=bounds)
        self.bench.slice.lanes.clear()
        self.board, self.base = self.bench.board, self.bench.board.unit(0)
        self.add(EVENTS)

    def add(self, count: int, pad: str = "") -> None:
        known = self.client.xlen(self.part.events)
        with self.client.pipeline(transaction=False) as pipe:
            for number in range(known, known + count):
                pipe.xadd(self.part.events, {"data": json.dumps({"k": "k", "n": number, "pad": pad}), "key": "k"})
            pipe.execute()

    def cursor_count(self) -> int:
        return int(self.part.hash()["count"])

    def check(self, count: int) -> None:
        """The books in Redis agree with each other, and `count` events are passed."""
        outputs = [json.loads(each["data"])["of"] for each in self.part.outputs(self.out)]
        assert outputs == list(range(count)), "each once and in order"
        assert self.client.get(self.state) == json.dumps({"n": count}, separators=(",", ":")).encode()
        assert self.cursor_count() == count

    def work(self, meanwhile: Callable[[int], object] = lambda done: None, until: int = EVENTS) -> int:
        """Run the lane until `until` events are committed or it ends by itself; the state that it ended in.
        `meanwhile` is called, with the number of events done, between turns of the loop."""
        slice_, q = self.bench.slice, self.board.q

        async def body() -> int:
            epoch = int(self.part.acquire(NONCE, "h:1:x/0")[1])
            q[self.base + cells.U_EPOCH], q[self.base + cells.U_NONCE] = epoch, NONCE
            for cell in (cells.U_FOR, cells.U_HELD, cells.U_TAKEN):
                q[self.base + cell] = 1
            lines = slice_.reader.main(), slice_.reader.ahead()
            others = [asyncio.ensure_future(each) for each in (slice_.committer.main(), *lines)]
            running = asyncio.ensure_future(slice_._run_lane(slice_.plan.units[0], 1))
            while not running.done():
                await asyncio.sleep(0.001)
                lane = slice_.lanes.get(0)
                if lane is not None:
                    meanwhile(lane.ledger.done)
                    if lane.ledger.committed >= until and not lane.stopping:
                        lane.stop()
                for each in others:
                    assert not each.done(), each.exception()
            await running
            for each in others:
                each.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            for link in (slice_.committer.link, *slice_.reader.links):
                link.drop()
            return q[self.base + cells.U_STATE]

        return run(body())

    def close(self) -> None:
        self.bench.close()
        self.client.close()


@pytest.fixture
def site(redis_server: Server, app_name: str) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(handler: Any = concurrent, at: str | None = None, server: Server = redis_server) -> Site:
        made.append(Site(server, app_name, handler, None if at is None else endpoint.parse(at)))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("handler", [concurrent, plain])
def test_without_faults(site: Callable[..., Site], handler: Any) -> None:
    made = site(handler)
    assert made.work() == cells.STATE_RELEASED
    made.check(EVENTS)
    assert made.part.group()["lag"] == 0
    assert made.part.hash()["owner"] == ""


@pytest.mark.parametrize("handler", [concurrent, plain])
@pytest.mark.parametrize("fault", Fault)
def test_connections_that_break_under_commits(
    site: Callable[..., Site], redis_server: Server, fault: Fault, handler: Any
) -> None:
    commits = itertools.count()

    def every_fourth_commit(_: int, words: list[bytes]) -> Fault | None:
        return fault if words[0].startswith(b"EVAL") and next(commits) % 4 == 1 else None

    with Proxy(redis_server, every_fourth_commit) as proxy:
        made = site(handler, at=proxy.url)
        # The very last commit releases: if its reply is lost, the answer to asking again is that it is not ours.
        assert made.work() in (cells.STATE_RELEASED, cells.STATE_LOST)
        assert proxy.faults >= 5
    made.check(EVENTS)


@pytest.mark.parametrize("fault", Fault)
def test_connections_that_break_under_reads(site: Callable[..., Site], redis_server: Server, fault: Fault) -> None:
    numbers = itertools.count()

    def every_other_read(_: int, words: list[bytes]) -> Fault | None:
        return fault if words[0] == b"XREAD" and next(numbers) % 2 == 0 else None

    with Proxy(redis_server, every_other_read) as proxy:
        made = site(at=proxy.url)
        made.work(lambda done: made.add(10) if done == made.client.xlen(made.part.events) < EVENTS + 30 else None,
                  until=EVENTS + 30)  # fmt: skip
        assert proxy.faults >= 2
    made.check(EVENTS + 30)


LARGE, PAD = 60, "x" * 20_000


def test_large_events_behind_small_ones_are_never_held_all_at_once(
    site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "REPLY_MOST_BYTES", 100_000)
    made, held = site(), [0]
    made.add(LARGE, PAD)
    made.add(10)

    def look(_: int) -> None:
        replies = made.bench.slice.lanes[0].intake._replies
        held.append(sum(sum(map(len, fields)) for entries in replies for _, fields in entries))

    assert made.work(look, until=EVENTS + LARGE + 10) == cells.STATE_RELEASED
    made.check(EVENTS + LARGE + 10)
    assert 0 < max(held) <= 2 * 100_000


def test_a_server_that_hangs_up_on_long_replies_is_asked_for_shorter_ones(
    site: Callable[..., Site], valkey_own: Server
) -> None:
    made = site(server=valkey_own)
    made.add(LARGE, PAD)
    made.client.config_set("client-output-buffer-limit", "normal 100kb 0 0")
    assert made.work(until=EVENTS + LARGE) == cells.STATE_RELEASED
    made.check(EVENTS + LARGE)


def test_a_script_cache_that_is_flushed_all_the_time(site: Callable[..., Site]) -> None:
    made = site()
    assert made.work(lambda done: made.client.script_flush()) == cells.STATE_RELEASED
    made.check(EVENTS)


def test_a_server_that_is_killed_and_comes_back(site: Callable[..., Site], valkey_own: Server) -> None:
    made = site(server=valkey_own)
    kills = iter([50, 120, 200])
    due = [next(kills)]

    def kill(done: int) -> None:
        if due and done >= due[0]:
            valkey_own.kill()
            valkey_own.start()
            due[:] = [mark] if (mark := next(kills, None)) is not None else []

    assert made.work(kill) in (cells.STATE_RELEASED, cells.STATE_LOST)
    assert not due
    made.check(EVENTS)


def test_a_lane_that_was_taken_over_drops_what_it_did_not_commit(site: Callable[..., Site]) -> None:
    made = site()

    def take_over(done: int) -> None:
        if done >= 100 and made.part.hash()["nonce"] == str(NONCE):
            assert made.part.acquire(5, "other/0", dead=NONCE)[0] == "OK"

    assert made.work(take_over) == cells.STATE_LOST
    count = made.cursor_count()
    assert 0 < count < EVENTS
    made.check(count)
    assert made.part.hash()["owner"] == "other/0"


def test_a_failover_that_loses_commits_repeats_their_events_and_their_outputs_once(site: Callable[..., Site]) -> None:
    """Lock, cursor, outputs and states go back together; the slice has to follow, without a new lease."""
    made = site()
    saved: dict[str, Any] = {}
    names = (made.part.own, made.out, made.state)

    def fail_over(done: int) -> None:
        if not saved and done >= 60:
            saved.update({name: made.client.dump(name) for name in names})
        elif saved and done >= 150 and "over" not in saved:
            saved["over"] = True
            with made.client.pipeline(transaction=True) as pipe:
                for name in names:
                    pipe.restore(name, 0, saved[name], replace=True)
                pipe.execute()

    assert made.work(fail_over) == cells.STATE_RELEASED
    assert "over" in saved
    made.check(EVENTS)


def test_a_stranger_that_trims_is_noticed_with_the_exact_number(site: Callable[..., Site]) -> None:
    made = site()

    def trim(done: int) -> None:
        if done >= 100 and made.client.xlen(made.part.events) == EVENTS:
            made.client.xtrim(made.part.events, maxlen=20, approximate=False)

    assert made.work(trim) == cells.STATE_QUARANTINED
    count = made.cursor_count()
    made.check(count)
    record = json.loads(made.part.hash()["block"])
    assert (record["kind"], record["lost"], record["event"]) == ("trimmed", EVENTS - 20 - count, "")

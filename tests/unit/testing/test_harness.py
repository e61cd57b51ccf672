"""The harness: what a test of a handler can feed and see."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from runnelctl import Events, HandlerError, RecordError, Reject, Skip, UsageError
from runnelctl.event import Event
from runnelctl.testing import Harness, Stuck

TOPOLOGY = """\
name: shop
pythonpath: [.]
streams:
  orders: {partitions: 4, key: user}
  receipts: {partitions: 2, key: user}
processors:
  bill: {stream: orders, handler: "HANDLERS:bill", processes: 3, policy: QUARANTINE, retry: {attempts: 2, backoff: 60s}}
  mail: {stream: receipts, handler: "HANDLERS:mail", policy: IGNORE, dead_letter: true, retry: {attempts: 1}}
"""

HANDLERS = """\
mended = False

async def bill(event, ctx):
    order = event.value
    if order["cents"] == 13 and not mended:
        raise ValueError("thirteen")
    ctx.state["cents"] = ctx.state.get("cents", 0) + order["cents"]
    ctx.emit("receipts", {"user": event.key, "balance": ctx.state["cents"]}, headers={"of": event.id})

def mail(event):
    if event.value["balance"] < 0:
        raise ArithmeticError("below zero")
"""


@pytest.fixture
def shop(tmp_path: Path) -> tuple[Path, str]:
    """A project whose handlers have a module name of their own, since modules stay imported."""
    name = f"handlers_{tmp_path.name}".replace("-", "_").replace("[", "_").replace("]", "_")
    (tmp_path / f"{name}.py").write_text(HANDLERS)
    (tmp_path / "topology.yaml").write_text(TOPOLOGY.replace("HANDLERS", name))
    (tmp_path / "topology.yaml").chmod(0o644)
    return tmp_path / "topology.yaml", name


def test_a_chain_of_processors(shop: tuple[Path, str]) -> None:
    with Harness(shop[0]) as harness:
        ids = harness.send_many("orders", [{"user": "ada", "cents": 5}, {"user": "bob", "cents": -7}])
        harness.send("orders", {"user": "ada", "cents": 4})
        harness.run()
        assert sorted(harness.records("receipts"), key=str) == [
            {"user": "ada", "balance": 5}, {"user": "ada", "balance": 9}, {"user": "bob", "balance": -7},
        ]  # fmt: skip
        first = harness.events("receipts")[0]
        assert (first.headers["of"].decode() in ids, first.key in ("ada", "bob")) == (True, True)
        assert harness.state("bill", "ada") == {"cents": 9}
        assert harness.state("bill", "eve") is None
        assert [(each.value, each.headers["dead-message"]) for each in harness.dead_letters("mail")] == [
            ({"user": "bob", "balance": -7}, b"below zero")
        ]
        assert [(each["type"], each["attempts"]) for each in harness.failures("mail")] == [("ArithmeticError", 1)]
        assert (harness.passed("bill"), harness.passed("mail"), harness.blocked("mail")) == (3, 3, {})
        harness.send("orders", {"user": "ada", "cents": 1})
        assert harness.run().state("bill", "ada") == {"cents": 10}


def test_a_quarantine_and_its_replay_take_no_time(shop: tuple[Path, str]) -> None:
    import sys

    began = time.monotonic()
    with Harness(shop[0]) as harness:
        harness.send_many("orders", [{"user": "ada", "cents": cents} for cents in (5, 13, 6)])
        harness.send_many("orders", [{"user": user, "cents": 1} for user in ("bob", "cy", "dan", "eve")])
        harness.run()
        ((partition, record),) = harness.blocked("bill").items()
        assert (record["state"], record["type"], record["attempts"]) == ("quarantined", "ValueError", 2)
        assert "thirteen" in record["traceback"] and record["partition"] == partition
        assert harness.state("bill", "ada") == {"cents": 5}
        assert harness.retried("bill") == 1
        assert harness.elapsed_s > 30, "the backoff of a minute was waited for"
        sys.modules[shop[1]].mended = True  # type: ignore[attr-defined]
        harness.replay("bill").run()
        assert (harness.state("bill", "ada"), harness.blocked("bill")) == ({"cents": 24}, {})
    assert time.monotonic() - began < 30


def test_halt_stops_the_processor_and_skip_goes_on_behind(shop: tuple[Path, str]) -> None:
    file = shop[0]
    file.write_text(file.read_text().replace("QUARANTINE", "HALT, dead_letter: true"))
    with Harness(file, only=["bill"]) as harness:
        harness.send_many("orders", [{"user": "ada", "cents": cents} for cents in (13, 6)])
        harness.run()
        assert [record["state"] for record in harness.blocked("bill").values()] == ["halted"]
        harness.send("orders", {"user": "bob", "cents": 1})
        assert harness.run().state("bill", "bob") is None, "halted: nothing of it runs"
        harness.replay("bill", skip=True).run()
        assert (harness.state("bill", "ada"), harness.state("bill", "bob")) == ({"cents": 6}, {"cents": 1})
        assert [event.value for event in harness.dead_letters("bill")] == [{"user": "ada", "cents": 13}]
        with pytest.raises(UsageError, match="there is no processor 'mail'"):
            harness.failures("mail")


def test_a_key_is_parked_and_replayed() -> None:
    mended: list[bool] = []
    seen: list[Any] = []

    async def handler(event: Event, ctx: Any) -> None:
        if event.value["n"] == 2 and not mended:
            raise ValueError("two")
        seen.append((event.key, event.value["n"]))
        ctx.state["n"] = event.value["n"]

    parking = {"policy": "QUARANTINE", "scope": "key", "retry": {"attempts": 1}, "stream": {"key": "k"}}
    with Harness.of(handler, **parking) as harness:  # type: ignore[arg-type]
        harness.send_many(
            "events", [{"k": key, "n": n} for n in (1, 2, 3) for key in ("ada", "bob") if (key, n) != ("bob", 2)]
        )
        harness.run()
        assert seen == [("ada", 1), ("bob", 1), ("bob", 3)]
        assert [(key, record["message"]) for key, record in harness.parked("handler").items()] == [("ada", "two")]
        assert (harness.passed("handler"), harness.blocked("handler")) == (5, {})
        harness.replay("handler", key="ada").run()
        assert list(harness.parked("handler")) == ["ada"], "it failed again"
        mended.append(True)
        harness.replay("handler", key="ada").run()
        assert seen[3:] == [("ada", 2), ("ada", 3)]
        assert (harness.parked("handler"), harness.state("handler", "ada")) == ({}, {"n": 3})
        with pytest.raises(UsageError, match="'ada' is not parked"):
            harness.replay("handler", key="ada")


def test_keys_run_side_by_side_on_the_virtual_clock() -> None:
    async def handler(event: Event, ctx: Any) -> None:
        await asyncio.sleep(10)
        ctx.state["n"] = [*ctx.state.get("n", []), event.value["n"]]

    settings: dict[str, Any] = {"order": "key", "concurrency": 8, "stream": {"key": "k"}}
    with Harness.of(handler, **settings) as harness:
        harness.send_many("events", [{"k": f"k{number % 4}", "n": number} for number in range(8)])
        harness.run()
        assert [harness.state("handler", f"k{key}") for key in range(4)] == [{"n": [key, key + 4]} for key in range(4)]
        assert 20 <= harness.elapsed_s < 30, "four at a time"


def test_one_handler() -> None:
    seen: list[Any] = []

    def handler(event: Event, ctx: Any) -> None:
        seen.append((event.value, event.attempt, threading.current_thread().name))
        if event.value == {"n": 2}:
            raise Skip("two")
        if event.value == {"n": 3}:
            raise Reject("three")
        ctx.emit("out", {"n": event.value["n"]})

    with Harness.of(handler, policy="IGNORE", streams={"out": {"partitions": 1}}) as harness:
        harness.send_many("events", [{"n": n} for n in range(1, 5)])
        harness.run()
        assert harness.records("out") == [{"n": 1}, {"n": 4}]
        assert [each["kind"] for each in harness.failures("handler")] == ["rejected"]
    assert [value for value, _, _ in seen] == [{"n": 1}, {"n": 2}, {"n": 3}, {"n": 4}]
    assert all("handler:0" in name for _, _, name in seen)


def test_an_iterator_with_middleware_batches_and_its_end() -> None:
    said: list[Any] = []

    async def odd(events: Any) -> Any:
        async for taken in events:
            yield [event for event in taken if event.value["n"] % 2] or taken

    async def handler(events: Events) -> None:
        async for records in events.take(4, within=3600).records():
            said.append([record["n"] for record in records])
        said.append("end")

    with Harness.of(handler, middleware=[odd]) as harness:
        harness.send_many("events", [{"n": n} for n in range(6)])
        harness.run()
        assert said == [[1, 3], [5]]
        assert harness.elapsed_s >= 3599
    assert said[-1] == "end"


def test_broken_records_meet_the_policy() -> None:
    async def handler(event: Event) -> None:
        _ = event.value

    with Harness.of(handler, policy="IGNORE", dead_letter=True, retry={"attempts": 1}) as harness:
        harness.send_raw("events", b"{")
        harness.send("events", {})
        harness.run()
        assert [event.raw for event in harness.dead_letters("handler")] == [b"{"]
        assert harness.passed("handler") == 2


def test_what_is_sent_is_checked_as_a_client_does() -> None:
    stream = {"key": "user", "schema": {"type": "object", "required": ["cents"]}}
    with Harness.of(lambda event: None, stream=stream) as harness:
        with pytest.raises(RecordError, match="cents"):
            harness.send("events", {"user": "ada"})
        with pytest.raises(UsageError, match="stream 'orders' is not declared"):
            harness.send("orders", {})


def test_a_handler_that_waits_for_ever_is_told() -> None:
    async def handler(event: Event) -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck, match="in the handler of handler:0 at event number 1"), Harness.of(handler) as harness:
        harness.send("events", {})
        harness.run()


def test_a_handler_over_its_timeout_is_told() -> None:
    async def handler(event: Event) -> None:
        await asyncio.sleep(29)
        await asyncio.sleep(29)

    with pytest.raises(Stuck, match="longer than its timeout of 30 s"), Harness.of(handler) as harness:
        harness.send("events", {})
        harness.run()


def test_time_does_not_jump_while_a_thread_works() -> None:
    async def handler(event: Event) -> None:
        async with asyncio.timeout(5):
            await asyncio.to_thread(time.sleep, 0.02)

    with Harness.of(handler) as harness:
        harness.send("events", {})
        harness.run()
        assert (harness.passed("handler"), harness.failures("handler")) == (1, [])


def test_a_handler_that_can_not_start() -> None:
    with pytest.raises(HandlerError, match="must be callable"), Harness.of(3) as harness:
        harness.run()


def test_inside_a_loop_it_is_refused() -> None:
    with Harness.of(lambda event: None) as harness:

        async def inside() -> None:
            for method in (harness.run, harness.close):
                with pytest.raises(UsageError, match="runs its own event loop"):
                    method()

        asyncio.run(inside())

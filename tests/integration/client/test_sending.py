"""Both clients against real servers: order, coalescing, refusals, faults between a command and its reply."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import multiprocessing
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

import runnelctl
from runnelctl import errors
from runnelctl.client import concurrent
from runnelctl.client import sender as sending
from runnelctl.core import keys
from runnelctl.core.model import Stream, Topology
from runnelctl.records import codec_for
from runnelctl.store import connect as store
from tests.proxy import Fault, Proxy
from tests.servers import Server
from tests.waiting import wait_until

SCHEMA = {"type": "object", "required": ["id"], "properties": {"n": {"type": "integer", "minimum": 0}}}


def topology(name: str, url: str, **changes: Any) -> Topology:
    orders = Stream(**({"name": "orders", "partitions": 4, "key": "id", "schema": SCHEMA} | changes))
    return Topology(name=name, file="/t.yaml", redis=url, streams={"orders": orders}, processors={})


def record(number: int) -> dict[str, Any]:
    return {"id": f"u{number % 17}", "n": number}


def stored(server: Server, name: str, partitions: int = 4) -> list[list[dict[str, Any]]]:
    """The records of each partition, in Redis's order."""
    codec = codec_for(Stream(name="x", partitions=1))
    client = store.client(server.endpoint)
    try:
        logs = [client.xrange(keys.events(name, "orders", partition)) for partition in range(partitions)]
    finally:
        client.close()
    return [[codec.decode(fields[b"data"]) for _, fields in log] for log in logs]


def check_exactly_once_in_order(server: Server, name: str, count: int) -> None:
    logs = stored(server, name)
    assert sorted(entry["n"] for log in logs for entry in log) == list(range(count))
    by_key: dict[str, list[int]] = {}
    for log in logs:
        for entry in log:
            by_key.setdefault(entry["id"], []).append(entry["n"])
    assert all(numbers == sorted(numbers) for numbers in by_key.values())


@pytest.fixture
def shop(redis_server: Server, app_name: str) -> Topology:
    return topology(app_name, redis_server.url)


def test_send_and_send_many(shop: Topology, redis_server: Server) -> None:
    with runnelctl.connect_sync(shop) as client:
        first = client.send("orders", record(0), headers={"trace": "t"})
        ids = client.send_many("orders", (record(number) for number in range(1, 5_000)))
    check_exactly_once_in_order(redis_server, shop.name, 5_000)
    assert len(ids) == 4_999
    raw = store.client(redis_server.endpoint)
    assert raw.xrange(keys.events(shop.name, "orders", 0), first, first) or any(
        fields.get(b"h:trace") == b"t"
        for partition in range(4)
        for _, fields in raw.xrange(keys.events(shop.name, "orders", partition), first, first)
    )
    raw.close()


def test_ids_belong_to_their_records(shop: Topology, redis_server: Server) -> None:
    with runnelctl.connect_sync(shop) as client:
        ids = client.send_many("orders", [record(number) for number in range(3_000)])
        codec = client.codec("orders")
    raw = store.client(redis_server.endpoint)
    for number in range(0, 3_000, 97):
        key = keys.events(shop.name, "orders", codec.encode(record(number)).partition)
        [(_, fields)] = raw.xrange(key, ids[number], ids[number])
        assert codec.decode(fields[b"data"]) == record(number)
    raw.close()


def test_asyncio_sends_are_coalesced(shop: Topology, redis_server: Server) -> None:
    async def scenario() -> list[str]:
        async with runnelctl.connect(shop) as client:
            return await asyncio.gather(*(client.send("orders", record(number)) for number in range(2_000)))

    raw = store.client(redis_server.endpoint)
    before = _calls(raw)
    ids = asyncio.run(scenario())
    assert len(ids) == 2_000
    check_exactly_once_in_order(redis_server, shop.name, 2_000)
    assert _calls(raw) - before < 60
    raw.close()


def _calls(client: redis.Redis) -> int:
    stats: Any = client.info("commandstats")
    return sum(int(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"]) for name in ("evalsha", "eval"))


def test_asyncio_send_many_takes_any_iterable(shop: Topology, redis_server: Server) -> None:
    async def later() -> Any:
        for number in range(5_000, 9_000):
            yield record(number)

    async def scenario() -> None:
        async with runnelctl.connect(shop) as client:
            assert len(await client.send_many("orders", (record(number) for number in range(5_000)))) == 5_000
            assert len(await client.send_many("orders", later())) == 4_000
            assert await client.send_many("orders", []) == []

    asyncio.run(scenario())
    check_exactly_once_in_order(redis_server, shop.name, 9_000)


def test_a_bad_record_costs_its_window_and_nothing_before_it(shop: Topology, redis_server: Server) -> None:
    good = sending.WINDOW_RECORDS * 2 + 5

    def records() -> Iterator[dict[str, Any]]:
        yield from (record(number) for number in range(good))
        yield {"id": "x", "n": -1}

    with runnelctl.connect_sync(shop) as client:
        with pytest.raises(errors.RecordError, match="n: -1 is less than the minimum of 0") as caught:
            client.send_many("orders", records())
        assert len(caught.value.ids) == sending.WINDOW_RECORDS * 2
        assert f"{sending.WINDOW_RECORDS * 2:,} records of this call are stored" in str(caught.value)
        with pytest.raises(errors.RecordError):
            client.send("orders", {"n": 1})
    check_exactly_once_in_order(redis_server, shop.name, sending.WINDOW_RECORDS * 2)


def test_the_same_from_asyncio(shop: Topology, redis_server: Server) -> None:
    async def scenario() -> None:
        records = [record(number) for number in range(sending.WINDOW_RECORDS + 5)]
        async with runnelctl.connect(shop) as client:
            with pytest.raises(errors.RecordError) as caught:
                await client.send_many("orders", [*records, {"id": "x", "n": -1}])
            assert len(caught.value.ids) == sending.WINDOW_RECORDS

    asyncio.run(scenario())
    check_exactly_once_in_order(redis_server, shop.name, sending.WINDOW_RECORDS)


def test_unknown_streams_and_other_identities(shop: Topology) -> None:
    with runnelctl.connect_sync(shop) as client, pytest.raises(errors.UsageError, match="did you mean 'orders'"):
        client.send("order", {})
    changed = dataclasses.replace(shop, streams={"orders": Stream(name="orders", partitions=5)})
    with pytest.raises(errors.RedisUnfit, match="4 partitions"), runnelctl.connect_sync(changed):
        pass


def test_capacity_says_what_is_stored(valkey: Server, app_name: str) -> None:
    small = topology(app_name, valkey.url, capacity=100, partitions=1)
    with runnelctl.connect_sync(small) as client:
        with pytest.raises(errors.CapacityError, match="capacity is 100") as caught:
            client.send_many("orders", [record(number) for number in range(250)])
        assert [entry_id is not None for entry_id in caught.value.ids] == [True] * 100 + [False] * 150
    assert [entry["n"] for entry in stored(valkey, app_name)[0]] == list(range(100))


def test_waiting_for_room_until_the_processor_reads(valkey: Server, app_name: str) -> None:
    small = topology(app_name, valkey.url, capacity=100, partitions=1)
    key = keys.events(app_name, "orders", 0)
    raw = store.client(valkey.endpoint)
    sent: list[str] = []

    def send() -> None:
        with runnelctl.connect_sync(small, wait_ms=math.inf) as client:
            sent.extend(client.send_many("orders", [record(number) for number in range(250)]))

    thread = threading.Thread(target=send)
    thread.start()
    for read in (100, 200):
        wait_until(lambda read=read: raw.xlen(key) == read)  # type: ignore[misc]
        raw.xgroup_create(key, "billing", id="0") if read == 100 else None
        raw.execute_command("XGROUP", "SETID", key, "billing", raw.xrevrange(key, count=1)[0][0], "ENTRIESREAD", read)
    thread.join()
    assert len(sent) == 250
    assert [entry["n"] for entry in stored(valkey, app_name)[0]] == list(range(250))
    raw.close()


def test_a_full_redis_refuses_senders(start_server: Callable[..., Server]) -> None:
    server = start_server("valkey", "--maxmemory", "8mb", "--maxmemory-policy", "noeviction", appendonly=False)
    full = topology("t", server.url, schema=None)
    with runnelctl.connect_sync(full) as client:
        with pytest.raises(errors.RedisUnfit, match="is full") as caught:
            client.send_many("orders", ({"id": "a", "n": n, "pad": "x" * 10_000} for n in range(5_000)))
        known = [entry_id for entry_id in caught.value.ids if entry_id]
        assert sum(len(log) for log in stored(server, "t")) == len(known)
        raw = store.client(server.endpoint)
        raw.config_set("maxmemory", "1mb")
        with pytest.raises(errors.RedisUnfit, match="is full"):
            client.send("orders", record(1))
        raw.config_set("maxmemory", "100mb")
        assert client.send("orders", record(1))
        raw.close()
    assert sum(len(log) for log in stored(server, "t")) == len(known) + 1
    assert known


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("flavour", ["sync", "async"])
def test_lost_replies_make_no_second_copy(valkey: Server, app_name: str, seed: int, flavour: str) -> None:
    rng = random.Random(seed)

    def fault(number: int, words: list[bytes]) -> Fault | None:
        if not words[0].startswith(b"EVAL"):
            return None
        return rng.choices([None, Fault.LOSE_REPLY, Fault.CUT], [6, 3, 1])[0]

    with Proxy(valkey, fault) as proxy:
        shop = topology(app_name, proxy.url)
        if flavour == "sync":
            with runnelctl.connect_sync(shop) as client:
                ids = [client.send("orders", record(number)) for number in range(20)]
                ids += client.send_many("orders", [record(number) for number in range(20, 6_000)])
        else:
            ids = asyncio.run(_send_async(shop))
        assert proxy.faults > 5
    assert len(ids) == 6_000
    check_exactly_once_in_order(valkey, app_name, 6_000)


async def _send_async(shop: Topology) -> list[str]:
    async with runnelctl.connect(shop) as client:
        ids = await asyncio.gather(*(client.send("orders", record(number)) for number in range(20)))
        return ids + await client.send_many("orders", [record(number) for number in range(20, 6_000)])


def test_an_unknown_outcome_is_said_and_the_client_goes_on(valkey: Server, app_name: str) -> None:
    losing = True

    def fault(number: int, words: list[bytes]) -> Fault | None:
        return Fault.LOSE_REPLY if losing and words[0].startswith(b"EVAL") else None

    with Proxy(valkey, fault) as proxy, runnelctl.connect_sync(topology(app_name, proxy.url), timeout_ms=300) as client:
        with pytest.raises(errors.SendOutcomeUnknown, match="may or may not be stored"):
            client.send("orders", record(0))
        losing = False
        client.send("orders", record(1))
    check_exactly_once_in_order(valkey, app_name, 2)


@pytest.mark.parametrize("flavour", ["sync", "async"])
def test_a_server_killed_in_the_middle_of_send_many(start_server: Callable[..., Server], flavour: str) -> None:
    """The source holds on while a window is under way, until the server is dead; the sender meets it coming back."""
    server = start_server("valkey", "--appendfsync", "always")
    shop = topology("t", server.url)
    turns = {number: (threading.Event(), threading.Event()) for number in (6_000, 13_000)}

    def records() -> Iterator[dict[str, Any]]:
        for number in range(20_000):
            if number in turns:
                reached, dead = turns[number]
                reached.set()
                assert dead.wait(30)
            yield record(number)

    def send() -> None:
        if flavour == "async":
            ids.extend(asyncio.run(_send_all(shop, records())))
            return
        with runnelctl.connect_sync(shop) as client:
            ids.extend(client.send_many("orders", records()))

    ids: list[str] = []
    sender = threading.Thread(target=send)
    sender.start()
    for reached, dead in turns.values():
        assert reached.wait(30)
        server.kill()
        dead.set()
        server.start()
    sender.join()
    assert len(ids) == 20_000
    check_exactly_once_in_order(server, "t", 20_000)


async def _send_all(shop: Topology, records: Iterator[dict[str, Any]]) -> list[str]:
    async with runnelctl.connect(shop) as client:
        return await client.send_many("orders", records)


def test_a_redis_that_is_gone_is_unreachable_not_unknown(valkey_own: Server) -> None:
    with runnelctl.connect_sync(topology("t", valkey_own.url), timeout_ms=200) as client:
        client.send("orders", record(0))
        valkey_own.kill()
        with pytest.raises(errors.RedisUnreachable):
            client.send("orders", record(1))
    with pytest.raises(errors.RedisUnreachable), runnelctl.connect_sync(topology("t", valkey_own.url)):
        pass


def test_a_cancelled_caller_leaves_the_connection_whole(valkey_own: Server) -> None:
    async def scenario() -> None:
        async with runnelctl.connect(topology("t", valkey_own.url)) as client:
            await client.send("orders", record(0))
            valkey_own.pause()
            tasks = [asyncio.create_task(client.send("orders", record(number))) for number in range(1, 50)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            valkey_own.resume()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[::2])
            assert all(isinstance(outcome, str) for outcome in outcomes[1::2])
            ids = [await client.send("orders", record(number)) for number in range(50, 60)]
            assert len(set(ids)) > 1

    asyncio.run(scenario())
    check_exactly_once_in_order(valkey_own, "t", 60)


def test_sends_beyond_the_bound_wait_for_their_turn_in_order(
    valkey_own: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concurrent, "QUEUED_BYTES", 5_000)

    async def scenario() -> None:
        async with runnelctl.connect(topology("t", valkey_own.url)) as client:
            await client.send("orders", record(0))
            valkey_own.pause()
            tasks = [asyncio.create_task(client.send("orders", record(number))) for number in range(1, 101)]
            for _ in range(5):
                await asyncio.sleep(0)
            assert 5_000 <= client._queued_bytes < 6_000
            waiting = len(client._waiting)
            assert waiting > 80
            tasks[97].cancel()
            tasks[98].cancel()
            valkey_own.resume()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert [number for number, each in enumerate(outcomes) if not isinstance(each, str)] == [97, 98]
            assert client._queued_bytes == 0 and not client._waiting
            await client.send_many("orders", [record(98), record(99)])

    asyncio.run(scenario())
    check_exactly_once_in_order(valkey_own, "t", 101)


def test_threads_share_a_client(shop: Topology, redis_server: Server) -> None:
    with runnelctl.connect_sync(shop) as client:

        def send(start: int) -> None:
            client.send_many("orders", [{"id": f"t{start}", "n": number} for number in range(start, start + 3_000)])

        threads = [threading.Thread(target=send, args=(start,)) for start in range(0, 12_000, 3_000)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    check_exactly_once_in_order(redis_server, shop.name, 12_000)


def test_a_source_that_sends_itself(shop: Topology, redis_server: Server) -> None:
    with runnelctl.connect_sync(shop) as client:

        def records() -> Iterator[dict[str, Any]]:
            for number in range(0, 100, 2):
                client.send("orders", {"id": "inner", "n": number})
                yield {"id": "outer", "n": number + 1}

        client.send_many("orders", records())
    check_exactly_once_in_order(redis_server, shop.name, 100)


def test_a_client_survives_a_fork(shop: Topology, redis_server: Server) -> None:
    with runnelctl.connect_sync(shop) as client:
        client.send("orders", {"id": "a", "n": 0})

        def child() -> None:
            for number in range(1, 51):
                client.send("orders", {"id": "child", "n": number})

        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        for number in range(51, 101):
            client.send("orders", {"id": "parent", "n": number})
        process.join()
        assert process.exitcode == 0
    check_exactly_once_in_order(redis_server, shop.name, 101)


def test_closing_waits_for_what_is_under_way(shop: Topology, redis_server: Server) -> None:
    async def scenario() -> list[str]:
        async with runnelctl.connect(shop) as client:
            tasks = [asyncio.create_task(client.send("orders", record(number))) for number in range(500)]
            await asyncio.sleep(0)
        return await asyncio.gather(*tasks)

    assert len(asyncio.run(scenario())) == 500
    check_exactly_once_in_order(redis_server, shop.name, 500)


def test_a_client_s_stamp_is_in_the_headers_of_all_it_sends(valkey: Server, app_name: str) -> None:
    of = topology(app_name, valkey.url, partitions=1)
    with runnelctl.connect_sync(of, stamp=lambda: {"a": "stamp", "b": "stamp"}) as client:
        client.send("orders", record(0), headers={"b": "own"})
        client.send_many("orders", [record(1)])

    async def concurrent() -> None:
        async with runnelctl.connect(of, stamp=lambda: {"a": "stamp"}) as client:
            await client.send("orders", record(2))

    asyncio.run(concurrent())
    with store.client(valkey.endpoint) as raw:
        found = [fields for _, fields in raw.xrange(keys.events(app_name, "orders", 0))]
    assert [(fields[b"h:a"], fields.get(b"h:b")) for fields in found] == [
        (b"stamp", b"own"), (b"stamp", b"stamp"), (b"stamp", None),
    ]  # fmt: skip

"""What comes of a call: unsent, lost or refused; and a connection that is never left unclean."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
import redis

from runnelctl.core import keys
from runnelctl.store import connect
from runnelctl.store.carry import Failed, Lost, ScriptCall, Unsent, begin, exchange, exchange_async, finish
from runnelctl.store.scripts import script
from tests.proxy import Fault, Proxy
from tests.servers import Server


@pytest.fixture
def client(valkey: Server) -> Iterator[redis.Redis]:
    opened = connect.client(valkey.endpoint)
    yield opened
    opened.close()


def call(name: str, first: int, data: str, partition: int = 0) -> ScriptCall:
    lane = (keys.events(name, "orders", partition), keys.producer(name, "orders", partition, "p"))
    return ScriptCall(script("produce"), lane, [first, 100, 60_000, 1, data, "k", 0])


def test_an_abandoned_flight_leaves_no_reply_behind(client: redis.Redis, app_name: str) -> None:
    begin(client, [call(app_name, 1, "a")]).abandon()
    [other] = exchange(client, [call(app_name, 1, "x", partition=1)])
    assert isinstance(other, list)
    [(entry_id, fields)] = client.xrange(keys.events(app_name, "orders", 1))
    assert (other[3], fields[b"data"]) == (entry_id, b"x")


def test_a_cancelled_exchange_leaves_no_reply_behind(valkey_own: Server) -> None:
    async def scenario() -> None:
        client = connect.client_async(valkey_own.endpoint)
        await client.ping()
        valkey_own.pause()
        task = asyncio.create_task(exchange_async(client, [call("t", 1, "a")]))
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        valkey_own.resume()
        assert await client.ping() is True
        [answer] = await exchange_async(client, [call("t", 1, "b", partition=1)])
        assert isinstance(answer, list)
        assert await client.xrange(keys.events("t", "orders", 1)) == [(answer[3], {b"data": b"b", b"key": b"k"})]
        await client.aclose()

    asyncio.run(scenario())


def test_a_good_connection_is_kept(client: redis.Redis, app_name: str) -> None:
    ids = {client.client_id()}
    for number in range(1, 4):
        exchange(client, [call(app_name, number, "a")])
        ids.add(client.client_id())
    assert len(ids) == 1


def test_no_server_is_unsent(valkey_own: Server) -> None:
    valkey_own.kill()
    client = connect.client(valkey_own.endpoint)
    answers = exchange(client, [call("t", 1, "a")] * 2)
    assert [type(answer) for answer in answers] == [Unsent, Unsent]
    client.close()


def test_a_lost_reply_is_lost_and_so_are_those_behind_it(valkey: Server, app_name: str) -> None:
    def fault(number: int, words: list[bytes]) -> Fault | None:
        return Fault.LOSE_REPLY if words[0] == b"EVALSHA" and words[-3] == b"b" else None

    client = connect.client(valkey.endpoint)
    exchange(client, [call(app_name, 1, "0")])  # so that the server knows the script
    client.close()
    with Proxy(valkey, fault) as proxy:
        from runnelctl.store.endpoint import parse

        client = connect.client(parse(proxy.url))
        calls = [call(app_name, 1, text, partition=at) for at, text in enumerate("abc", start=1)]
        answers = exchange(client, calls)
        client.close()
    assert [type(answer) for answer in answers] == [list, Lost, Lost]


def test_a_replica_is_refused_and_left(start_server: Callable[..., Server]) -> None:
    server = start_server("valkey")
    client = connect.client(server.endpoint)
    before = client.client_id()
    client.execute_command("REPLICAOF", "127.0.0.1", "1")
    [answer] = exchange(client, [call("t", 1, "a")])
    assert isinstance(answer, Failed)
    assert answer.code == "READONLY"
    assert client.client_id() != before
    client.close()


def test_a_refused_password_is_an_answer(start_server: Callable[..., Server]) -> None:
    server = start_server("valkey", "--requirepass", "secret")
    client = connect.client(server.endpoint)
    [answer] = exchange(client, [call("t", 1, "a")])
    assert isinstance(answer, Failed)
    assert answer.code == "NOAUTH"
    client.close()


def test_finish_after_a_broken_begin(valkey_own: Server) -> None:
    client = connect.client(valkey_own.endpoint)
    client.ping()
    flight = begin(client, [call("t", 1, "a")])
    valkey_own.kill()
    assert isinstance(finish(flight)[0], Lost | list)
    client.close()

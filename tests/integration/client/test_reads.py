"""Reading states and lengths with both clients, on real servers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis

from runnelctl import errors
from runnelctl.client import connect as connect_async
from runnelctl.client import connect_sync
from runnelctl.core import keys
from runnelctl.core.model import Partitioner, Processor, Stream, Topology
from runnelctl.core.routing import partition_of
from tests.servers import Server

PARTITIONS = 3
STATES = {f"user {number}": {"n": number} for number in range(2_500)} | {"*": {"n": -1}, "a:state:bill:b": {"n": -2}}


@pytest.fixture
def of(redis_server: Server, app_name: str, tmp_path: Path) -> Topology:
    streams = {
        "orders": Stream(name="orders", partitions=PARTITIONS, key="user"),
        "quiet": Stream(name="quiet", partitions=2),
    }
    processors = {
        name: Processor(name=name, stream="orders", handler="h:f", processes=1) for name in ("bill", "bill.x", "idle")
    }
    of = Topology(
        name=app_name, file=str(tmp_path / "t.yaml"), redis=redis_server.url, streams=streams, processors=processors
    )
    with redis.Redis.from_url(redis_server.url) as client, client.pipeline(transaction=False) as pipe:
        for key, state in STATES.items():
            pipe.set(name_of(of, "bill", key), json.dumps(state))
        pipe.set(name_of(of, "bill.x", "u"), '{"other": true}')
        pipe.set(keys.state(f"{app_name}x", "orders", 0, "bill", "u"), '{"stranger": true}')
        for number in range(5):
            pipe.xadd(keys.events(app_name, "orders", number % 2), {"data": "{}"}, maxlen=1)
        pipe.execute()
    return of


def name_of(of: Topology, processor: str, key: str) -> str:
    return keys.state(of.name, "orders", partition_of(key, PARTITIONS, Partitioner.CRC32), processor, key)


def test_all_states_of_one_processor_each_once(of: Topology) -> None:
    with connect_sync(of) as client:
        found = list(client.states("bill"))
        assert list(client.states("idle")) == []
        assert dict(client.states("bill.x")) == {"u": {"other": True}}
    assert len(found) == len(STATES)
    assert dict(found) == STATES


def test_one_state_and_a_length(of: Topology) -> None:
    with connect_sync(of) as client:
        assert client.state("bill", "user 7") == {"n": 7}
        assert client.state("bill", "nobody") == {}
        assert client.length("orders") == 5
        assert client.length("quiet") == 0


def test_wrong_names_are_told_with_the_nearest(of: Topology) -> None:
    with connect_sync(of) as client:
        with pytest.raises(errors.UsageError, match="did you mean 'bill'"):
            list(client.states("bil"))
        with pytest.raises(errors.UsageError, match="did you mean 'orders'"):
            client.length("order")


async def _read_all(of: Topology) -> tuple[dict[str, object], object, int]:
    async with connect_async(of) as client:
        states = {key: state async for key, state in client.states("bill")}
        return states, await client.state("bill", "*"), await client.length("orders")


def test_the_same_on_asyncio(of: Topology) -> None:
    import asyncio

    assert asyncio.run(_read_all(of)) == (STATES, {"n": -1}, 5)

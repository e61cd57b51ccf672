"""The agreement on a stream's identity."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
import redis

from runnelctl.core import keys
from runnelctl.core.model import Partitioner, Stream, Topology
from runnelctl.errors import RedisUnfit
from runnelctl.store import connect, meta
from tests.servers import Server


@pytest.fixture
def client(valkey: Server) -> Iterator[redis.Redis]:
    opened = connect.client(valkey.endpoint)
    yield opened
    opened.close()


def topology(name: str, *streams: Stream) -> Topology:
    return Topology(name=name, file="/t.yaml", redis="", streams={s.name: s for s in streams}, processors={})


ORDERS = Stream(name="orders", partitions=8)


def test_the_first_writes_and_the_next_agrees(client: redis.Redis, app_name: str) -> None:
    for _ in range(2):
        meta.agree(client, topology(app_name, ORDERS, Stream(name="other", partitions=1)))
    assert client.hgetall(keys.meta(app_name)) == {
        b"stream:orders": b'{"partitions": 8, "partitioner": "crc32"}',
        b"stream:other": b'{"partitions": 1, "partitioner": "crc32"}',
    }
    meta.agree(client, topology(app_name))


@pytest.mark.parametrize(
    ("change", "says"),
    [({"partitions": 16}, "16 partitions by crc32"), ({"partitioner": Partitioner.MURMUR2}, "8 partitions by murmur2")],
)
def test_another_identity_is_refused_with_both(
    client: redis.Redis, app_name: str, change: dict[str, object], says: str
) -> None:
    meta.agree(client, topology(app_name, ORDERS))
    changed = dataclasses.replace(ORDERS, **change)  # type: ignore[arg-type]
    with pytest.raises(RedisUnfit, match="stream 'orders' has 8 partitions by crc32 in Redis") as caught:
        meta.agree(client, topology(app_name, changed))
    assert says in str(caught.value)
    meta.agree(client, topology(app_name, ORDERS))


def test_what_cannot_be_read_is_refused(client: redis.Redis, app_name: str) -> None:
    client.hset(keys.meta(app_name), "stream:orders", "{")
    with pytest.raises(RedisUnfit, match=r"stream 'orders' has \{"):
        meta.agree(client, topology(app_name, ORDERS))


def test_how_the_json_is_spelled_does_not_matter(client: redis.Redis, app_name: str) -> None:
    client.hset(keys.meta(app_name), "stream:orders", '{"partitioner":"crc32","partitions":8}')
    meta.agree(client, topology(app_name, ORDERS))

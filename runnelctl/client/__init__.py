"""Sending from an application: `connect` for asyncio, `connect_sync` for everybody else.

Both check and encode records here, queue them in a `Producer`, and carry what it decides; neither decides anything of
its own. A record is stored once however often its reply is lost, and the records of one key are stored in the order in
which they were given.
"""

from __future__ import annotations

from pathlib import Path

from runnelctl.client.blocking import BlockingClient
from runnelctl.client.concurrent import Client
from runnelctl.client.sender import Stamp
from runnelctl.core.model import Topology

__all__ = ["BlockingClient", "Client", "connect", "connect_sync"]


def connect(
    topology: str | Path | Topology, *, timeout_ms: int = 30_000, wait_ms: float = 0, stamp: Stamp | None = None
) -> Client:
    """A client for asyncio: `async with connect("topology.yaml") as client: await client.send("orders", record)`.

    `timeout_ms` bounds how long a send is retried while Redis is away; `wait_ms` how long it waits for room in a
    partition at its capacity (`math.inf`: as long as it takes). `stamp` is called for each send and gives headers that
    it gets, such as `runnelctl.middleware.traceparent`. Entering raises TopologyError, RedisUnreachable, or
    RedisUnfit if Redis holds the streams with another partition count or partitioner.
    """
    return Client(topology, timeout_ms=timeout_ms, wait_ms=wait_ms, stamp=stamp)


def connect_sync(
    topology: str | Path | Topology, *, timeout_ms: int = 30_000, wait_ms: float = 0, stamp: Stamp | None = None
) -> BlockingClient:
    """The blocking form of `connect`: `with connect_sync("topology.yaml") as client: client.send("orders", record)`.
    Several threads may share it."""
    return BlockingClient(topology, timeout_ms=timeout_ms, wait_ms=wait_ms, stamp=stamp)

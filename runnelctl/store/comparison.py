"""What Redis has of a topology, for `plan`: its streams, its processors with their lag, the description that ran last.
Reads and writes nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import redis

from runnelctl.core import keys, registry
from runnelctl.core.model import Start, Topology
from runnelctl.core.registry import Reader
from runnelctl.store import meta

RUNNING = "running"


@dataclass(frozen=True, slots=True)
class Stored:
    """See the module. `conflicts`: a sentence for each stream that would not be taken."""

    streams: dict[str, int]
    lags: dict[Reader, int]
    description: dict[str, str]
    conflicts: list[str]


def read(client: redis.Redis, topology: Topology) -> Stored:
    """Raises redis-py's errors."""
    known: Any = client.hgetall(keys.meta(topology.name))
    streams = meta.streams(known)
    readers = {reader: str(about.get("start") or "") for reader, about in registry.processors(known).items()}
    lags = {reader: _lag(client, topology, reader, start, streams) for reader, start in readers.items()}
    try:
        description = json.loads(known.get(RUNNING.encode()) or b"{}")
    except ValueError:
        description = {}
    return Stored(streams, lags, description if isinstance(description, dict) else {}, meta.conflicts(known, topology))


def _lag(client: redis.Redis, topology: Topology, reader: Reader, start: str, streams: dict[str, int]) -> int:
    stream, processor = reader
    with client.pipeline(transaction=False) as pipe:
        for partition in range(streams.get(stream, 0)):
            pipe.hget(keys.own(topology.name, stream, partition, processor), "count")
            pipe.xinfo_stream(keys.events(topology.name, stream, partition))
        replies = pipe.execute(raise_on_error=False)
    lag = 0
    for count, info in zip(replies[::2], replies[1::2], strict=True):
        if isinstance(count, Exception):
            raise count
        if isinstance(info, Exception):
            if "no such key" not in str(info).lower():
                raise info
        elif count is not None:
            lag += max(0, int(info["entries-added"]) - int(count))
        elif start != Start.LATEST.value:
            lag += int(info["length"])
    return lag

"""Pausing and resuming, for commands: a field of a hash that every host looks at, so that it outlives all of them."""

from __future__ import annotations

import json

import redis

from runnelctl.core import keys, pauses
from runnelctl.core.model import Topology


def paused(client: redis.Redis, topology: Topology) -> set[str]:
    """The fields of all that is paused (core/pauses.py)."""
    return {name.decode() if isinstance(name, bytes) else name for name in client.hkeys(keys.paused(topology.name))}


def pause(client: redis.Redis, topology: Topology, field: str, **about: str) -> bool:
    """Pause it; `about` is kept with it. False: it was paused already, and stays as it was."""
    return bool(client.hsetnx(keys.paused(topology.name), field, json.dumps(about)))


def resume(client: redis.Redis, topology: Topology, processor: str, partition: int | None) -> list[str]:
    """Resume a partition, or a processor with all of its partitions; returns the fields that are gone."""
    there = paused(client, topology)
    field = pauses.field(processor, partition)
    meant = pauses.within(there, processor) if partition is None else [field] if field in there else []
    return [each for each in sorted(meant) if client.hdel(keys.paused(topology.name), each)]

"""Parked keys as operators see them: look, replay, mend, skip. On a blocking client, for commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from runnelctl.core import keys, parking, reading
from runnelctl.core.model import Topology
from runnelctl.core.parking import Element
from runnelctl.core.reading import Record
from runnelctl.core.routing import dead_letter_partition
from runnelctl.store.scripts import Word, run, script

_SCANNED = 100  # records that one HSCAN brings; each may be 80 KiB


@dataclass(frozen=True, slots=True)
class ParkedKey:
    """A key of one processor that is parked: for what, how many events, and whether its replay is asked for."""

    processor: str
    partition: int
    key: str
    record: Record
    events: int
    asked: bool

    @property
    def name(self) -> str:
        return f"{self.processor}:{self.partition} key {self.key!r}"

    @property
    def event_id(self) -> str:
        """The event that failed: the oldest of those parked."""
        return str(self.record.get("event") or "")


def find(client: redis.Redis, topology: Topology, processors: Sequence[str], key: str | None = None) -> list[ParkedKey]:
    """Every parked key, or `key` only, in the order of the topology and then by the time of the failure."""
    found: list[ParkedKey] = []
    for name in processors:
        stream = topology.streams[topology.processors[name].stream]
        with client.pipeline(transaction=False) as pipe:
            for partition in range(stream.partitions):
                pipe.hget(keys.own(topology.name, stream.name, partition, name), "parked_keys")
            counts = pipe.execute()
        for partition, count in enumerate(counts):
            if int(count or 0):
                found += sorted(
                    _of_partition(client, topology, name, partition, key), key=lambda each: each.event_id.rjust(41)
                )
    return found


def _of_partition(
    client: Any, topology: Topology, processor: str, partition: int, key: str | None
) -> list[ParkedKey]:  # fmt: skip
    where = _where(topology, processor, partition)
    parked = keys.parked(*where)
    if key is not None:
        text = client.hget(parked, _bytes(key))
        records = [] if text is None else [(_bytes(key), text)]
    else:
        records = list(client.hscan_iter(parked, count=_SCANNED))
    with client.pipeline(transaction=False) as pipe:
        for name, _ in records:
            pipe.llen(_list(where, name))
            pipe.hexists(keys.replaying(*where), name)
        facts = pipe.execute()
    return [
        ParkedKey(processor, partition, _text(name), reading.record(text), int(facts[2 * i]), bool(facts[2 * i + 1]))
        for i, (name, text) in enumerate(records)
    ]


def head(client: redis.Redis, topology: Topology, parked: ParkedKey) -> Element | None:
    """The oldest event of the key; None if nothing is parked any more."""
    where = _where(topology, parked.processor, parked.partition)
    stored: Any = client.lindex(_list(where, _bytes(parked.key)), 0)
    return None if stored is None else parking.unpack(stored)


def ask(
    client: redis.Redis, topology: Topology, parked: ParkedKey, request: str,
    token: bytes = b"", mended: bytes = b"",
) -> tuple[str, int]:  # fmt: skip
    """Ask for the key's replay, with `mended` in place of the element named by `token`. Returns OK, CLEAR or CHANGED,
    as lua/parked_replay.lua says, and how many events are parked."""
    names = _names(topology, parked)
    reply = run(client, script("parked_replay"), names, (_bytes(parked.key), token, request, mended))
    return reply[0].decode(), int(reply[1]) if len(reply) > 1 else 0


def skip(
    client: redis.Redis, topology: Topology, parked: ParkedKey, token: bytes, request: str,
    dead_letter: str, fields: Sequence[Word],
) -> tuple[str, int]:  # fmt: skip
    """Move the key's oldest event into stream `dead_letter` and ask for the replay of the rest. Returns OK, CLEAR or
    CHANGED, and how many events are still parked."""
    stream = topology.streams.get(dead_letter)
    number = dead_letter_partition(parked.partition, stream.partitions) if stream else parked.partition
    names = (*_names(topology, parked), keys.events(topology.name, dead_letter, number))
    reply = run(client, script("parked_skip"), names, (_bytes(parked.key), token, request, *fields))
    return reply[0].decode(), int(reply[1]) if len(reply) > 1 else 0


def _where(topology: Topology, processor: str, partition: int) -> tuple[str, str, int, str]:
    return topology.name, topology.processors[processor].stream, partition, processor


def _list(where: tuple[str, str, int, str], key: bytes) -> bytes:
    return _bytes(keys.parked_events(*where, key.decode("utf-8", "surrogateescape")))


def _names(topology: Topology, parked: ParkedKey) -> tuple[Word, Word, Word, Word]:
    where = _where(topology, parked.processor, parked.partition)
    return keys.own(*where), keys.parked(*where), _list(where, _bytes(parked.key)), keys.replaying(*where)


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


def _text(key: bytes) -> str:
    return key.decode("utf-8", "surrogateescape")

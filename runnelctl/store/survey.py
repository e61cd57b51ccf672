"""Reads everything that `status` shows, a thousand partitions per round trip.

Per partition one read-only script: payloads stay on the server, however large, and lag is counted at one moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runnelctl.core import keys, reading
from runnelctl.core.model import Topology
from runnelctl.core.reading import Own, Reading
from runnelctl.store.connect import Asks
from runnelctl.store.scripts import is_noscript, run, script

PARTITIONS_PER_TRIP = 1_000

#: A partition of a stream, and the processors on that stream.
Place = tuple[str, int, list[str]]


def survey(client: Asks, topology: Topology) -> Reading:
    """Read members, reports, halts and every partition of `topology`. Raises what redis-py raises."""
    with client.pipeline(transaction=False) as pipe:
        pipe.hgetall(keys.members(topology.name))
        pipe.hgetall(keys.hosts(topology.name))
        pipe.hgetall(keys.halted(topology.name))
        pipe.hgetall(keys.paused(topology.name))
        pipe.time()
        members, hosts, halted, paused, (seconds, micros) = pipe.execute()
    return Reading(
        server_ms=seconds * 1000 + micros // 1000,
        beats={name.decode(): reading.beat_ms(entry) for name, entry in members.items()},
        reports={name.decode(): reading.report(text) for name, text in hosts.items()},
        halted={name.decode(): reading.record(text) for name, text in halted.items()},
        units=dict(_units(client, topology)),
        paused={name.decode(): reading.record(text) for name, text in paused.items()},
    )


def _units(client: Asks, topology: Topology) -> Iterator[tuple[tuple[str, int], Own]]:
    """Every processor and partition, with what Redis holds of it."""
    places = list(_places(topology))
    for start in range(0, len(places), PARTITIONS_PER_TRIP):
        some = places[start : start + PARTITIONS_PER_TRIP]
        for (_, partition, processors), reply in zip(some, _ask(client, topology, some), strict=True):
            added, length, last, *owns = reply
            for processor, fields in zip(processors, owns, strict=True):
                yield (processor, partition), _own(added, length, last.decode(), fields)


def _places(topology: Topology) -> Iterator[Place]:
    for stream in topology.streams.values():
        names = [each.name for each in topology.processors.values() if each.stream == stream.name]
        if names:
            yield from ((stream.name, partition, names) for partition in range(stream.partitions))


def _ask(client: Asks, topology: Topology, places: list[Place]) -> list[Any]:
    """One call of the script per place, pipelined. The first brings the text, the others find it by its digest."""
    called = script("partition_survey")
    names = [
        [keys.events(topology.name, stream, partition)]
        + [
            named(topology.name, stream, partition, processor)
            for processor in processors
            for named in (keys.own, keys.parked)
        ]
        for stream, partition, processors in places
    ]
    with client.pipeline(transaction=False) as pipe:
        command: Any = pipe.execute_command  # redis-py leaves it without types
        for index, each in enumerate(names):
            command(*(called.by_digest(each, ()) if index else called.by_text(each, ())))
        replies = pipe.execute(raise_on_error=False)
    for index, reply in enumerate(replies):
        if is_noscript(reply):  # somebody flushed the scripts in between
            replies[index] = run(client, called, names[index], ())
        elif isinstance(reply, Exception):
            raise reply
    return replies


def _own(added: int, length: int, last: str, fields: list[bytes | None]) -> Own:
    epoch, owner, cursor, count, block, unread, parked_keys, parked_events, parked = fields
    return Own(
        epoch=int(epoch) if epoch else None,
        owner=(owner or b"").decode("utf-8", "replace"),
        cursor=cursor.decode() if cursor else None,
        count=int(count or 0),
        block=reading.record(block) if block else None,
        added=added,
        length=length,
        last=last,
        unread_ms=int(unread.partition(b"-")[0]) if unread else None,
        parked_keys=int(parked_keys or 0),
        parked_events=int(parked_events or 0),
        parked=reading.record(parked) if parked else None,
    )

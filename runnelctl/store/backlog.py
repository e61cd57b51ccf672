"""Where partitions stand: cursors, ends, blocks, and which hosts beat. One look, as values; for commands that wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runnelctl.core import keys
from runnelctl.core.model import Topology

if TYPE_CHECKING:
    import redis

#: A processor and one of its partitions.
Place = tuple[str, int]
EntryId = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Position:
    """One processor in one partition: its cursor, how many events it ever passed, whether it is blocked, how many
    are parked, and of how many keys the replay is asked for and not over."""

    cursor: EntryId
    passed: int
    blocked: bool
    parked: int = 0
    asked: int = 0


@dataclass(frozen=True, slots=True)
class End:
    """The end of a partition: its last entry, (0, 0) if there is none, and how many were ever added."""

    last: EntryId
    added: int


@dataclass(frozen=True, slots=True)
class Look:
    """Everything at one moment: positions, processors that are halted, and each member's beat entry."""

    positions: dict[Place, Position]
    halted: frozenset[str]
    members: dict[str, bytes]


def look(client: redis.Redis, topology: Topology, places: Sequence[Place]) -> Look:
    """Read it all in one pipeline. Raises redis-py's errors."""
    with client.pipeline(transaction=False) as pipe:
        for processor, partition in places:
            where = (topology.name, topology.processors[processor].stream, partition, processor)
            pipe.hmget(keys.own(*where), "cursor", "count", "block", "parked_events")
            pipe.hlen(keys.replaying(*where))
        pipe.hkeys(keys.halted(topology.name))
        pipe.hgetall(keys.members(topology.name))
        *owns, halted, members = pipe.execute()
    positions = {place: _position(owns[2 * index], owns[2 * index + 1]) for index, place in enumerate(places)}
    return Look(
        positions, frozenset(_text(name) for name in halted), {_text(name): entry for name, entry in members.items()}
    )


def ends(client: redis.Redis, topology: Topology, places: Sequence[Place]) -> dict[Place, End]:
    """Where the partitions end now. Raises redis-py's errors."""
    with client.pipeline(transaction=False) as pipe:
        for processor, partition in places:
            pipe.xinfo_stream(keys.events(topology.name, topology.processors[processor].stream, partition))
        replies = pipe.execute(raise_on_error=False)
    return {place: _end(info) for place, info in zip(places, replies, strict=True)}


def _position(own: Sequence[bytes | None], asked: int) -> Position:
    cursor, passed, block, parked = own
    return Position(_id(cursor), int(passed or 0), block is not None, int(parked or 0), asked)


def _end(info: Any) -> End:
    if isinstance(info, Exception):
        if "no such key" in str(info).lower():
            return End((0, 0), 0)
        raise info
    newest = info["last-entry"]
    return End(_id(newest[0] if newest else None), int(info["entries-added"]))


def _id(text: bytes | None) -> EntryId:
    ms, _, seq = (text or b"0-0").partition(b"-")
    return int(ms), int(seq or 0)


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name

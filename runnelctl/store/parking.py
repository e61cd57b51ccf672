"""What a slice reads of parked events: which keys are, which of them are to be replayed, and a key's oldest events."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

from runnelctl.core import keys, parking
from runnelctl.core.parking import Element
from runnelctl.core.plan import Unit
from runnelctl.store.wire import Wire


@dataclass(frozen=True, slots=True)
class Lot:
    """Everything parked in one partition: its keys, those to be replayed in the order in which that was asked for, how
    many events and bytes. `tries` deaths of a process in a replay; `sure`: one of them can have had no other cause."""

    keys: frozenset[str] = frozenset()
    asked: tuple[str, ...] = ()
    events: int = 0
    size: int = 0
    tries: int = 0
    sure: bool = False
    death: str = ""


EMPTY = Lot()


async def lot(wire: Wire, topology: str, unit: Unit) -> Lot:
    """Read it. Raises ConnectionLost and ReplyError."""
    where = (topology, unit.stream, unit.partition, unit.processor)
    fields = ("parked_events", "parked_bytes", "replay_tries", "replay_sure", "replay_death")
    replies = await asyncio.gather(
        wire.send("HKEYS", keys.parked(*where)),
        wire.send("HGETALL", keys.replaying(*where)),
        wire.send("HMGET", keys.own(*where), *fields),
    )
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    parked, asked, (events, size, tries, sure, death) = replies
    requests = {_text(key): _asked_at(text) for key, text in zip(asked[::2], asked[1::2], strict=True)}
    return Lot(
        keys=frozenset(_text(key) for key in parked),
        asked=tuple(sorted(requests, key=lambda key: (requests[key], key))),
        events=int(events or 0),
        size=int(size or 0),
        tries=int(tries or 0),
        sure=sure == b"1",
        death=_text(death or b""),
    )


async def oldest(wire: Wire, topology: str, unit: Unit, key: str, most: int) -> list[Element]:
    """The oldest parked events of a key, at most so many. Raises ConnectionLost and ReplyError."""
    name = keys.parked_events(topology, unit.stream, unit.partition, unit.processor, key)
    return [parking.unpack(stored) for stored in await wire.call("LRANGE", name, 0, most - 1)]


def _text(key: bytes) -> str:
    return key.decode("utf-8", "surrogateescape")


def _asked_at(text: bytes) -> str:
    try:
        return str(json.loads(text)["time"])
    except (ValueError, KeyError, TypeError):
        return ""

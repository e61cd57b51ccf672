"""The hosts of a topology: beats, expulsions, and the control stream that makes a change take effect at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from runnelctl.core import keys
from runnelctl.store.scripts import script
from runnelctl.store.wire import Argument, Wire

JOIN_STANDS_MS = 1_000  # a join that arrives later comes to nothing: its host may have been expelled by then
CONTROL_KEPT = 1_000
AUDIT_KEPT = 100_000


@dataclass(frozen=True, slots=True)
class Beat:
    """The answer to a beat: are we still a member, the server's clock (for display only), and every member's entry."""

    member: bool
    server_ms: int
    members: dict[str, bytes]


async def beat(wire: Wire, topology: str, member: str, entry: str, report: bytes, *, join: bool = False) -> Beat:
    """Say that `member` is alive. `entry` must differ from the last one. `join` makes it a member if it is none."""
    names_of_keys = (keys.members(topology), keys.hosts(topology))
    while True:
        args: tuple[Argument, ...] = (member, entry, report, "0")
        if join:
            args = (member, entry, report, "1", await _server_ms(wire) + JOIN_STANDS_MS)
        reply = await wire.run(script("member_beat"), names_of_keys, args)
        if reply[0] == b"OK" or not join:
            break
    names = [name.decode() for name in reply[2::2]]
    return Beat(reply[0] == b"OK", int(reply[1]), dict(zip(names, reply[3::2], strict=True)))


async def _server_ms(wire: Wire) -> int:
    seconds, microseconds = await wire.call("TIME")
    return int(seconds) * 1000 + int(microseconds) // 1000


async def present(wire: Wire, topology: str) -> dict[str, bytes]:
    """Every member's entry, now."""
    reply = await wire.call("HGETALL", keys.members(topology))
    return {name.decode(): entry for name, entry in zip(reply[::2], reply[1::2], strict=True)}


async def expel(wire: Wire, topology: str, member: str, entry: bytes) -> bool:
    """Remove a member whose `entry` stood still (b'' for one that leaves). False: it has beaten since, or is gone."""
    names = (keys.members(topology), keys.hosts(topology), keys.control(topology))
    return bool(await wire.run(script("member_expel"), names, (member, entry)))


async def halt(wire: Wire, topology: str, processor: str, record: str) -> None:
    """Write down that a processor halted; the first record stays."""
    await wire.run(script("halt_set"), (keys.halted(topology),), (processor, record))


async def standing(wire: Wire, topology: str) -> tuple[set[str], set[str]]:
    """The processors that are halted, and what is paused, as core/pauses.py reads it."""
    futures = [wire.send("HKEYS", name) for name in (keys.halted(topology), keys.paused(topology))]
    found = []
    for reply in await asyncio.gather(*futures):
        if isinstance(reply, Exception):
            raise reply
        found.append({name.decode() for name in reply})
    halted, paused = found
    return halted, paused


async def note(wire: Wire, topology: str, **about: str) -> None:
    """Write a line into the audit."""
    fields = [part for pair in about.items() for part in pair]
    await wire.run(script("log_append"), (keys.audit(topology),), (AUDIT_KEPT, *fields))


async def tell(wire: Wire, topology: str, what: str, **about: str) -> None:
    """Wake every keeper of the topology."""
    fields = [part for pair in about.items() for part in pair]
    await wire.run(script("log_append"), (keys.control(topology),), (CONTROL_KEPT, "what", what, *fields))

"""Who leads a task, and which of its ticks are settled: each function is one script, its reply a value."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from runnelctl.core import keys
from runnelctl.store.scripts import script
from runnelctl.store.wire import Wire


@dataclass(frozen=True, slots=True)
class Lead:
    """The leadership of a task: its epoch, the last settled tick in ms, and who led before (or nobody)."""

    epoch: int
    last_ms: int
    before: str


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads a task now, as Redis has it; an empty member for nobody."""

    member: str
    nonce: str
    epoch: int


async def take(wire: Wire, topology: str, task: str, nonce: int, member: str, dead: str) -> Lead | None:
    """Take the lead; `dead` is the nonce of a holder known to be dead, or ''. None: somebody else has it."""
    reply = await wire.run(script("task_lease"), (keys.task(topology, task),), (nonce, member, dead))
    if reply[0] != b"OK":
        return None
    return Lead(int(reply[1]), int(reply[2]), reply[3].decode())


async def claim(wire: Wire, topology: str, task: str, epoch: int, nonce: int, tick: int | None, name: str) -> str:
    """Settle that we run this tick (None: none in particular). Returns OK, FENCED (we do not lead any more) or PAST
    (somebody has run it). Asked for again under the same `name`, it is the same claim."""
    args = (epoch, nonce, "" if tick is None else tick, name)
    reply = await wire.run(script("task_claim"), (keys.task(topology, task),), args)
    return str(reply[0].decode())


async def release(wire: Wire, topology: str, task: str, epoch: int, nonce: int, last_ms: int) -> bool:
    """Let the lead go, having settled ticks up to `last_ms`. False: it was not ours any more."""
    return bool(await wire.run(script("task_release"), (keys.task(topology, task),), (epoch, nonce, last_ms)))


async def leaders(wire: Wire, topology: str, tasks: Sequence[str]) -> list[Leader]:
    """Who leads each task now, in one pipeline."""
    futures = [wire.send("HMGET", keys.task(topology, task), "owner", "nonce", "epoch") for task in tasks]
    found = []
    for reply in await asyncio.gather(*futures):
        if isinstance(reply, Exception):
            raise reply
        member, nonce, epoch = reply
        found.append(Leader((member or b"").decode(), (nonce or b"").decode(), int(epoch or 0)))
    return found

"""Leases and commits: each function is one script, its reply a value. `store/lua` says why each must be atomic."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runnelctl.core import keys
from runnelctl.core.charges import Charge
from runnelctl.core.plan import Unit
from runnelctl.store import parking
from runnelctl.store.scripts import script
from runnelctl.store.wire import Argument, Wire

PAGE = 2_000  # entries that are counted at once


@dataclass(frozen=True, slots=True)
class Granted:
    """A lease: the epoch is a fencing token, unique and rising; `count` events lie at or before `cursor`.

    `suspect` is the ordinal (count + 1 for the next event) of an event that was in flight when its process died,
    `tries` how often; 0 for none. `lost` events were trimmed before they were read.
    """

    epoch: int
    cursor: bytes
    count: int
    tries: int
    suspect: int
    lost: int


@dataclass(frozen=True, slots=True)
class Busy:
    """Somebody else holds it."""

    owner: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """Quarantined or halted; `record` is the failure record, JSON."""

    record: str


@dataclass(frozen=True, slots=True)
class Astray:
    """The own hash is gone, and with it where the processor is; its consumer group still says so: so many events were
    passed, up to `cursor`. Nothing was taken."""

    cursor: str
    count: int


Outcome = Granted | Busy | Blocked | Astray


@dataclass(frozen=True, slots=True)
class Holding:
    """What the own hash says of a partition's owner. An empty owner: nobody. `suspected`: a process may have died of
    what comes next, and that is not settled."""

    owner: str
    nonce: str
    epoch: int
    record: str | None
    suspected: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """What a slice reads before it reads events: is the lease still its own, and where does it go on."""

    epoch: int
    nonce: str
    cursor: bytes
    count: int
    seq: int
    tries: int
    suspect: int
    alone_until: int
    sure: bool
    death: str
    edit_id: bytes
    edit: bytes
    lost: int
    parked: parking.Lot = parking.EMPTY
    added: int = 0  # entries that the stream ever had
    above: frozenset[bytes] = frozenset()  # ids of events behind the cursor that are done (`order: key`)

    @property
    def replaced(self) -> bool:
        """The stream has had fewer entries than were passed: it is another one, or none."""
        return self.added < self.count


def unit_keys(topology: str, unit: Unit) -> tuple[str, str]:
    """The own hash and the events stream of a unit: KEYS[1] and KEYS[2] of every lease script."""
    own = keys.own(topology, unit.stream, unit.partition, unit.processor)
    return own, keys.events(topology, unit.stream, unit.partition)


#: A lease to take: unit, nonce, owner, the nonce of a holder known to be dead or '', where a new processor starts.
Wanted = tuple[Unit, str, str, str, str]


async def acquire(wire: Wire, topology: str, wanted: Sequence[Wanted], record: str = "") -> list[Outcome]:
    """Take leases, pipelined. What is astray is blocked by `record`, and left alone if there is none."""
    take = script("lease_acquire")
    calls = []
    for unit, nonce, owner, dead, start in wanted:
        names = (*unit_keys(topology, unit), keys.parked(topology, unit.stream, unit.partition, unit.processor))
        calls.append((names, (nonce, owner, dead, start, unit.processor, record)))
    replies = await asyncio.gather(*(wire.start(take, *call) for call in calls))
    # An error is a flushed script cache, most likely: `run` sends the text again.
    return [
        _grant(await wire.run(take, *call) if isinstance(reply, Exception) else reply)
        for reply, call in zip(replies, calls, strict=True)
    ]


def _grant(reply: Any) -> Outcome:
    match reply[0]:
        case b"OK":
            _, epoch, cursor, count, tries, suspect, lost = reply
            return Granted(int(epoch), cursor, int(count), int(tries), int(suspect), int(lost))
        case b"BUSY":
            return Busy(reply[1].decode())
        case b"ASTRAY":
            return Astray(reply[1].decode(), int(reply[2]))
        case _:
            return Blocked(reply[1].decode())


async def release(
    wire: Wire, topology: str, unit: Unit, epoch: int, nonce: int, charge: Charge | None = None, death: str = ""
) -> bool:
    """Let a lease go; `charge` is for the event that its process died in. False: it was not ours."""
    args: tuple[Argument, ...] = (epoch, nonce, "", "", 0, death)
    if charge is not None:
        args = (epoch, nonce, charge.first, charge.last, int(charge.sure), death)
    own = keys.own(topology, unit.stream, unit.partition, unit.processor)
    return bool(await wire.run(script("lease_release"), (own,), args))


async def holdings(wire: Wire, topology: str, units: Sequence[Unit]) -> list[Holding]:
    """Who holds each unit now, in one pipeline."""
    futures = [wire.send("HMGET", unit_keys(topology, unit)[0], *_HOLDING_FIELDS) for unit in units]
    found = []
    for reply in await asyncio.gather(*futures):
        if isinstance(reply, Exception):
            raise reply
        owner, nonce, epoch, record, count, *suspects, replay_tries = reply
        suspected = max(int(each or 0) for each in suspects) > int(count or 0) or int(replay_tries or 0) > 0
        text = None if record is None else record.decode()
        found.append(Holding(_text(owner), _text(nonce), int(epoch or 0), text, suspected))
    return found


_HOLDING_FIELDS = ("owner", "nonce", "epoch", "block", "count", "suspect", "alone", "replay_tries")
_SESSION_FIELDS = (
    "epoch", "nonce", "cursor", "count", "seq", "tries", "suspect", "alone", "sure", "death", "edit_id", "edit",
    "parked_keys", "above",
)  # fmt: skip


async def session(wire: Wire, topology: str, unit: Unit) -> Session:
    """Read the own hash at the start of a read session, what is parked, and whether anything unread was trimmed."""
    own, events = unit_keys(topology, unit)
    reply, info = await asyncio.gather(wire.send("HMGET", own, *_SESSION_FIELDS), wire.send("XINFO", "STREAM", events))
    if isinstance(reply, Exception):
        raise reply
    epoch, nonce, cursor, count, seq, tries, suspect, alone, sure, death, edit_id, edit, parked_keys, above = reply
    lost = added = 0
    if not isinstance(info, Exception):
        facts = dict(zip(info[::2], info[1::2], strict=True))
        added = facts[b"entries-added"]
        lost = max(0, added - facts[b"length"] - int(count or 0))
    parked = await parking.lot(wire, topology, unit) if int(parked_keys or 0) else parking.EMPTY
    return Session(
        int(epoch or 0), _text(nonce), cursor or b"0-0", int(count or 0), int(seq or 0),
        int(tries or 0), int(suspect or 0), int(alone or 0),
        sure == b"1", _text(death), edit_id or b"", edit or b"", lost, parked, added,
        frozenset((above or b"").split()),
    )  # fmt: skip


async def grouped(wire: Wire, topology: str, unit: Unit) -> bool:
    """Whether the unit's stream has the consumer group that was made with its own hash."""
    (reply,) = await asyncio.gather(wire.send("XINFO", "GROUPS", unit_keys(topology, unit)[1]))
    names = (
        [] if isinstance(reply, Exception) else [dict(zip(one[::2], one[1::2], strict=True))[b"name"] for one in reply]
    )
    return unit.processor.encode() in names


async def between(wire: Wire, events: str, after: bytes, last: bytes) -> int:
    """How many entries there are behind `after`, up to and with `last`."""
    total, start = 0, b"(" + after
    while True:
        found, end = await wire.run(script("entries_count"), (events,), (start, last, PAGE))
        total += int(found)
        if int(found) < PAGE:
            return total
        start = b"(" + end


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "replace")


@dataclass(slots=True)
class Commit:
    """One commit as it goes over the wire; kept and sent again, unchanged, until its outcome is known."""

    epoch: int
    nonce: int
    seq: int
    expected: bytes
    new: bytes
    n: int
    release: bool
    block: str
    keys: list[Argument]  # own, events, then those of the effects
    effects: list[Argument]  # as lua/commit.lua describes, key numbers included

    def start(self, wire: Wire, group: str) -> asyncio.Future[Any]:
        """Send it; the future gets the raw reply, which `outcome` reads."""
        head: list[Argument] = [
            self.epoch, self.nonce, self.seq, self.expected, self.new, self.n, group, int(self.release), self.block,
        ]  # fmt: skip
        return wire.start(script("commit"), self.keys, head + self.effects)

"""Commits of all lanes of a slice, grouped: the next goes out as soon as the last returned, with all done since.

Also keeps the slice's one connection for everything that is not a blocking read. Nothing in flight is cancelled. When
the connection breaks, a commit's outcome is unknown: it is sent again, unchanged, before anything else, and its `seq`
makes the second one harmless.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Protocol

from runnelctl.core import backoff
from runnelctl.runtime.outage import Outage
from runnelctl.store.durability import Demand, demand
from runnelctl.store.endpoint import Endpoint
from runnelctl.store.wire import ConnectionLost, ReplyError, Wire

if TYPE_CHECKING:
    from runnelctl.runtime.lane import Lane
    from runnelctl.runtime.slice import Slice

ROUND_BYTES = 32 * 1024 * 1024  # of effects that travel together; of a single commit there may be more
SHORT_PAUSE_S = 0.05  # before a server is asked again whether enough vouches for a commit
SHORT = "durability"  # who has trouble when less vouches for a commit than is asked
REFUSED = "commits"  # who has trouble when the connection stands and the server won't commit


class Connects(Protocol):
    """Whose connection it is: where to, and who says that it is away."""

    endpoint: Endpoint
    outage: Outage


class Link:
    """One connection that comes back, with full-jitter backoff."""

    def __init__(self, of: Connects, name: str, timeout_ms: int) -> None:
        self._of, self._name, self._timeout_ms = of, name, timeout_ms
        self._wire: Wire | None = None
        self._opening = asyncio.Lock()

    @property
    def up(self) -> Wire | None:
        """The connection if it stands."""
        return self._wire if self._wire is not None and self._wire.lost is None else None

    async def get(self) -> Wire:
        """The connection, opened again and again until it stands."""
        async with self._opening:
            attempt = 0
            while (wire := self.up) is None:
                try:
                    self._wire = await Wire.open(self._of.endpoint, name=self._name, timeout_ms=self._timeout_ms)
                except (ConnectionLost, ReplyError) as error:
                    attempt += 1
                    self._of.outage.began(self._name, error)
                    await self._of.outage.rest(backoff.pause_s(attempt, 0.2 + 0.8 * random.random()))
                else:
                    self._of.outage.over(self._name)
            return wire

    def lost(self, error: Exception) -> None:
        """It broke under a request: say so, unless it is known."""
        self._of.outage.began(self._name, error)

    def drop(self) -> None:
        """Close it, since its server is not (or no longer) the one to talk to."""
        if self._wire is not None:
            self._wire.close()


class Committer:
    """See the module. `wake` is called by lanes; `main` is the slice's one task for commits."""

    def __init__(self, slice_: Slice, timeout_ms: int) -> None:
        self.slice = slice_
        self._demand = wanted = demand(slice_.topology.durability)
        name = f"runnelctl:{slice_.slot.name}"
        self.link = Link(slice_, f"{name}:commit", timeout_ms + (wanted.wait_ms if wanted else 0))
        #: For everything else that is not a blocking read: it must not stand behind a WAIT.
        self.side = Link(slice_, f"{name}:side", timeout_ms) if wanted else self.link
        self._dirty: dict[Lane, None] = {}
        self._idle: asyncio.Future[None] | None = None
        self._refusals = 0  # in a row

    def wake(self, lane: Lane) -> None:
        """The lane has something to commit."""
        self._dirty[lane] = None
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def main(self) -> None:
        """Commit for ever."""
        loop = asyncio.get_running_loop()
        while True:
            if not self._dirty:
                self._idle = loop.create_future()
                await self._idle
            wire = await self.link.get()
            lanes, self._dirty = self._dirty, {}
            await self._round(wire, lanes)

    async def _round(self, wire: Wire, lanes: dict[Lane, None]) -> None:
        """One commit of every lane that has one, in one write."""
        sent: list[tuple[Lane, asyncio.Future[Any]]] = []
        size, waiting = 0, iter(lanes)
        for lane in waiting:
            if lane.ended is not None:
                lane.ledger.resolve_ended()
            elif (commit := lane.ledger.next_commit()) is not None:
                sent.append((lane, commit.start(wire, lane.unit.processor)))
                size += lane.ledger.in_flight_bytes
                if size >= ROUND_BYTES:
                    self._dirty.update(dict.fromkeys(waiting))  # the rest is first in the next round
        trouble: Exception | None = None
        short = await self._short(wire, self._demand) if self._demand is not None and sent else False
        for lane, future in sent:
            try:
                reply = await future
            except ConnectionLost as error:
                reply = error
            if isinstance(reply, Exception):
                self._dirty[lane] = None
                if isinstance(reply, ReplyError) and reply.code == "NOSCRIPT":
                    wire.forget_scripts()
                else:
                    trouble = reply
                continue
            if short and reply[0] in (b"OK", b"ALREADY"):
                self._dirty[lane] = None  # it ran, and is asked for again until enough vouches for it
                continue
            pause_s = lane.ledger.outcome(reply)
            if pause_s is not None:
                asyncio.get_running_loop().call_later(pause_s, self.wake, lane)
            elif lane.ended is None and lane.ledger.unsettled:
                lane.ledger.ask()
        if trouble is None and short and wire.lost is not None:
            trouble = wire.lost
        if trouble is not None:
            await self._recover(wire, trouble)
        elif sent:
            self._refusals = 0
            self.slice.outage.over(REFUSED)

    async def _short(self, wire: Wire, wanted: Demand) -> bool:
        """Whether less vouches for the commits just sent than `durability` asks."""
        replies: list[Any] = []
        for future in [wire.send(*command) for command in wanted.commands]:
            try:
                replies.append(await future)
            except ConnectionLost as error:
                replies.append(error)
        missing = wanted.shortfall(replies)
        if missing is None:
            self.slice.outage.over(SHORT)
        else:
            self.slice.outage.began(SHORT, f"a commit does not count yet, {missing}")
            await asyncio.sleep(SHORT_PAUSE_S)
        return missing is not None

    async def _recover(self, wire: Wire, trouble: Exception) -> None:
        """The server is gone, or is not the one to commit to (READONLY, LOADING, ...): a new connection, a new read
        session for every lane."""
        if isinstance(trouble, ReplyError):
            self.slice.outage.began(REFUSED, f"a commit was refused ({trouble})")
        else:
            self.link.lost(trouble)
        wire.close()
        # Where a commit does not get through, a read that only waits would find out much later.
        for link in self.slice.reader.links:
            link.drop()
        for lane in list(self.slice.lanes.values()):
            lane.resync()
        if isinstance(trouble, ReplyError):
            self._refusals += 1
            await asyncio.sleep(backoff.pause_s(self._refusals, 0.2 + 0.8 * random.random()))

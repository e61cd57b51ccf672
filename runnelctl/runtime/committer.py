"""Commits of all lanes of a slice, grouped: the next go out as soon as the last returned, with all done since.

A lane with much to commit does not wait for the others' answers: the server is to work on that while handlers work on
the next run, and would be idle else for as long as we pack it. Of one lane, one commit is under way at a time.

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
from runnelctl.store.durability import demand
from runnelctl.store.endpoint import Endpoint
from runnelctl.store.leases import Commit
from runnelctl.store.wire import ConnectionLost, ReplyError, Wire

if TYPE_CHECKING:
    from runnelctl.runtime.lane import Lane
    from runnelctl.runtime.slice import Slice

SENT_BYTES = 32 * 1024 * 1024  # of effects under way at once; of a single commit there may be more
AT_ONCE_BYTES = 16 * 1024  # the server may begin with them while we pack the next commit
SHORT_PAUSE_S = 0.05  # before a server is asked again whether enough vouches for a commit
SHORT = "durability"  # who has trouble when less vouches for a commit than is asked
REFUSED = "commits"  # who has trouble when the connection stands and the server won't commit


#: A commit under way: whose, how many bytes of effects it has, and what will be its reply.
Sent = tuple["Lane", Commit, int, asyncio.Future[Any]]


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
    """See the module. `wake` is called by lanes; `main` is the slice's one task for sending commits."""

    def __init__(self, slice_: Slice, timeout_ms: int) -> None:
        self.slice = slice_
        self._demand = wanted = demand(slice_.topology.durability)
        name = f"runnelctl:{slice_.slot.name}"
        self.link = Link(slice_, f"{name}:commit", timeout_ms + (wanted.wait_ms if wanted else 0))
        #: For everything else that is not a blocking read: it must not stand behind a WAIT.
        self.side = Link(slice_, f"{name}:side", timeout_ms) if wanted else self.link
        self._dirty: dict[Lane, None] = {}  # for the next round
        self._laden: dict[Lane, None] = {}  # not to wait for one
        self._sent: dict[Lane, bool] = {}  # whose commit is under way, and whether the lane was woken since
        self._sent_bytes = 0
        self._in_round = False
        self._idle: asyncio.Future[None] | None = None
        self._given_up: Wire | None = None  # the last connection that had trouble
        self._refusals = 0  # in a row
        self._not_before = 0.0  # the loop's clock; no commit goes out earlier, after a refusal

    def wake(self, lane: Lane) -> None:
        """The lane has something to commit."""
        (self._laden if lane.ledger.laden else self._dirty)[lane] = None
        self._stir()

    def _stir(self) -> None:
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def main(self) -> None:
        """Commit for ever."""
        loop = asyncio.get_running_loop()
        while True:
            if self._sent_bytes >= SENT_BYTES or not (self._laden or (self._dirty and not self._in_round)):
                self._idle = loop.create_future()
                await self._idle
                continue
            if (left_s := self._not_before - loop.time()) > 0:
                await asyncio.sleep(left_s)
            wire = await self.link.get()
            lanes, self._laden = self._laden, {}
            if lanes:
                self._send(wire, lanes, a_round=False)
            if self._dirty and not self._in_round:
                lanes, self._dirty = self._dirty, {}
                self._send(wire, lanes, a_round=True)

    def _send(self, wire: Wire, lanes: dict[Lane, None], *, a_round: bool) -> None:
        """One commit of every lane that has one; who waits for the answers is another task."""
        sent: list[Sent] = []
        waiting = iter(lanes)
        for lane in waiting:
            if lane in self._sent:
                self._sent[lane] = True
            elif lane.ended is not None:
                lane.ledger.resolve_ended()
            elif (commit := lane.ledger.next_commit()) is not None:
                size = lane.ledger.in_flight_bytes
                sent.append((lane, commit, size, commit.start(wire, lane.unit.processor)))
                self._sent[lane] = False
                self._sent_bytes += size
                if size >= AT_ONCE_BYTES:
                    wire.flush()
                if self._sent_bytes >= SENT_BYTES:
                    (self._dirty if a_round else self._laden).update(dict.fromkeys(waiting))
        if sent:
            self._in_round |= a_round
            vouching = [wire.send(*command) for command in self._demand.commands] if self._demand is not None else []
            self.slice.start(self._answers(wire, sent, vouching, a_round=a_round))

    async def _answers(
        self, wire: Wire, sent: list[Sent], vouching: list[asyncio.Future[Any]], *, a_round: bool
    ) -> None:
        """Wait for the replies to commits that went out together, and see to what follows from each."""
        trouble: Exception | None = None
        short = await self._short(vouching) if vouching else False
        for lane, commit, size, future in sent:
            try:
                reply = await future
            except ConnectionLost as error:
                reply = error
            again = self._sent.pop(lane)
            self._sent_bytes -= size
            if isinstance(reply, Exception):
                again = True
                if isinstance(reply, ReplyError) and reply.code == "NOSCRIPT":
                    wire.forget_scripts()
                else:
                    trouble = reply
            elif short and reply[0] in (b"OK", b"ALREADY"):
                again = True  # it ran, and is asked for again until enough vouches for it
            elif lane.ledger.in_flight is commit:  # else the lane is over
                pause_s = lane.ledger.outcome(reply)
                if pause_s is not None:
                    asyncio.get_running_loop().call_later(pause_s, self.wake, lane)
                elif lane.ended is None and lane.ledger.unsettled:
                    lane.ledger.ask()
            if again:
                self.wake(lane)
        if a_round:
            self._in_round = False
        if trouble is None and short and wire.lost is not None:
            trouble = wire.lost
        if trouble is not None:
            self._recover(wire, trouble)
        else:
            self._refusals = 0
            self.slice.outage.over(REFUSED)
        self._stir()

    async def _short(self, vouching: list[asyncio.Future[Any]]) -> bool:
        """Whether less vouches for the commits just sent than `durability` asks."""
        assert self._demand is not None
        replies: list[Any] = []
        for future in vouching:
            try:
                replies.append(await future)
            except ConnectionLost as error:
                replies.append(error)
        missing = self._demand.shortfall(replies)
        if missing is None:
            self.slice.outage.over(SHORT)
        else:
            self.slice.outage.began(SHORT, f"a commit does not count yet, {missing}")
            await asyncio.sleep(SHORT_PAUSE_S)
        return missing is not None

    def _recover(self, wire: Wire, trouble: Exception) -> None:
        """The server is gone, or is not the one to commit to (READONLY, LOADING, ...): a new connection, a new read
        session for every lane."""
        if self._given_up is wire:
            return
        self._given_up = wire
        if isinstance(trouble, ReplyError):
            self.slice.outage.began(REFUSED, f"a commit was refused ({trouble})")
            self._refusals += 1
            pause_s = backoff.pause_s(self._refusals, 0.2 + 0.8 * random.random())
            self._not_before = asyncio.get_running_loop().time() + pause_s
        else:
            self.link.lost(trouble)
        wire.close()
        # Where a commit does not get through, a read that only waits would find out much later.
        for link in self.slice.reader.links:
            link.drop()
        for lane in list(self.slice.lanes.values()):
            lane.resync()

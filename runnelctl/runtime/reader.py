"""Reads for all lanes of a slice, the next under way while the last one's events are handled.

Cursors are ours, so XREADGROUP and its pending lists buy nothing here (three times dearer on the server), and a zombie
that reads takes nothing from anybody.

A read costs something for every stream that it names. So lanes that are known to have more in Redis are read a few at a
time, in turn, with a few of the others, and only when none is known to have more, one read waits for all of them. Who
has too little left to go on is first; who has enough gets more only while little waits for handlers in all.

XREAD counts entries, not bytes, and what comes may be larger than what came before. A reply that turns out too long is
given up with its connection (the rest of it would come all the same), and what it was for is read in shorter ones.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from itertools import chain, islice
from math import inf
from typing import TYPE_CHECKING, Any

from runnelctl.core import backoff
from runnelctl.runtime.committer import Link
from runnelctl.runtime.intake import (
    ENOUGH_EVENTS,
    ENTRY_BYTES,
    REPLY_BYTES,
    REPLY_MOST_BYTES,
    lane_bytes,
    mean_bytes,
    read_count,
    read_lanes,
    suspected_bytes,
)
from runnelctl.store.wire import ConnectionLost, ReplyError, ReplyTooLong, Wire

if TYPE_CHECKING:
    from runnelctl.runtime.lane import Lane
    from runnelctl.runtime.slice import Slice

BLOCK_MS = 5_000
ANSWER_MS = 3_000  # beyond BLOCK, before the connection counts as dead
MIXED_BYTES = 2 * 1024 * 1024  # from here on it matters whose entries of a reply are the large ones
# The guess before anything was read. So the first read brings 8 events of one lane, or one each of 32: of the largest
# that there are, what fits REPLY_MOST_BYTES or little more, and of small ones it costs one read before the large ones.
UNKNOWN_EVENT_BYTES = 1024 * 1024
LEAST_EVENTS = 2  # of a lane that has more and of one of the others: these have to come, however long they are
AHEAD_BYTES = 2 * 1024 * 1024  # of a reply on the second line, as far as it can be foreseen
GROUP = 32  # lanes known to have more, at most, and of the others, in one read
REFUSED = "reads"  # who has trouble when the connection stands and the server won't let us read


class Line:
    """A connection for reads, and what went wrong on it."""

    def __init__(self, slice_: Slice, name: str) -> None:
        self.link = Link(slice_, f"runnelctl:{slice_.slot.name}:{name}", BLOCK_MS + ANSWER_MS)
        self.refusals = self.breaks = 0  # in a row


class Reader:
    """See the module. `main` and `ahead` are the slice's tasks for reading."""

    def __init__(self, slice_: Slice) -> None:
        self.slice = slice_
        self.first, self.second = Line(slice_, "read"), Line(slice_, "ahead")
        # Lanes that were hungry when we last heard of them, longest waiting first: with more in Redis and too little
        # here, with more in Redis, and the rest.
        self._dry: dict[Lane, None] = {}
        self._behind: dict[Lane, None] = {}
        self._level: dict[Lane, None] = {}
        self._fed: deque[Lane] = deque()
        self._event_bytes = float(UNKNOWN_EVENT_BYTES)  # what other lanes hold, for one that brought nothing yet
        self._wire: Wire | None = None  # set while a read blocks
        self._idle: asyncio.Future[None] | None = None  # the first line has nobody to read for
        self._spare: asyncio.Future[None] | None = None  # nor has the second
        self._interrupting: asyncio.Task[None] | None = None

    @property
    def links(self) -> tuple[Link, Link]:
        """The connections."""
        return self.first.link, self.second.link

    def room_made(self, lane: Lane) -> None:
        """The lane is hungry (again): see that it is part of a read."""
        if lane.intake.asked:
            return  # the read under way brings it
        self._line_up(lane)
        if self._more or not lane.intake.behind:
            self._stir(behind=lane.intake.behind)

    def _stir(self, *, behind: bool) -> None:
        """There is somebody to read for, who has more for sure if `behind`: have one of the lines do it."""
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        elif self._wire is None or (behind and self._spare is not None):
            self._call_second()
        elif self._interrupting is None:
            self._interrupting = asyncio.get_running_loop().create_task(self._interrupt(self._wire))

    async def main(self) -> None:
        """Read for ever, on the first line."""
        line = self.first
        while True:
            if (wire := line.link.up) is None:
                await self._connect(line)
            elif not self._more and not self._level:
                self._idle = asyncio.get_running_loop().create_future()
                await self._idle
            else:
                await self._read(line, wire, *self._next_lanes())
                if not self._more:
                    await asyncio.sleep(0)  # the events that ended the wait should not wait for the next read, too

    async def ahead(self) -> None:
        """Read for ever what the first line leaves, on the second."""
        line = self.second
        while True:
            if (wire := line.link.up) is None:
                await self._connect(line)
            elif not self._more:
                self._spare = asyncio.get_running_loop().create_future()
                await self._spare
                self._spare = None
            else:
                lanes = self._lanes_behind(AHEAD_BYTES)
                await self._read(line, wire, lanes, len(lanes))

    async def _connect(self, line: Line) -> None:
        """Every lane reads anew after this: it may be another server, with another history."""
        await line.link.get()
        for lane in self.slice.lanes.values():
            lane.resync()

    def _call_second(self) -> None:
        """There may be something to read for the second line."""
        if self._spare is not None and not self._spare.done() and self._more:
            self._spare.set_result(None)

    def _line_up(self, lane: Lane) -> None:
        """A hungry lane goes to the end of the queue where it belongs, unless it stands there."""
        right = self._level if not lane.intake.behind else self._dry if lane.intake.short else self._behind
        for queue in (self._dry, self._behind, self._level):
            if queue is not right:
                queue.pop(lane, None)
        right[lane] = None

    @property
    def _enough(self) -> bool:
        """Whether so much waits for handlers that who has some of it gets no more."""
        return self.slice.held.events >= ENOUGH_EVENTS

    @property
    def _more(self) -> bool:
        """Whether there is a lane to read for that has more for sure. While enough waits, those that were fed begin
        first: a busy loop would get ever more to hold, and no more done."""
        return bool(self._dry) and not self._fed if self._enough else bool(self._dry or self._behind)

    def _next_lanes(self) -> tuple[list[Lane], int]:
        """Whom to read for now, and how many of them have more for sure; lanes that are not hungry any more drop out.
        None has: all of them."""
        if behind := self._lanes_behind(REPLY_BYTES):
            return behind + self._taken(GROUP, REPLY_BYTES, self._level), len(behind)
        return self._taken(len(self._level), inf, self._level), 0

    def _lanes_behind(self, most_bytes: float) -> list[Lane]:
        """The next to read for that have more for sure, one event of each in no more bytes than that if can be."""
        if not self._more:
            return []
        most = read_lanes(GROUP, self._event_bytes, lane_bytes(len(self.slice.lanes)))
        return self._taken(most, most_bytes, self._dry, *([] if self._enough else [self._behind]))

    def _taken(self, most: int, most_bytes: float, *queues: dict[Lane, None]) -> list[Lane]:
        """Take the first `most` off the queues, or as many as may each bring an event; those that are still hungry."""
        taken: list[Lane] = []
        for lane in islice(chain(*queues), most):
            most_bytes -= self._expected(lane)
            if taken and most_bytes < 0:
                break
            taken.append(lane)
        for lane in taken:
            for queue in queues:
                queue.pop(lane, None)
        return [lane for lane in taken if lane.hungry]

    def _expected(self, lane: Lane) -> float:
        return lane.intake.event_bytes or self._event_bytes

    async def _read(self, line: Line, wire: Wire, lanes: list[Lane], behind: int) -> None:
        """One XREAD, its entries handed to their lanes, `behind` of which have some for sure.

        While lanes are full it must not block for the others: the full ones will have room in a moment. Only when the
        others have nothing either, the first line blocks, to be interrupted as soon as there is room.
        """
        if not lanes:
            return
        ahead = line is self.second
        if not ahead:
            self._call_second()
        share = lane_bytes(len(self.slice.lanes))
        most_bytes = min(share, AHEAD_BYTES / len(lanes)) if ahead else share
        count = read_count(len(lanes), behind, max(map(self._expected, lanes)), most_bytes)
        streams = [lane.events_key for lane in lanes]
        after = [lane.intake.ask(count, share) for lane in lanes]
        asked = [lane.intake.asked for lane in lanes]
        before = wire.bytes_received
        wire.received_most = before + REPLY_MOST_BYTES if count * len(lanes) > LEAST_EVENTS else inf
        try:
            reply = None
            if behind or len(lanes) < len(self.slice.lanes):
                reply = await wire.call_now("XREAD", "COUNT", count, "STREAMS", *streams, *after)
            if reply is None and not (ahead or self._more or self._level):
                self._wire = wire
                reply = await wire.call_now("XREAD", "COUNT", count, "BLOCK", BLOCK_MS, "STREAMS", *streams, *after)
        except ReplyTooLong:
            self._suspect(lanes, count)
        except ConnectionLost as error:
            line.breaks += 1
            if line.breaks > 1:  # it may be too long for the server too, which hangs up then without a word
                self._suspect(lanes, count)
            line.link.lost(error)
        except ReplyError as error:
            self.slice.outage.began(REFUSED, f"reading was refused ({error})")
            wire.close()
            line.refusals += 1
            await asyncio.sleep(backoff.pause_s(line.refusals, 0.2 + 0.8 * random.random()))
        else:
            line.refusals = line.breaks = 0
            self.slice.outage.over(REFUSED)
            self._hand_out(lanes, asked, reply or [], count, wire.bytes_received - before)
        finally:
            if not ahead:
                self._wire = None

    def _hand_out(self, lanes: list[Lane], asked: list[int], reply: list[Any], count: int, size: int) -> None:
        """Give each lane what is its own. Replies are in the order of the request and leave out who has nothing."""
        if reply:
            self._event_bytes = ENTRY_BYTES + size / sum(len(entries) for _, entries in reply)
            if size > REPLY_BYTES:  # these lanes' events have grown, so those of the others may have too
                for lane in set(self.slice.lanes.values()).difference(lanes):
                    lane.intake.expect(max(self._event_bytes, lane.intake.event_bytes))
        waking = bool(self._fed)
        found = iter(reply)
        name, entries = next(found, (b"", []))
        for lane, ask in zip(lanes, asked, strict=True):
            intake = lane.intake
            brought: list[Any] = []
            if name == lane.events_key:
                brought = entries
                name, entries = next(found, (b"", []))
            if intake.asked != ask:
                continue  # it began a new read session meanwhile, and must not take what an old one asked for
            intake.asked = 0
            intake.behind = len(brought) == count
            if lane.hungry:
                if brought:
                    # While all is small, the mean will do for each.
                    lane.feed(brought, self._event_bytes if size < MIXED_BYTES else mean_bytes(brought))
                    self._fed.append(lane)
                else:
                    intake.dry()
                if lane.hungry and intake.behind:
                    self._line_up(lane)  # this line goes on with it, if not the other one
                elif lane.hungry:
                    self.room_made(lane)

        if self._fed and not waking:
            self._wake_next()

    def _suspect(self, lanes: list[Lane], count: int) -> None:
        """So many events of these lanes were too many. They are read again from where the handlers are, like all that
        was read ahead on the connection that is gone."""
        event_bytes = suspected_bytes(count * len(lanes))
        for lane in lanes:
            lane.intake.suspect(lane.ahead + count, event_bytes)

    def _wake_next(self) -> None:
        """Wake the lanes that were fed one by one, with a look at the sockets in between: a server can put little more
        than 64 KiB into one, and would have to wait for us with the rest of the next reply."""
        lane = self._fed.popleft()
        lane.nudge()
        if self._fed:
            lane.loop.call_soon(self._wake_next)
        elif self._more:
            self._stir(behind=True)

    async def _interrupt(self, wire: Wire) -> None:
        """End the blocking read, so that the next one has more lanes. The two connections race: ask until it ended."""
        try:
            while self._wire is wire and wire.lost is None:
                control = self.slice.committer.side.up
                if control is None or await control.call("CLIENT", "UNBLOCK", wire.client_id):
                    return
                await asyncio.sleep(0.001)
        except (ConnectionLost, ReplyError):
            return
        finally:
            self._interrupting = None

"""One XREAD over all hungry lanes of a slice, the next under way while the last one's events are handled.

Cursors are ours, so XREADGROUP and its pending lists buy nothing here (three times dearer on the server), and a zombie
that reads takes nothing from anybody.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from runnelctl.runtime.committer import Link
from runnelctl.store.wire import ConnectionLost, ReplyError, Wire

if TYPE_CHECKING:
    from runnelctl.runtime.lane import Lane
    from runnelctl.runtime.slice import Slice

BLOCK_MS = 5_000
ANSWER_MS = 3_000  # beyond BLOCK, before the connection counts as dead
REPLY_BYTES = 32 * 1024 * 1024
REFUSED = "reads"  # who has trouble when the connection stands and the server won't let us read


class Reader:
    """See the module. `main` is the slice's one task for reading."""

    def __init__(self, slice_: Slice) -> None:
        self.slice = slice_
        self.link = Link(slice_, f"runnelctl:{slice_.slot.name}:read", BLOCK_MS + ANSWER_MS)
        self._reading: dict[Lane, bytes] = {}  # the read under way: lanes, and after which id it asks for each
        self._wire: Wire | None = None  # set while a read blocks
        self._idle: asyncio.Future[None] | None = None
        self._interrupting: asyncio.Task[None] | None = None

    def room_made(self, lane: Lane) -> None:
        """The lane is hungry (again): see that it is part of the read under way."""
        if self._covers(lane):
            return
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        elif self._interrupting is None and self._wire is not None:
            self._interrupting = asyncio.get_running_loop().create_task(self._interrupt(self._wire))

    def _covers(self, lane: Lane) -> bool:
        """Whether the read under way brings what the lane needs. After a new read session it asks for the wrong place:
        what is there would not be taken, and what is wanted is behind it."""
        return self._reading.get(lane) == lane.intake.fetched

    async def main(self) -> None:
        """Read for ever."""
        while True:
            lanes = [lane for lane in self.slice.lanes.values() if lane.hungry]
            if not lanes:
                self._idle = asyncio.get_running_loop().create_future()
                await self._idle
                continue
            if (wire := self.link.up) is None:
                await self.link.get()
                for lane in self.slice.lanes.values():
                    lane.resync()
            else:
                await self._read(wire, lanes)

    async def _read(self, wire: Wire, lanes: list[Lane]) -> None:
        """One XREAD, its entries handed to their lanes.

        While lanes are full it must not block for the others: the full ones will have room in a moment. Only when the
        others have nothing either, it blocks, to be interrupted as soon as there is room.
        """
        asked = [lane.intake.fetched for lane in lanes]
        streams = [lane.events_key for lane in lanes]
        count = min(lane.intake.appetite(self.slice.share) for lane in lanes)
        largest = max(lane.intake.event_bytes for lane in lanes)
        count = max(1, min(count, int(REPLY_BYTES / len(lanes) / largest)))
        read = ("XREAD", "COUNT", count)
        before = wire.bytes_received
        self._reading = dict(zip(lanes, asked, strict=True))
        try:
            reply = None
            if len(lanes) < len(self.slice.lanes):
                reply = await wire.call(*read, "STREAMS", *streams, *asked)
            if reply is None:
                if any(lane.hungry and not self._covers(lane) for lane in self.slice.lanes.values()):
                    return
                self._wire = wire
                reply = await wire.call(*read, "BLOCK", BLOCK_MS, "STREAMS", *streams, *asked)
        except ConnectionLost as error:
            self.link.lost(error)
            return
        except ReplyError as error:
            self.slice.outage.began(REFUSED, f"reading was refused ({error})")
            wire.close()
            await asyncio.sleep(0.5)
            return
        finally:
            self._wire = None
            self._reading = {}
        self.slice.outage.over(REFUSED)
        if reply:
            by_name = dict(zip(streams, zip(lanes, asked, strict=True), strict=True))
            mean = (wire.bytes_received - before) / sum(len(entries) for _, entries in reply)
            for lane in lanes:
                lane.intake.guess(mean)
            for name, entries in reply:
                lane, after = by_name[name]
                # A lane that stopped, or began a new read session meanwhile, must not take what an old one asked for.
                if lane.hungry and lane.intake.fetched == after:
                    lane.feed(entries, mean)

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

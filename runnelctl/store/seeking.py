"""Putting a processor's cursor somewhere else: where it stands, where it would stand, and the move itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import redis

from runnelctl.core import keys
from runnelctl.core.model import Processor, Start, Topology
from runnelctl.errors import RunnelctlError
from runnelctl.store.scripts import run, script

PAGE = 500
TRIES = 20  # of a move while somebody trims the stream
BEGINNING = b"0-0"


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a partition: a cursor, how many entries lie at or before it (what is gone counts as before), and what
    the stream was like when they were counted: entries ever added, and removed."""

    cursor: bytes
    count: int
    added: int
    removed: int

    @property
    def ahead(self) -> int:
        """Entries behind the cursor, that are still to be handled from there."""
        return self.added - self.count


@dataclass(frozen=True, slots=True)
class Move:
    """One partition's way. `before.count` is what its books say."""

    partition: int
    before: Spot
    after: Spot

    @property
    def skipped(self) -> int:
        """Events passed over; negative for events that will be handled again."""
        return self.before.ahead - self.after.ahead

    @property
    def is_none(self) -> bool:
        return self.before.cursor == self.after.cursor


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move came to: `move` as it was in the end, and whether it lifted a block, or left one."""

    move: Move
    lifted: bool
    kept: bool


def refusal(processor: str, partition: int, parked: int) -> str:
    """Why a cursor may not go back while events are parked."""
    return (
        f"{processor}:{partition} has {parked:,} event(s) parked, and going back would bring earlier events of their "
        f"keys after them; replay them first: `runnelctl replay {processor}:{partition}`"
    )


class Seeker:
    """Moves cursors of one processor. Everything raises redis-py's errors."""

    def __init__(self, client: redis.Redis, topology: Topology, processor: Processor) -> None:
        self._client: Any = client
        self._topology, self._processor = topology, processor

    def server_ms(self) -> int:
        """The server's clock."""
        seconds, micros = self._client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def plan(self, partition: int, first: bytes) -> Move:
        """The move to right before the first entry from the id `first` on; `-` is the first one there is, `+` the
        first that is yet to come."""
        after = self._spot(partition, first)
        own = self._own(partition)
        cursor, count = self._client.hmget(own, "cursor", "count")
        if cursor is not None:
            return Move(partition, Spot(cursor, int(count), after.added, after.removed), after)
        fresh = self._spot(partition, b"+" if self._processor.start is Start.LATEST else b"-")
        return Move(partition, fresh, after)

    def parked(self, partition: int) -> int:
        """How many events are parked there."""
        return int(self._client.hget(self._own(partition), "parked_events") or 0)

    def move(self, planned: Move) -> Moved:
        """Do it. Raises RunnelctlError if it goes back where events are parked, or if somebody trims the stream all the
        time."""
        partition, after = planned.partition, planned.after
        names = (self._own(partition), self._events(partition))
        for _ in range(TRIES):
            args = (after.cursor, after.count, self._processor.name, after.added, after.removed)
            reply = run(self._client, script("cursor_seek"), names, args)
            if reply[0] == b"OK":
                _, cursor, count, block = reply
                before = Spot(cursor, int(count), after.added, after.removed) if cursor else planned.before
                return Moved(Move(partition, before, after), block == b"LIFTED", block == b"KEPT")
            if reply[0] == b"PARKED":
                raise RunnelctlError(refusal(self._processor.name, partition, int(reply[1])))
            after = self._counted(partition, after.cursor)
        raise RunnelctlError(
            f"{self._processor.name}:{partition}: entries of the stream are removed all the time, so that what lies "
            "behind the new cursor cannot be counted; nothing done there"
        )

    # --- places

    def _spot(self, partition: int, first: bytes) -> Spot:
        """Right before the first entry from `first` on."""
        name = self._events(partition)
        if first == b"-":
            return self._counted(partition, BEGINNING)
        end = b"+" if first == b"+" else b"(" + first
        found = self._client.execute_command("XREVRANGE", name, end, "-", "COUNT", 1)
        return self._counted(partition, found[0][0] if found else BEGINNING)

    def _counted(self, partition: int, cursor: bytes) -> Spot:
        """Count from both ends by turns, so that the shorter way decides."""
        name = self._events(partition)
        if not self._client.exists(name):
            return Spot(cursor, 0, 0, 0)
        info = self._client.xinfo_stream(name)
        added, length = int(info["entries-added"]), int(info["length"])
        last = info["last-generated-id"]
        behind, before = self._pages(name, b"(" + cursor, last), self._pages(name, b"-", cursor)
        total_behind = total_before = 0
        while True:
            page = next(behind, None)
            if page is None:
                return Spot(cursor, added - total_behind, added, added - length)
            total_behind += page
            page = next(before, None)
            if page is None:
                return Spot(cursor, added - length + total_before, added, added - length)
            total_before += page

    def _pages(self, name: str, start: bytes, end: bytes) -> Iterator[int]:
        while True:
            found, last = run(self._client, script("entries_count"), (name,), (start, end, PAGE))
            if found:
                yield int(found)
            if found < PAGE:
                return
            start = b"(" + last

    def _own(self, partition: int) -> str:
        return keys.own(self._topology.name, self._processor.stream, partition, self._processor.name)

    def _events(self, partition: int) -> str:
        return keys.events(self._topology.name, self._processor.stream, partition)

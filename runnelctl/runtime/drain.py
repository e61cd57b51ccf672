"""`up --drain`: when is everything that was there handled?

First every cursor must reach the end that its partition had at the start. Handlers may have emitted meanwhile, so the
ends are taken again, once for every processor: no chain of processors is longer than that. Senders that go on sending
can't keep it running for ever.
"""

from __future__ import annotations

import asyncio

from runnelctl.core import keys
from runnelctl.runtime import board as cells
from runnelctl.runtime import halts
from runnelctl.runtime.host import Host
from runnelctl.runtime.tenure import Tenure
from runnelctl.store.leases import unit_keys
from runnelctl.store.wire import ReplyError, Wire

Position = tuple[int, int]


class Drain:
    """See the module."""

    def __init__(self, host: Host, tenure: Tenure) -> None:
        self.host, self.tenure = host, tenure
        self._targets: dict[int, Position] | None = None
        self._rounds_left = len(host.plan.processors)
        self._start: dict[int, int] = {}

    async def look(self, wire: Wire) -> int:
        """An OUTCOME_: NONE while there is something left that can be handled."""
        ends, cursors, counts, added, blocked, replaying = await self._positions(wire)
        if self._targets is None:
            self._targets, self._start = ends, counts
        self._show(counts, added)
        open_units = [
            unit
            for unit in self.host.plan.units
            if cursors[unit.index] < self._targets[unit.index] or unit.index in replaying
        ]
        stuck = [unit for unit in open_units if unit.index in blocked]
        if stuck and len(stuck) == len(open_units):
            halted = any(blocked[unit.index] == cells.STATE_HALTED for unit in stuck)
            return cells.OUTCOME_HALTED if halted else cells.OUTCOME_BLOCKED
        if open_units:
            return cells.OUTCOME_NONE
        if self._rounds_left > 0 and any(cursors[unit.index] < ends[unit.index] for unit in self.host.plan.units):
            self._rounds_left -= 1
            self._targets = ends
            return cells.OUTCOME_NONE
        return cells.OUTCOME_DRAINED if self._begun() else cells.OUTCOME_NONE

    def _begun(self) -> bool:
        """Whether every task `on: start` of this host has begun: a drain waits for what runs, not for what is to."""
        board, tasks = self.host.board, self.host.plan.tasks
        return all(
            board.q[board.task(number) + cells.T_BEGUN]
            for number, task in enumerate(tasks)
            if task.on_start and not task.leader
        )

    async def _positions(
        self, wire: Wire
    ) -> tuple[dict[int, Position], dict[int, Position], dict[int, int], dict[int, int], dict[int, int], set[int]]:
        """Ends, cursors, counts and entries-added of all units, the state of those that are blocked, and those where
        parked keys are to be replayed; as Redis has them, since the board hears of a block a moment later."""
        futures, name = [], self.host.plan.topology.name
        for unit in self.host.plan.units:
            own, events = unit_keys(name, unit)
            futures.append(wire.send("HMGET", own, "cursor", "count", "block"))
            futures.append(wire.send("XINFO", "STREAM", events))
            futures.append(wire.send("HLEN", keys.replaying(name, unit.stream, unit.partition, unit.processor)))
        replies = await asyncio.gather(*futures)
        ends: dict[int, Position] = {}
        cursors: dict[int, Position] = {}
        counts: dict[int, int] = {}
        added: dict[int, int] = {}
        blocked: dict[int, int] = {}
        replaying: set[int] = set()
        for unit, own_reply, info, asked in zip(
            self.host.plan.units, replies[::3], replies[1::3], replies[2::3], strict=True
        ):
            for reply in (own_reply, asked):
                if isinstance(reply, Exception):
                    raise reply
            if asked:
                replaying.add(unit.index)
            facts = {} if isinstance(info, ReplyError) else dict(zip(info[::2], info[1::2], strict=True))
            ends[unit.index] = _position(facts.get(b"last-generated-id") if facts.get(b"length") else None)
            cursors[unit.index] = _position(own_reply[0])
            counts[unit.index] = int(own_reply[1] or 0)
            added[unit.index] = int(facts.get(b"entries-added") or 0)
            if unit.processor in self.tenure.halted:
                blocked[unit.index] = cells.STATE_HALTED
            elif own_reply[2] is not None:
                blocked[unit.index] = halts.state_of(own_reply[2].decode())
            elif self.tenure.stopped(unit):
                blocked[unit.index] = cells.STATE_QUARANTINED  # paused: as little to wait for
        return ends, cursors, counts, added, blocked, replaying

    def _show(self, counts: dict[int, int], added: dict[int, int]) -> None:
        """For the progress bar: how many events there are to pass, and how many are passed."""
        q = self.host.board.q
        total = sum(max(0, added[index] - self._start.get(index, 0)) for index in added)
        q[cells.H_DRAIN_TOTAL] = total
        q[cells.H_DRAIN_DONE] = min(total, sum(counts[index] - self._start.get(index, 0) for index in counts))


def _position(event_id: bytes | None) -> Position:
    ms, _, seq = (event_id or b"0-0").partition(b"-")
    return int(ms), int(seq or 0)

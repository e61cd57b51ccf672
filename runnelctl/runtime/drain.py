"""`up --drain`: when is everything that was there handled?

First every cursor must reach the end that its partition had at the start. Handlers may have emitted meanwhile, so the
ends are taken again, once for every processor: no chain of processors is longer than that. Senders that go on sending
can't keep it running for ever.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from runnelctl.core import keys
from runnelctl.core.plan import Unit
from runnelctl.runtime import board as cells
from runnelctl.runtime import halts
from runnelctl.runtime.host import Host
from runnelctl.runtime.leadership import Leadership
from runnelctl.runtime.tenure import Tenure
from runnelctl.store.leases import unit_keys
from runnelctl.store.wire import ReplyError, Wire

Position = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Sight:
    """One unit: the end of its partition and entries ever added, cursor and count, a STATE_ if it is blocked, how many
    parked keys are to be replayed and how many events are parked."""

    end: Position
    added: int
    cursor: Position
    count: int
    blocked: int
    replaying: int
    parked: int


class Drain:
    """See the module."""

    def __init__(self, host: Host, tenure: Tenure, leadership: Leadership) -> None:
        self.host, self.tenure, self.leadership = host, tenure, leadership
        self._targets: dict[int, Position] | None = None
        self._rounds_left = len(host.plan.processors)
        self._start: dict[int, Sight] = {}

    async def look(self, wire: Wire) -> int:
        """An OUTCOME_: NONE while there is something left that can be handled."""
        seen = await self._sights(wire)
        if self._targets is None:
            self._targets, self._start = {index: at.end for index, at in seen.items()}, seen
        self._show(seen)
        open_units = [at for index, at in seen.items() if at.cursor < self._targets[index] or at.replaying]
        stuck = [at for at in open_units if at.blocked]
        if stuck and len(stuck) == len(open_units):
            halted = any(at.blocked == cells.STATE_HALTED for at in stuck)
            return cells.OUTCOME_HALTED if halted else cells.OUTCOME_BLOCKED
        if open_units:
            return cells.OUTCOME_NONE
        if self._rounds_left > 0 and any(at.cursor < at.end for at in seen.values()):
            self._rounds_left -= 1
            self._targets = {index: at.end for index, at in seen.items()}
            return cells.OUTCOME_NONE
        return cells.OUTCOME_DRAINED if self._begun() else cells.OUTCOME_NONE

    def _begun(self) -> bool:
        """Whether every task `on: start` has begun here, or is another host's to lead: a drain waits for what runs, not
        for what is to."""
        board, tasks = self.host.board, self.host.plan.tasks
        return all(
            board.q[board.task(number) + cells.T_BEGUN] > 0 or number in self.leadership.elsewhere
            for number, task in enumerate(tasks)
            if task.on_start and number not in self.host.plan.gone_tasks
        )

    async def _sights(self, wire: Wire) -> dict[int, Sight]:
        """Every unit as Redis has it, since the board hears of a block a moment later."""
        futures, name = [], self.host.plan.topology.name
        for unit in self.host.plan.units:
            own, events = unit_keys(name, unit)
            futures.append(wire.send("HMGET", own, "cursor", "count", "block", "parked_events"))
            futures.append(wire.send("XINFO", "STREAM", events))
            futures.append(wire.send("HLEN", keys.replaying(name, unit.stream, unit.partition, unit.processor)))
        replies = await asyncio.gather(*futures)
        found = {}
        for unit, own_reply, info, replaying in zip(
            self.host.plan.units, replies[::3], replies[1::3], replies[2::3], strict=True
        ):
            for reply in (own_reply, replaying):
                if isinstance(reply, Exception):
                    raise reply
            facts = {} if isinstance(info, ReplyError) else dict(zip(info[::2], info[1::2], strict=True))
            cursor, count, block, parked = own_reply
            found[unit.index] = Sight(
                end=_position(facts.get(b"last-generated-id") if facts.get(b"length") else None),
                added=int(facts.get(b"entries-added") or 0),
                cursor=_position(cursor),
                count=int(count or 0),
                blocked=self._blocked(unit, block),
                replaying=int(replaying),
                parked=int(parked or 0),
            )
        return found

    def _blocked(self, unit: Unit, block: bytes | None) -> int:
        if unit.processor in self.tenure.halted:
            return cells.STATE_HALTED
        if block is not None:
            return halts.state_of(block.decode())
        # Paused is as little to wait for.
        return cells.STATE_QUARANTINED if self.tenure.stopped(unit) else cells.STATE_NONE

    def _show(self, seen: dict[int, Sight]) -> None:
        """For the progress bar: how many events there are to pass or to replay, and how many are."""
        q, total, done = self.host.board.q, 0, 0
        for index, at in seen.items():
            start = self._start.get(index, at)
            total += max(0, at.added - start.count)
            done += at.count - start.count
            if start.replaying:
                total += start.parked
                done += max(0, start.parked - at.parked)
        q[cells.H_DRAIN_TOTAL] = total
        q[cells.H_DRAIN_DONE] = min(total, done)


def _position(event_id: bytes | None) -> Position:
    ms, _, seq = (event_id or b"0-0").partition(b"-")
    return int(ms), int(seq or 0)

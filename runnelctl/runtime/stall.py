"""A last line of defence: a partition that has events, an owner, nothing in a handler and no progress for a minute.

It should never happen, so when it does it is a defect of ours (or something below us): its slice is put down, which
costs a fork, and said loudly. Silence would cost somebody a night.
"""

from __future__ import annotations

import asyncio
import logging

from runnelctl.core.plan import Unit
from runnelctl.runtime import board as cells
from runnelctl.runtime import signals
from runnelctl.runtime.host import Host
from runnelctl.store.leases import unit_keys
from runnelctl.store.wire import Wire

LOOK_S = 30.0

#: Grant, and everything that changes when a lane does something: its cursor, calls, retries, waits for a full stream.
Pulse = tuple[int, int, int, int, int]


class Stall:
    """Looks every LOOK_S seconds; a unit that is still the same at the second look has stalled."""

    def __init__(self, host: Host, log: logging.Logger) -> None:
        self.host, self.log = host, log
        self._due = 0.0
        self._seen: dict[int, Pulse] = {}

    async def look(self, wire: Wire, now: float) -> None:
        """Compare with the last look, if it is time for one."""
        if now < self._due:
            return
        self._due = now + LOOK_S
        pulses = {unit.index: pulse for unit in self.host.plan.units if (pulse := self._pulse(unit)) is not None}
        same = [unit for unit in self.host.plan.units if self._seen.get(unit.index, ()) == pulses.get(unit.index)]
        self._seen = pulses
        if not same:
            return
        futures = [wire.send("XINFO", "STREAM", unit_keys(self.host.plan.topology.name, unit)[1]) for unit in same]
        for unit, info in zip(same, await asyncio.gather(*futures), strict=True):
            if not isinstance(info, Exception):
                facts = dict(zip(info[::2], info[1::2], strict=True))
                waiting = facts[b"entries-added"] - self.host.board.q[self.host.board.unit(unit.index) + cells.U_COUNT]
                if waiting > 0 and self._pulse(unit) == pulses[unit.index]:
                    self._put_down(unit, waiting)

    def _pulse(self, unit: Unit) -> Pulse | None:
        """None for a unit that is not meant to move now, or that has something in its handler: the timeout's matter."""
        q, d, base = self.host.board.q, self.host.board.d, self.host.board.unit(unit.index)
        runs = q[base + cells.U_WANTED] and q[base + cells.U_STATE] == cells.STATE_RUNNING
        if not runs or d[base + cells.U_SINCE]:
            return None
        moving = (cells.U_GRANT, cells.U_COUNT, cells.U_STARTED, cells.U_RETRIED, cells.U_FULL)
        return tuple(q[base + cell] for cell in moving)  # type: ignore[return-value]

    def _put_down(self, unit: Unit, waiting: int) -> None:
        q = self.host.board.q
        slot = q[self.host.board.unit(unit.index) + cells.U_SLOT]
        base = self.host.board.slot(slot)
        name = self.host.plan.slots[slot].name
        self.log.error(
            "%s:%d has %d events waiting and does not move; replacing slice %s. This is a defect, please report it",
            unit.processor, unit.partition, waiting, name,
        )  # fmt: skip
        q[base + cells.S_STALLED] = q[base + cells.S_INCARNATION]
        signals.wake(self.host.supervisor_wake[1])

"""Who runs the partitions of a slice that is being replaced, or that a reload added: the other slices of its processor
on this host, until it is ready. Without them the partitions would wait for a fork and an import.

Only for a slice that leaves on request or by its own limits, or has never been ready. One that died may have died of an
event, and that must not go round.
"""

from __future__ import annotations

from runnelctl.core.assign import Place
from runnelctl.core.plan import Slot, Unit
from runnelctl.runtime import board as cells
from runnelctl.runtime.host import Host


class StandIns:
    """For one look at everything: how many partitions each ready slice of the host has, as they are given out."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._resting = {slot.index for slot in host.plan.slots if resting(host, slot.index)}
        self._load: dict[int, int] = {}

    def place(self, unit: Unit, chosen: Place | None) -> Place | None:
        """Where the unit should run for now, `chosen` being where it belongs."""
        if not self._resting or chosen is None or chosen[0] != self._host.member:
            return chosen
        slots = self._host.plan.slots_of(unit.processor)
        if slots[chosen[1]].index not in self._resting:
            return chosen
        awake = [slot for slot in slots if slot.index not in self._resting and self._ready(slot)]
        if not awake:
            return chosen
        q, base = self._host.board.q, self._host.board.unit(unit.index)
        now = q[base + cells.U_SLOT] if q[base + cells.U_HELD] else -1
        there = next((slot for slot in awake if slot.index == now), None)
        taker = there or min(awake, key=lambda slot: (self._load.get(slot.index, 0), slot.number))
        self._load[taker.index] = self._load.get(taker.index, 0) + 1
        return self._host.member, taker.number

    def _ready(self, slot: Slot) -> bool:
        q, base = self._host.board.q, self._host.board.slot(slot.index)
        now = q[base + cells.S_INCARNATION]
        return q[base + cells.S_READY] == now != q[base + cells.S_OUTDATED] and bool(q[base + cells.S_PID])


def resting(host: Host, slot: int) -> bool:
    """Whether the slice in this slot is on its way out, or its successor, or the first one ever, is not ready yet."""
    q, base = host.board.q, host.board.slot(slot)
    if not q[base + cells.S_READY]:
        return True
    leaving = max(q[base + cells.S_RECYCLE], q[base + cells.S_ASKED])
    now = q[base + cells.S_INCARNATION]
    return bool(leaving) and (leaving == now or (leaving == now - 1 and q[base + cells.S_READY] != now))


def starting(host: Host) -> list[str]:
    """Processors none of whose partitions this host should be given yet: some of their slices have never been ready.
    Whoever has the partitions now goes on meanwhile.

    If that is this host, it is not starting: a reload gave it another slice, and the ready ones go on."""
    q, board = host.board.q, host.board
    present = (slot for slot in host.plan.slots if not slot.retired)
    unready = {slot.processor for slot in present if not q[board.slot(slot.index) + cells.S_READY]}
    if unready:
        unready -= {unit.processor for unit in host.plan.units if q[board.unit(unit.index) + cells.U_HELD]}
    return [name for name in host.plan.processors if name in unready]

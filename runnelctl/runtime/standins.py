"""Who runs the partitions of a slice that is being replaced, that a reload added, or that died: the other slices of its
processor on this host, or those of other hosts if there are none here, until it or its successor is ready. Without them
the partitions would wait for a fork and an import, and for the pause after deaths in a row.

An event that a slice may have died of must not go round: a partition with a suspect waits for the successor, and so
does everything where core/lifecycle.py finds that the killer may not be known.
"""

from __future__ import annotations

from runnelctl.core.assign import Place
from runnelctl.core.plan import Unit
from runnelctl.runtime import board as cells
from runnelctl.runtime.host import Host


class StandIns:
    """For one look at everything: how many partitions each ready slice of the host has, as they are given out."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._resting = {slot.index for slot in host.plan.slots if resting(host, slot.index)}
        self._bereft = {index for index in self._resting if _died(host, index)}
        self._load: dict[int, int] = {}

    def place(self, unit: Unit, chosen: Place | None, *, suspected: bool) -> Place | None:
        """Where the unit should run for now, `chosen` being where it belongs. `suspected`: a process may have died of
        its next event."""
        if not self._resting or chosen is None:
            return chosen
        if chosen[0] != self._host.member:
            return self._stays(unit, chosen) if suspected else chosen
        slots = self._host.plan.slots_of(unit.processor)
        slot = slots[chosen[1]].index
        if slot not in self._resting or (suspected and slot in self._bereft):
            return chosen
        awake = [slot for slot in slots if slot.index not in self._resting and ready(self._host, slot.index)]
        if not awake:
            return chosen
        q, base = self._host.board.q, self._host.board.unit(unit.index)
        now = q[base + cells.U_SLOT] if q[base + cells.U_HELD] else -1
        there = next((slot for slot in awake if slot.index == now), None)
        taker = there or min(awake, key=lambda slot: (self._load.get(slot.index, 0), slot.number))
        self._load[taker.index] = self._load.get(taker.index, 0) + 1
        return self._host.member, taker.number

    def _stays(self, unit: Unit, chosen: Place) -> Place:
        """A suspect that belongs to another host while this one rests waits here, if it was here that somebody died."""
        q, base = self._host.board.q, self._host.board.unit(unit.index)
        slot = self._host.plan.slots[q[base + cells.U_SLOT]]
        mine = slot.index in self._bereft and slot.processor == unit.processor
        if mine and q[base + cells.U_FOR] >= q[self._host.board.slot(slot.index) + cells.S_SPARED]:
            return self._host.member, slot.number
        return chosen


def ready(host: Host, slot: int) -> bool:
    """Whether a process is there in this slot that takes partitions."""
    q, base = host.board.q, host.board.slot(slot)
    now = q[base + cells.S_INCARNATION]
    return bool(q[base + cells.S_PID]) and q[base + cells.S_READY] == now != q[base + cells.S_OUTDATED]


def resting(host: Host, slot: int) -> bool:
    """Whether the slice in this slot is on its way out, or was spared, and no successor has been ready yet; or none has
    ever been ready."""
    q, base = host.board.q, host.board.slot(slot)
    if not q[base + cells.S_READY]:
        return True
    gone = max(_leaving(host, slot), q[base + cells.S_SPARED])
    return bool(gone) and gone >= q[base + cells.S_READY]


def _leaving(host: Host, slot: int) -> int:
    """The last process of this slot that was to leave, 0 if none ever was."""
    q, base = host.board.q, host.board.slot(slot)
    return max(q[base + cells.S_RECYCLE], q[base + cells.S_ASKED])


def _died(host: Host, slot: int) -> bool:
    """Whether it rests since it died, and not since it was to leave or has never been there."""
    spared = host.board.q[host.board.slot(slot) + cells.S_SPARED]
    return bool(spared) and spared >= _leaving(host, slot)


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


def absent(host: Host) -> list[str]:
    """Processors that no slice here runs for now: all of them are being replaced, or were spared at their death. Other
    hosts stand in, if there are any."""
    present: dict[str, bool] = {}
    for slot in (slot for slot in host.plan.slots if not slot.retired):
        present[slot.processor] = present.get(slot.processor, False) or not resting(host, slot.index)
    unready = starting(host)
    return [name for name in host.plan.processors if not present.get(name, True) and name not in unready]

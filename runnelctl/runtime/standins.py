"""Who runs the partitions of a slice that is being replaced or that died: the other slices of its processor on this
host, until its successor is ready. Without them the partitions would wait for a fork and an import, and for the pause
after deaths in a row.

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
        self._bereft = {index for index in self._resting if not _leaves(host, index)}
        self._load: dict[int, int] = {}

    def place(self, unit: Unit, chosen: Place | None, *, suspected: bool) -> Place | None:
        """Where the unit should run for now, `chosen` being where it belongs. `suspected`: a process may have died of
        its next event."""
        if not self._resting or chosen is None or chosen[0] != self._host.member:
            return chosen
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


def ready(host: Host, slot: int) -> bool:
    """Whether a process is there in this slot that takes partitions."""
    q, base = host.board.q, host.board.slot(slot)
    return bool(q[base + cells.S_PID]) and q[base + cells.S_READY] == q[base + cells.S_INCARNATION]


def resting(host: Host, slot: int) -> bool:
    """Whether the slice in this slot is on its way out, or was spared, and no successor has been ready yet."""
    q, base = host.board.q, host.board.slot(slot)
    gone = max(_leaving(host, slot), q[base + cells.S_SPARED])
    return bool(gone) and gone >= q[base + cells.S_READY]


def _leaving(host: Host, slot: int) -> int:
    """The last process of this slot that was to leave, 0 if none ever was."""
    q, base = host.board.q, host.board.slot(slot)
    return max(q[base + cells.S_RECYCLE], q[base + cells.S_ASKED])


def _leaves(host: Host, slot: int) -> bool:
    """Whether it rests since it was to leave, and not since it died."""
    return _leaving(host, slot) > host.board.q[host.board.slot(slot) + cells.S_SPARED]


def starting(host: Host) -> list[str]:
    """Processors none of whose partitions this host should be given yet: some of their slices have never been ready.
    Whoever has the partitions now goes on meanwhile."""
    q = host.board.q
    unready = {slot.processor for slot in host.plan.slots if not q[host.board.slot(slot.index) + cells.S_READY]}
    return [name for name in host.plan.processors if name in unready]

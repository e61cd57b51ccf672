"""Slices that an operator wants replaced, one at a time: from the control stream to the board.

The command says which process of which slice; a process that is gone already is not meant any more. The slice drains
itself as it does when it is over `max_memory`, and the supervisor starts another.
"""

from __future__ import annotations

from collections.abc import Mapping

from runnelctl.runtime import board as cells
from runnelctl.runtime import signals
from runnelctl.runtime.host import Host


class Rolling:
    """See the module. Remembers what it asked for, so that the host reports at once when it is done."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._asked: dict[int, int] = {}  # slot -> the incarnation to come

    def ask(self, message: Mapping[str, str]) -> None:
        """Follow a `restart` of the control stream, if it is about a process of this host."""
        q = self.host.board.q
        if message.get("host") != self.host.member:
            return
        for slot in self.host.plan.slots:
            base = self.host.board.slot(slot.index)
            if slot.name == message.get("slice") and str(q[base + cells.S_PID]) == message.get("pid"):
                q[base + cells.S_ASKED] = q[base + cells.S_INCARNATION]
                self._asked[slot.index] = q[base + cells.S_INCARNATION] + 1
                signals.wake(self.host.wakes[slot.index][1])

    def done(self) -> bool:
        """Whether a new process has become ready since the last time this was asked."""
        q = self.host.board.q
        over = [
            slot
            for slot, incarnation in self._asked.items()
            if q[self.host.board.slot(slot) + cells.S_READY] >= incarnation
        ]
        for slot in over:
            del self._asked[slot]
        return bool(over)

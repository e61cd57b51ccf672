"""The keeper's part in tasks with a leader: taking the lead where this host ought to have it, handing it to the tasks
process on the board, and letting go.

As with partitions, every host computes the same leader from the same members (core/assign.py, with one place per host),
the leases in Redis settle any disagreement, and whoever leads keeps it as long as it can. A lead is let go by the tasks
process, once nothing of the task runs there, or taken back when that process died.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from runnelctl.core.assign import assign
from runnelctl.core.model import Task
from runnelctl.runtime import board as cells
from runnelctl.runtime import signals
from runnelctl.runtime.host import Host
from runnelctl.store import leadership
from runnelctl.store.leadership import Lead, Leader
from runnelctl.store.wire import Wire


@dataclass(frozen=True, slots=True)
class _Led:
    """A task with a leader: its number in the plan, and where its cells begin."""

    number: int
    task: Task
    base: int


def able(host: Host) -> list[str]:
    """The tasks that this host could lead now: all of its own, once the process that runs them is ready."""
    slot = host.plan.tasks_slot
    if slot is None or host.board.q[cells.H_STOPPING]:
        return []
    base, q = host.board.slot(slot.index), host.board.q
    alive = q[base + cells.S_PID] and q[base + cells.S_READY] == q[base + cells.S_INCARNATION]
    gone = host.plan.gone_tasks
    return [task.name for at, task in enumerate(host.plan.tasks) if task.leader and at not in gone] if alive else []


class Leadership:
    """See the module. All of its state is on the board, but for what it saw last."""

    def __init__(self, host: Host, log: logging.Logger) -> None:
        self.host, self.board, self.log = host, host.board, log
        self._led = [
            _Led(number, task, host.board.task(number)) for number, task in enumerate(host.plan.tasks) if task.leader
        ]
        #: By their numbers, those that another host is to lead, as far as was seen.
        self.elsewhere: set[int] = set()
        self._able: list[str] = []
        self._unsatisfied = False

    @property
    def held(self) -> list[_Led]:
        """Those that this host leads, wanted or not."""
        return [led for led in self._led if self.board.q[led.base + cells.T_HELD]]

    def changed(self) -> bool:
        """Whether what this host could lead is not what it was when this was asked last: others should hear of it."""
        before, self._able = self._able, able(self.host)
        return before != self._able

    async def reap(self, wire: Wire) -> bool:
        """Release what the tasks process let go, or held when it died. True if anything was."""
        found = False
        for led in self.held:
            q = self.board.q
            if q[led.base + cells.T_OVER] == q[led.base + cells.T_GRANT] or self._orphaned(led):
                await self._release(wire, led, q[led.base + cells.T_EPOCH], q[led.base + cells.T_NONCE])
                self._clear(led)
                found = True
        return found

    def _orphaned(self, led: _Led) -> bool:
        slot, q = self.host.plan.tasks_slot, self.board.q
        assert slot is not None
        base = self.board.slot(slot.index)
        dead = q[base + cells.S_DEAD] >= q[led.base + cells.T_FOR]
        return dead or (not q[led.base + cells.T_WANTED] and not q[base + cells.S_PID])

    async def _release(self, wire: Wire, led: _Led, epoch: int, nonce: int) -> None:
        tick = self.board.q[led.base + cells.T_TICK]
        await leadership.release(wire, self.host.plan.topology.name, led.task.name, epoch, nonce, tick)

    def _clear(self, led: _Led) -> None:
        self.board.q[led.base + cells.T_WANTED] = 0
        self.board.q[led.base + cells.T_HELD] = 0

    def forfeit(self) -> None:
        """We were expelled: others may lead now. What still runs cannot claim anything any more."""
        for led in self.held:
            self._clear(led)
        self._wake()

    async def settle(self, wire: Wire, members: Mapping[str, bytes], *, look: bool, stopping: bool) -> None:
        """Let go of what is not ours, take what is."""
        if stopping:
            for led in self.held:
                self._give_up(led)
            return
        if not self._led or not (look or self._unsatisfied):
            return
        self._unsatisfied = False
        names = [led.task.name for led in self._led]
        found = await leadership.leaders(wire, self.host.plan.topology.name, names)
        for led, leader in zip(self._led, found, strict=True):
            await self._reconcile(wire, led, leader, members)

    async def _reconcile(self, wire: Wire, led: _Led, leader: Leader, members: Mapping[str, bytes]) -> None:
        me, q = self.host.member, self.board.q
        capacity = {member: 1 for member, entry in members.items() if led.task.name in may_lead(entry)}
        now = (leader.member, 0) if leader.member in capacity else None
        (target,) = assign(capacity, [now], led.number)
        ours = target is not None and target[0] == me and led.number not in self.host.plan.gone_tasks
        if target is not None and target[0] != me:
            self.elsewhere.add(led.number)
        else:
            self.elsewhere.discard(led.number)
        if q[led.base + cells.T_HELD]:
            if not ours or leader.epoch != q[led.base + cells.T_EPOCH]:
                self._give_up(led)
            return
        if any(other.task.name == led.task.name and other is not led for other in self.held):
            self._unsatisfied = True  # it was due at other times until a reload, and is being let go
            return
        if not ours:
            if leader.member == me:  # ours from before an expulsion or a keeper's death
                await self._release(wire, led, leader.epoch, int(leader.nonce))
            if not leader.nonce:
                self._unsatisfied = True  # nobody leads: whoever should may not know yet
            return
        if leader.nonce and leader.member in members and leader.member != me:
            self._unsatisfied = True  # it lives, computes the same, and will let go
            return
        nonce = secrets.randbits(62) | 1
        lead = await leadership.take(
            wire, self.host.plan.topology.name, led.task.name, nonce, me, leader.nonce
        )  # fmt: skip
        if lead is None:
            self._unsatisfied = True
        else:
            self._grant(led, nonce, lead)

    def _grant(self, led: _Led, nonce: int, lead: Lead) -> None:
        slot, q = self.host.plan.tasks_slot, self.board.q
        assert slot is not None
        q[led.base + cells.T_EPOCH] = lead.epoch
        q[led.base + cells.T_NONCE] = nonce
        q[led.base + cells.T_LAST] = lead.last_ms
        q[led.base + cells.T_FRESH] = int(lead.before != self.host.member)
        q[led.base + cells.T_FOR] = q[self.board.slot(slot.index) + cells.S_INCARNATION]
        q[led.base + cells.T_WANTED] = 1
        q[led.base + cells.T_HELD] = 1
        q[led.base + cells.T_GRANT] += 1
        self._wake()

    def _give_up(self, led: _Led) -> None:
        if self.board.q[led.base + cells.T_WANTED]:
            self.board.q[led.base + cells.T_WANTED] = 0
            self._wake()

    def _wake(self) -> None:
        slot = self.host.plan.tasks_slot
        if slot is not None and slot.index in self.host.wakes:  # its place is kept where there are no tasks, too
            signals.wake(self.host.wakes[slot.index][1])


def may_lead(entry: bytes) -> list[str]:
    """The tasks that a member could lead, from its entry `time|counter|{...}`; none from one that can't be read."""
    try:
        return [str(name) for name in json.loads(entry.split(b"|", 2)[2]).get("tasks", ())]
    except (IndexError, ValueError, TypeError, AttributeError):
        return []

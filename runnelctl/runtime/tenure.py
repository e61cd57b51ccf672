"""What a host holds and should hold: leases taken, handed to slices on the board, given up, and reaped.

A lease's life on the board: the keeper writes slot, incarnation, epoch, nonce, then counts U_GRANT; the slice takes it
(U_TAKEN), runs it, and ends it with a U_STATE; the keeper then clears U_HELD. A slice that dies is reaped: its leases
are released in Redis at once, so that recovery takes a fork and not a ttl.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from runnelctl.core import charges
from runnelctl.core.assign import Place, assign
from runnelctl.core.charges import Cause, InFlight
from runnelctl.core.pauses import is_paused
from runnelctl.core.plan import Slot, Unit
from runnelctl.core.tenancy import Claim, Move, decide, strangers
from runnelctl.runtime import board as cells
from runnelctl.runtime import halts, signals
from runnelctl.runtime.host import Host
from runnelctl.runtime.places import place, serving, starting
from runnelctl.runtime.standins import StandIns
from runnelctl.store import leases, members
from runnelctl.store.leases import Astray, Blocked, Busy, Granted, Holding
from runnelctl.store.members import present, standing
from runnelctl.store.wire import Wire

_PUT_DOWN = (cells.CAUSE_STOPPED, cells.CAUSE_DRAIN)


@dataclass(frozen=True, slots=True)
class Wish:
    """A lease to take: for whom, and the nonce of the dead holder if there is one."""

    unit: Unit
    slot: Slot
    dead: str


class Tenure:
    """See the module. All of its state is on the board, but for `halted` and `paused`, which Redis has."""

    def __init__(self, host: Host, log: logging.Logger) -> None:
        self.host = host
        self.plan, self.board = host.plan, host.board
        self.topology = host.plan.topology
        self.log = log
        self.halted, self.paused = set[str](), set[str]()
        self.unsatisfied = False
        self._turn = {name: turn for turn, name in enumerate(self.plan.processors)}

    def _q(self, unit: Unit, cell: int) -> int:
        return self.board.q[self.board.unit(unit.index) + cell]

    def _set(self, unit: Unit, cell: int, value: int) -> None:
        self.board.q[self.board.unit(unit.index) + cell] = value

    @property
    def held(self) -> list[Unit]:
        """Units whose lease this host has, wanted or not."""
        return [unit for unit in self.plan.units if self._q(unit, cells.U_HELD)]

    # --- reaping ----------------------------------------------------------------------------------------------

    async def reap(self, wire: Wire) -> bool:
        """Take note of leases that slices ended, and release those of slices that died. True if any was."""
        found = False
        by_slot: dict[int, list[Unit]] = {}
        for unit in self.held:
            slot = self._q(unit, cells.U_SLOT)
            state = self._q(unit, cells.U_STATE)
            if self._q(unit, cells.U_TAKEN) == self._q(unit, cells.U_GRANT) and state in _OVER:
                await self._ended(wire, unit, state)
                found = True
            elif self._orphaned(unit, slot):
                by_slot.setdefault(slot, []).append(unit)
        for slot, units in by_slot.items():
            await self._bury(wire, slot, units)
            found = True
        return found or await self._crash_loops(wire)

    def _orphaned(self, unit: Unit, slot: int) -> bool:
        """Its slice died, or is not there and its successor is not to have it."""
        base = self.board.slot(slot)
        dead = self.board.q[base + cells.S_DEAD] >= self._q(unit, cells.U_FOR)
        return dead or (not self._q(unit, cells.U_WANTED) and not self.board.q[base + cells.S_PID])

    async def _ended(self, wire: Wire, unit: Unit, state: int) -> None:
        self._clear(unit)
        if state in (cells.STATE_QUARANTINED, cells.STATE_HALTED):
            self._set(unit, cells.U_BLOCKED, state)
        if state == cells.STATE_HALTED:
            (holding,) = await leases.holdings(wire, self.topology.name, [unit])
            if holding.record is not None:  # else somebody was quick to replay it
                await self._halt(wire, unit.processor, holding.record)

    async def _bury(self, wire: Wire, slot: int, units: list[Unit]) -> None:
        """A slice died: release its leases, and charge the event that it was in."""
        q, d, base = self.board.q, self.board.d, self.board.slot(slot)
        judged = d[base + cells.S_JUDGED]
        in_flight = [flying for unit in units if (flying := self._in_flight(unit, judged)) is not None]
        kind = q[base + cells.S_CAUSE]
        cause = Cause.PUT_DOWN if kind in _PUT_DOWN else Cause.TIMED_OUT if kind == cells.CAUSE_TIMEOUT else Cause.DIED
        timeout_s = self.plan.processor(self.plan.slots[slot]).timeout_ms / 1000
        due = charges.charged(cause, in_flight, timeout_s)
        death = self.board.read_text(slot)
        held = [(unit, self._q(unit, cells.U_EPOCH), self._q(unit, cells.U_NONCE)) for unit in units]
        releases = (leases.release(wire, self.topology.name, *each, due.get(each[0].index), death) for each in held)
        for unit, released in zip(units, await asyncio.gather(*releases), strict=True):
            if not released:
                self.unsatisfied = True  # a seek gave it another epoch; in Redis it may still be ours
            d[self.board.unit(unit.index) + cells.U_SINCE] = 0.0
            self._clear(unit)

    def _in_flight(self, unit: Unit, judged: float) -> InFlight | None:
        """The event of a unit that was in the handler when its slice died."""
        taken = self._q(unit, cells.U_TAKEN) == self._q(unit, cells.U_GRANT)
        since = self.board.d[self.board.unit(unit.index) + cells.U_SINCE]
        if not taken or not since:
            return None
        first = self._q(unit, cells.U_STARTED)
        return InFlight(unit.index, first, max(first, self._q(unit, cells.U_LAST)), judged - since)

    async def _crash_loops(self, wire: Wire) -> bool:
        found = False
        if self.board.q[cells.H_REPLAYED] != self.board.q[cells.H_REPLAYS]:
            return found  # they are about to get another chance
        for slot in (slot for slot in self.plan.slots if not slot.retired):
            loops = self.board.q[self.board.slot(slot.index) + cells.S_CAUSE] == cells.CAUSE_CRASH_LOOP
            if loops and slot.processor not in self.halted:
                record = halts.crash_loop(self.host, slot, self.board.read_text(slot.index))
                await self._halt(wire, slot.processor, record)
                found = True
        return found

    async def _halt(self, wire: Wire, processor: str, record: str) -> None:
        if processor not in self.halted:
            self.halted.add(processor)
            self.log.error("processor %s halts on every host until `runnelctl replay %s`", processor, processor)
            await members.halt(wire, self.topology.name, processor, record)

    def _clear(self, unit: Unit) -> None:
        self._set(unit, cells.U_WANTED, 0)
        self._set(unit, cells.U_HELD, 0)

    def forfeit(self) -> None:
        """We were expelled: nothing is ours any more. Slices that run on are fenced by whoever took over."""
        for unit in self.held:
            self._clear(unit)

    def look_anew(self) -> None:
        """Somebody may want parked keys replayed: the slices read what is asked for."""
        self.board.q[cells.H_LOOKS] += 1
        for slot in self.plan.slots:
            signals.wake(self.host.wakes[slot.index][1])

    def unblock(self) -> None:
        """Somebody replayed: look again at what was blocked."""
        self.halted.clear()
        self.board.q[cells.H_REPLAYS] += 1
        signals.wake(self.host.supervisor_wake[1])
        for unit in self.plan.units:
            self._set(unit, cells.U_BLOCKED, 0)

    # --- making it so -----------------------------------------------------------------------------------------

    async def settle(self, wire: Wire, members: Mapping[str, bytes], *, look: bool, stopping: bool) -> None:
        """Give up what is not ours, take what is."""
        if stopping:
            for unit in self.held:
                self._give_up(unit)
            return
        if not look and not self.unsatisfied and not self._unheld():
            self._count()
            return
        (self.halted, self.paused), holdings = await asyncio.gather(
            standing(wire, self.topology.name), leases.holdings(wire, self.topology.name, self.plan.units)
        )
        if strangers((holding.owner for holding in holdings), members):
            members = await present(wire, self.topology.name)
        target = self._target(members, holdings)
        wishes: list[Wish] = []
        self.unsatisfied = False
        for unit, holding in zip(self.plan.units, holdings, strict=True):
            if (wish := await self._reconcile(wire, unit, holding, target.get(unit.index), members)) is not None:
                wishes.append(wish)
        await self._take(wire, wishes)
        self._count()
        self.board.q[cells.H_SETTLED] = int(not starting(members.get(self.host.member, b"")))
        signals.wake(self.host.supervisor_wake[1])  # it may be what `--wait` waits for

    def stopped(self, unit: Unit) -> bool:
        """Whether nobody may run it, by its processor's halt or an operator's pause."""
        return unit.processor in self.halted or is_paused(self.paused, unit.processor, unit.partition)

    def _unheld(self) -> bool:
        """Whether a lease that we ought to have is not ours (its slice died, its block was lifted)."""
        return self.board.q[cells.H_WANTED] > self.board.q[cells.H_OWNED]

    def _count(self) -> None:
        self.board.q[cells.H_OWNED] = len(self.held)

    def _target(self, members: Mapping[str, bytes], holdings: list[Holding]) -> dict[int, Place | None]:
        """Where every unit should run, as all hosts compute it."""
        capacities = serving(members)
        if self.plan.partial:
            slots = {name: len(self.plan.slots_of(name)) for name in self.plan.processors}
            capacities = {self.host.member: slots} if self.host.member in members else {}
        target: dict[int, Place | None] = {}
        stand_ins, mine = StandIns(self.host), 0
        for processor in self.plan.processors:
            units = self.plan.units_of(processor)
            able = {member: places.get(processor, 0) for member, places in capacities.items()}
            owners = [place(holdings[unit.index].owner, able) for unit in units]
            for unit, chosen in zip(units, assign(able, owners, self._turn[processor]), strict=True):
                there = target[unit.index] = stand_ins.place(unit, chosen, suspected=holdings[unit.index].suspected)
                blocked = holdings[unit.index].record is not None or self.stopped(unit)
                mine += there is not None and there[0] == self.host.member and not blocked
        self.board.q[cells.H_WANTED] = mine
        return target

    async def _reconcile(
        self, wire: Wire, unit: Unit, holding: Holding, target: Place | None, members: Mapping[str, bytes]
    ) -> Wish | None:
        """One unit: keep, give up, let go of what we forgot, or wish for it."""
        held = bool(self._q(unit, cells.U_HELD))
        blocked = halts.state_of(holding.record)
        self._set(unit, cells.U_BLOCKED, blocked)
        astray = False
        if held and target is not None:
            sought = holding.epoch != self._q(unit, cells.U_EPOCH)  # somebody moved the cursor: begin anew from there
            astray = sought or target[1] != self.plan.slots[self._q(unit, cells.U_SLOT)].number
        holder = holding.owner.rpartition("/")[0]
        stops = bool(blocked) and not unit.retired
        claim = Claim(target and target[0], self.stopped(unit), held, astray, stops, holder)
        match decide(self.host.member, claim, members):
            case Move.GIVE_UP:
                self._give_up(unit)
            case Move.FORGET:
                await leases.release(wire, self.topology.name, unit, holding.epoch, int(holding.nonce))
            case Move.WAIT:
                self.unsatisfied = True
            case Move.TAKE:
                assert target is not None
                return Wish(unit, self.plan.slots_of(unit.processor)[target[1]], holding.nonce)
            case Move.LEAVE:
                if stops and holding.record is not None and blocked == cells.STATE_HALTED:
                    await self._halt(wire, unit.processor, holding.record)
        return None

    async def _take(self, wire: Wire, wishes: list[Wish]) -> None:
        nonces = [secrets.randbits(62) | 1 for _ in wishes]
        wanted = []
        for wish, nonce in zip(wishes, nonces, strict=True):
            start = self.plan.processor(wish.unit).start.value
            wanted.append((wish.unit, str(nonce), f"{self.host.member}/{wish.slot.number}", wish.dead, start))
        outcomes = await leases.acquire(wire, self.topology.name, wanted)
        for wish, nonce, asked, outcome in zip(wishes, nonces, wanted, outcomes, strict=True):
            match outcome:
                case Granted():
                    self._grant(wish, nonce, outcome)
                case Busy() | Astray():
                    if isinstance(outcome, Astray):
                        await halts.strand(wire, self.host, self.log, asked, outcome)
                    self.unsatisfied = True  # the next look sees what it has become
                case Blocked(record):
                    self._set(wish.unit, cells.U_BLOCKED, halts.state_of(record))

    def _grant(self, wish: Wish, nonce: int, granted: Granted) -> None:
        """Put the lease on the board for the slice that is to run it; U_GRANT last, since it makes the rest valid."""
        unit = wish.unit
        incarnation = self.board.q[self.board.slot(wish.slot.index) + cells.S_INCARNATION]
        dead = self.board.q[self.board.slot(wish.slot.index) + cells.S_DEAD]
        self._set(unit, cells.U_SLOT, wish.slot.index)
        # A slot whose process just died is being refilled: the lease is for the process to come.
        self._set(unit, cells.U_FOR, incarnation + 1 if dead == incarnation else incarnation)
        self._set(unit, cells.U_EPOCH, granted.epoch)
        self._set(unit, cells.U_NONCE, nonce)
        self._set(unit, cells.U_WANTED, 1)
        self._set(unit, cells.U_HELD, 1)
        self._set(unit, cells.U_GRANT, self._q(unit, cells.U_GRANT) + 1)
        signals.wake(self.host.wakes[wish.slot.index][1])

    def _give_up(self, unit: Unit) -> None:
        if self._q(unit, cells.U_WANTED):
            self._set(unit, cells.U_WANTED, 0)
            signals.wake(self.host.wakes[self._q(unit, cells.U_SLOT)][1])

    def outcome(self) -> int:
        """OUTCOME_HALTED once every processor of this host is halted and let go. A host of tasks only has none."""
        if self.plan.processors and self.halted >= set(self.plan.processors) and not self.held:
            return cells.OUTCOME_HALTED
        return cells.OUTCOME_NONE


_OVER = (cells.STATE_RELEASED, cells.STATE_QUARANTINED, cells.STATE_HALTED, cells.STATE_LOST)

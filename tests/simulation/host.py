"""A host: its board and its supervisor's decisions: the real core/lifecycle.py says what follows a death, and whose
silence is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runnelctl.core import lifecycle
from runnelctl.core.charges import Cause
from runnelctl.core.lifecycle import Fate, Health, History
from runnelctl.runtime import board as cells
from runnelctl.runtime import standins
from tests.simulation.board import Cell, Shown
from tests.simulation.keeper import PROCESSOR, Keeper
from tests.simulation.lane import Slice
from tests.simulation.scheduler import Actor, Group, Signal

if TYPE_CHECKING:
    from tests.simulation.world import World


class Host:
    """See the module. A host that died comes back as another member."""

    def __init__(self, world: World, member: str, slots: int) -> None:
        self.world, self.member = world, member
        self.cells = [Cell(number) for number in range(len(world.units))]
        self.signals = [Signal() for _ in range(slots)]
        self.wake = Signal()
        self.slices: list[Slice | None] = [None] * slots
        self.shown = Shown(member, slots, len(world.units), PROCESSOR)
        self.q = self.shown.board.q
        self.causes: list[tuple[Cause, float]] = [(Cause.DIED, 0.0)] * slots
        self.histories = [History() for _ in range(slots)]
        self.crash_loops: set[int] = set()
        self.trying: Slice | None = None  # which of its slices tries a suspect
        self.deadline, self.keeper_beat, self.cut_until = 0.0, 0.0, 0.0
        self.alive, self.stopping = True, False
        self.news, self.wanted = True, 0
        self.forfeits = 0  # how often it was expelled
        self.all_ready = False  # each slot has been, at least once
        self.resting: frozenset[int] = frozenset()  # slots in whose place others stand
        self.supervisor = Group()
        self.keeper = Group()
        for slot in range(slots):
            self._start(slot)
        self.start_keeper()
        world.scheduler.spawn(self._watch(), self.supervisor)

    # --- the supervisor ---------------------------------------------------------------------------------------

    def _start(self, slot: int) -> None:
        if self.alive and not self.stopping:
            base = slot * cells.SLOT_CELLS
            self.q[base + cells.S_INCARNATION] += 1
            self.q[base + cells.S_PID] = 1
            self._look()
            fresh = self.slices[slot] = Slice(self, slot, self.q[base + cells.S_INCARNATION])
            self.world.scheduler.spawn(fresh.boot(), fresh.group)

    def _look(self) -> None:
        """After every change of the slots' cells."""
        slots = range(len(self.slices))
        self.resting = frozenset(slot for slot in slots if standins.resting(self.shown, slot))  # type: ignore[arg-type]

    def is_ready(self, slot: int, incarnation: int) -> None:
        """A slice has imported its handler."""
        self.q[slot * cells.SLOT_CELLS + cells.S_READY] = incarnation
        self.all_ready = all(self.q[at * cells.SLOT_CELLS + cells.S_READY] for at in range(len(self.slices)))
        self._look()
        self.world.scheduler.fire(self.wake)

    def leaves(self, slot: int, incarnation: int) -> None:
        """A slice that was asked to makes room for its successor, and lets go of what it has."""
        self.q[slot * cells.SLOT_CELLS + cells.S_RECYCLE] = incarnation
        self._look()

    def restart(self, slot: int) -> None:
        """`runnelctl restart`, as far as this slice."""
        base = slot * cells.SLOT_CELLS
        self.q[base + cells.S_ASKED] = self.q[base + cells.S_INCARNATION]
        self._look()
        self.world.scheduler.fire(self.signals[slot])
        self.world.scheduler.fire(self.wake)

    def start_keeper(self) -> None:
        """The first, or one after a dead one: it goes on as the same member."""
        if self.alive:
            self.keeper = Group()
            self.keeper.cut_until = self.cut_until
            self.world.scheduler.spawn(Keeper(self).main(), self.keeper)

    def kill_slice(self, slot: int, cause: Cause, *, outside: bool = False) -> None:
        """A slice process ends. `outside`: somebody else killed it."""
        slice_ = self.slices[slot]
        if slice_ is None or not slice_.alive:
            return
        slice_.alive = slice_.group.alive = False
        if self.trying is slice_:
            self.trying = None
        self.causes[slot] = (cause, slice_.judged or self.world.now)
        for lane in slice_.lanes.values():
            self.world.forget(lane)
        self.world.scheduler.after(self.world.rng.random() * 0.005, self._bury, slot, slice_, outside)

    def _bury(self, slot: int, slice_: Slice, outside: bool) -> None:
        """It was reaped: show its death on the board, decide what follows."""
        if not self.alive:
            return
        now, rng = self.world.now, self.world.rng
        flying = any(cell.held and cell.slot == slot and cell.since for cell in self.cells)
        others = [at for at in range(len(self.slices)) if at != slot]
        after = lifecycle.after_death(
            self.histories[slot], now=now, ran_s=now - slice_.began, ready=slice_.ready, asked=self.stopping,
            in_flight=flying or slice_.cause == Health.STOPPED.value, jitter=rng.random(), killed=outside,
            others_well=all(self._is_well(at, now) for at in others),
        )  # fmt: skip
        self.histories[slot] = after.history
        self._gone(slot, slice_, spared=after.spared)
        if after.fate is Fate.RESTART:
            self.world.restarts += 1
            self.world.scheduler.after(after.pause_s, self._start, slot)
        elif after.fate is Fate.CRASH_LOOP:
            self.crash_loops.add(slot)
        elif after.fate is Fate.UNSTARTABLE:
            self.world.violated("a slice counts as unstartable, and nothing is wrong with its handler")
        self.world.scheduler.fire(self.wake)

    def _is_well(self, slot: int, now: float) -> bool:
        ready = standins.ready(self.shown, slot)  # type: ignore[arg-type]
        return ready or now - self.causes[slot][1] >= lifecycle.PROOF_S

    def _gone(self, slot: int, slice_: Slice, *, spared: bool) -> None:
        base = slot * cells.SLOT_CELLS
        self.slices[slot] = None
        if spared:
            self.q[base + cells.S_SPARED] = slice_.incarnation
        self.q[base + cells.S_PID] = 0
        self.q[base + cells.S_DEAD] = slice_.incarnation
        self._look()

    def ended(self, slot: int, slice_: Slice) -> None:
        """A slice that was asked to has left."""
        slice_.alive = slice_.group.alive = False
        if self.alive and self.slices[slot] is slice_:
            self._gone(slot, slice_, spared=False)
            self._start(slot)
            self.world.scheduler.fire(self.wake)

    def _watch(self) -> Actor:
        """Look at everybody's pulse."""
        world = self.world
        while True:
            yield world.timeout_s / 5
            for slice_ in list(self.slices):
                if slice_ is not None and slice_.alive and not self._is_fine(slice_):
                    self._judge(slice_, world.now)

    def _is_fine(self, slice_: Slice) -> bool:
        """With nothing to judge: most are, most of the time."""
        return slice_.ready and slice_.group.frozen_until <= self.world.now and not any(c.since for c in self.cells)

    def _judge(self, slice_: Slice, now: float) -> None:
        since = [
            cell.since
            for cell in self.cells
            if cell.since and cell.slot == slice_.slot and cell.for_ == slice_.incarnation and cell.held
        ]
        stopped = slice_.group.frozen_until > now
        verdict = lifecycle.health(
            ready=slice_.ready, age_s=now - slice_.began, stopped=stopped, timeout_s=self.world.timeout_s,
            silent_s=now - self.world.frozen_since.get(slice_.group, now) if stopped else 0.0,
            in_flight_s=now - min(since) if since else 0.0, ttl_s=self.world.ttl_s,
        )  # fmt: skip
        if verdict is not Health.WELL:
            slice_.cause, slice_.judged = verdict.value, now
            self.kill_slice(slice_.slot, Cause.TIMED_OUT if verdict is Health.TIMED_OUT else Cause.PUT_DOWN)

    def die(self) -> None:
        """The machine is gone."""
        self.alive = False
        self.supervisor.alive = self.keeper.alive = False
        for slice_ in self.slices:
            if slice_ is not None:
                slice_.alive = slice_.group.alive = False
                for lane in slice_.lanes.values():
                    self.world.forget(lane)

    @property
    def about(self) -> str:
        """How many slices it says it has: none as long as some have never been ready and it runs nothing. `r`: none of
        them is there for now."""
        if self.stopping or not (self.all_ready or any(cell.held for cell in self.cells)):
            return "0"
        return f"{len(self.slices)}r" if len(self.resting) == len(self.slices) else str(len(self.slices))

    @property
    def settled(self) -> bool:
        """Nothing is held and no slice has a lane."""
        return not any(cell.held for cell in self.cells)

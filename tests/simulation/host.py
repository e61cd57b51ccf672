"""A host: its board, its supervisor's decisions, and its keeper.

The real core decides: membership.py whom to expel, assign.py who runs what, tenancy.py what to do about a lease,
charges.py who pays for a death, lifecycle.py what follows it and whose silence is a death.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from runnelctl.core import charges, lifecycle, membership, tenancy
from runnelctl.core.assign import Place, assign
from runnelctl.core.charges import Cause, InFlight
from runnelctl.core.lifecycle import Fate, Health, History
from runnelctl.core.tenancy import Claim, Move
from runnelctl.runtime.places import abouts
from tests.simulation.lane import OVER, Slice
from tests.simulation.scheduler import LOST, Actor, Call, Group, Signal, Wait

if TYPE_CHECKING:
    from tests.simulation.world import World

MARGIN = 0.125


@functools.cache
def _assigned(capacity: tuple[tuple[str, int], ...], owners: tuple[Place | None, ...], turn: int) -> list[Place | None]:
    """A pure function of few values is asked the same things a million times."""
    return assign(dict(capacity), owners, turn)


class Cell:
    """What the board says of one unit."""

    def __init__(self, unit: int) -> None:
        self.unit = unit
        self.slot = self.for_ = self.grant = self.taken = self.epoch = self.nonce = 0
        self.wanted = self.held = False
        self.state = ""
        self.first, self.since = 0, 0.0


class Broken(Exception):
    """The keeper's connection broke."""


class Host:
    """See the module. A host that died comes back as another member."""

    def __init__(self, world: World, member: str, slots: int) -> None:
        self.world, self.member = world, member
        self.cells = [Cell(number) for number in range(len(world.units))]
        self.signals = [Signal() for _ in range(slots)]
        self.wake = Signal()
        self.slices: list[Slice | None] = [None] * slots
        self.incarnations, self.dead = [0] * slots, [0] * slots
        self.was_ready = [False] * slots
        self.causes: list[tuple[Cause, float]] = [(Cause.DIED, 0.0)] * slots
        self.histories = [History() for _ in range(slots)]
        self.crash_loops: set[int] = set()
        self.deadline, self.keeper_beat, self.cut_until = 0.0, 0.0, 0.0
        self.alive, self.stopping = True, False
        self.news, self.wanted = True, 0
        self.supervisor = Group()
        self.keeper = Group()
        for slot in range(slots):
            self._start(slot)
        self.start_keeper()
        world.scheduler.spawn(self._watch(), self.supervisor)

    # --- the supervisor ---------------------------------------------------------------------------------------

    def _start(self, slot: int) -> None:
        if self.alive and not self.stopping:
            self.incarnations[slot] += 1
            fresh = self.slices[slot] = Slice(self, slot, self.incarnations[slot])
            self.world.scheduler.spawn(fresh.boot(), fresh.group)

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
        after = lifecycle.after_death(
            self.histories[slot], now=now, ran_s=now - slice_.began, ready=slice_.ready, asked=self.stopping,
            in_flight=flying or slice_.cause == Health.STOPPED.value, jitter=rng.random(), killed=outside,
        )  # fmt: skip
        self.histories[slot] = after.history
        self.slices[slot] = None
        self.dead[slot] = slice_.incarnation
        if after.fate is Fate.RESTART:
            self.world.restarts += 1
            self.world.scheduler.after(after.pause_s, self._start, slot)
        elif after.fate is Fate.CRASH_LOOP:
            self.crash_loops.add(slot)
        elif after.fate is Fate.UNSTARTABLE:
            self.world.violated("a slice counts as unstartable, and nothing is wrong with its handler")
        self.world.scheduler.fire(self.wake)

    def _watch(self) -> Actor:
        """Look at everybody's pulse."""
        world = self.world
        while True:
            yield world.timeout_s / 5
            for slice_ in list(self.slices):
                if slice_ is not None and slice_.alive:
                    self._judge(slice_, world.now)

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
        """How many slices it says it has: none as long as some have never been ready and it runs nothing."""
        serves = all(self.was_ready) or any(cell.held for cell in self.cells)
        return str(len(self.slices) if serves and not self.stopping else 0)

    @property
    def settled(self) -> bool:
        """Nothing is held and no slice has a lane."""
        return not any(cell.held for cell in self.cells)


class Keeper:
    """As runtime/keeper.py and tenure.py act; their decisions are the real ones."""

    def __init__(self, host: Host) -> None:
        self.host, self.world = host, host.world
        self.watch: membership.Watch | None = None
        self.members: dict[str, bytes] = {}
        self.joined = False
        self.unsatisfied = False
        self.halted: set[str] = set()
        self.beat_due, self.counter = 0.0, self.world.rng.randrange(10**6)
        self.said = ""
        host.news = True

    def main(self) -> Actor:
        """Until the host stops."""
        yield self.world.rng.random() * 0.02
        while True:
            try:
                yield from self._beat()
                while not (yield from self._round()):
                    pass
                return
            except Broken:
                self._again()
                yield self.world.rng.random() * min(1.0, self.world.ttl_s / 8)

    def _again(self) -> None:
        """On a new connection: what the last one was to look at, it may not have come to."""
        self.host.news = True

    def _ask(self, script: str, names: list[str], args: list[str], dead: str = "") -> Actor:
        reply = yield Call(lambda: self.world.run(script, names, args, dead))
        if reply is LOST:
            raise Broken
        return reply

    def _round(self) -> Actor:
        host, world = self.host, self.world
        yield Wait(host.wake, max(0.0, self.beat_due - world.now))
        changed = host.about != self.said
        if changed or host.news or world.now >= self.beat_due:
            yield from self._beat()
        news, host.news = host.news, False
        if released := (yield from self._reap()):
            world.tell(host)
        if changed:
            world.tell(host)
        if host.stopping:
            for cell in host.cells:
                self._give_up(cell)
            if host.settled:
                yield from self._ask("member_expel", world.membership, [host.member, ""])
                world.left(host)
                return True
            return False
        if news or released or self.unsatisfied or host.wanted > sum(cell.held for cell in host.cells):
            yield from self._settle()
        return False

    # --- beats

    def _beat(self) -> Actor:
        world, host = self.world, self.host
        now = world.now
        self.beat_due = now + world.ttl_s / 4
        self.counter += 1
        joins = not self.joined and not host.keeper_beat
        if host.about != self.said:
            self.said, host.news = host.about, True
        entry = f"{self.counter}|{self.said}"
        args = [host.member, entry, "", str(int(joins))]
        status, _, *pairs = yield from self._ask("member_beat", world.membership[:2], args)
        if status == "EXPELLED":
            for cell in host.cells:
                cell.wanted = cell.held = False
            now, args = world.now, [host.member, entry, "", "1"]
            status, _, *pairs = yield from self._ask("member_beat", world.membership[:2], args)
            self.watch = None
            world.tell(host)
        self.joined = True
        host.deadline = now + world.ttl_s * (1 - MARGIN)
        host.keeper_beat = now
        for signal in host.signals:
            world.scheduler.fire(signal)
        yield from self._expel(dict(zip(pairs[::2], (x.encode() for x in pairs[1::2]), strict=True)))

    def _expel(self, found: dict[str, bytes]) -> Actor:
        world, host = self.world, self.host
        self.watch = membership.look(self.watch, found, world.now, world.ttl_s)
        for member, entry in membership.expired(self.watch, host.member, world.now, world.ttl_s):
            if (yield from self._ask("member_expel", world.membership, [member, entry.decode()])):
                found.pop(member, None)
        if host.member not in self.members:
            world.tell(host)
        if abouts(found) != abouts(self.members):
            host.news = True
        self.members = found

    # --- leases

    def _reap(self) -> Actor:
        host, found, by_slot = self.host, False, dict[int, list[Cell]]()
        for cell in host.cells:
            if not cell.held:
                continue
            if cell.taken == cell.grant and cell.state in OVER:
                cell.held = cell.wanted = False
                found = True
                if cell.state == "halted":
                    host.news = True
            elif host.dead[cell.slot] >= cell.for_ or (not cell.wanted and host.slices[cell.slot] is None):
                by_slot.setdefault(cell.slot, []).append(cell)
        for slot, cells in by_slot.items():
            yield from self._bury(slot, cells)
            found = True
        return found

    def _bury(self, slot: int, cells: list[Cell]) -> Actor:
        """A slice died: release its leases, and charge the event that it was in."""
        cause, judged = self.host.causes[slot]
        flying = [
            InFlight(cell.unit, cell.first, cell.first, judged - cell.since)
            for cell in cells
            if cell.taken == cell.grant and cell.since
        ]
        due = charges.charged(cause, flying, self.world.timeout_s)
        for cell in cells:
            charge = due.get(cell.unit)
            paid = [str(charge.first), str(charge.last), str(int(charge.sure))] if charge else ["", "", "0"]
            own = self.world.units[cell.unit].truth.own
            released = yield from self._ask(
                "lease_release", [own], [str(cell.epoch), str(cell.nonce), *paid, cause.value]
            )
            if not released:
                self.unsatisfied = True
            cell.since = 0.0
            cell.held = cell.wanted = False

    def _settle(self) -> Actor:
        world, host = self.world, self.host
        found = yield Call(world.holdings)
        if found is LOST:
            raise Broken
        self.halted, holdings = found
        if tenancy.strangers((holding.owner for holding in holdings), self.members):
            found = yield Call(world.present)
            if found is LOST:
                raise Broken
            self.members = found
        targets = self._targets(holdings)
        wishes: list[tuple[Cell, int, str]] = []
        self.unsatisfied = False
        for cell, holding, target in zip(host.cells, holdings, targets, strict=True):
            wish = yield from self._reconcile(cell, holding, target)
            if wish is not None:
                wishes.append(wish)
        for cell, slot, dead in wishes:
            yield from self._take(cell, slot, dead)

    def _targets(self, holdings: list[Any]) -> list[Place | None]:
        targets: list[Place | None] = []
        capacity = {member: int(entry.split(b"|")[2]) for member, entry in self.members.items()}
        self.host.wanted = 0
        for turn, processor in enumerate(self.world.processors):
            owners: list[Place | None] = []
            mine = [at for at, unit in enumerate(self.world.units) if unit.processor == processor]
            for at in mine:
                member, _, number = holdings[at].owner.rpartition("/")
                owners.append((member, int(number)) if member in capacity else None)
            chosen = _assigned(tuple(sorted(capacity.items())), tuple(owners), turn)
            targets += chosen
            for at, place in zip(mine, chosen, strict=True):
                blocked = holdings[at].record is not None or processor in self.halted
                self.host.wanted += place is not None and place[0] == self.host.member and not blocked
        return targets

    def _reconcile(self, cell: Cell, holding: Any, target: Place | None) -> Actor:
        host, world = self.host, self.world
        unit = world.units[cell.unit]
        sought = holding.epoch != cell.epoch
        astray = cell.held and target is not None and (sought or target[1] != cell.slot)
        holder = holding.owner.rpartition("/")[0]
        member, stopped = None if target is None else target[0], unit.processor in self.halted
        claim = Claim(member, stopped, cell.held, astray, holding.record is not None, holder)
        match tenancy.decide(host.member, claim, self.members):
            case Move.GIVE_UP:
                self._give_up(cell)
            case Move.FORGET:
                args = [str(holding.epoch), holding.nonce, "", "", "0", ""]
                yield from self._ask("lease_release", [unit.truth.own], args)
            case Move.WAIT:
                self.unsatisfied = True
            case Move.TAKE:
                assert target is not None
                return cell, target[1], holding.nonce
            case Move.LEAVE:
                if holding.record is not None and '"halted"' in holding.record:
                    self.halted.add(unit.processor)
                    yield from self._ask("halt_set", [world.halted], [unit.processor, holding.record])
                    world.tell(host)
        return None

    def _take(self, cell: Cell, slot: int, dead: str) -> Actor:
        host, world = self.host, self.world
        unit, nonce = world.units[cell.unit], str(world.rng.randrange(1, 2**40))
        names = [unit.truth.own, unit.truth.events]
        args = [nonce, f"{host.member}/{slot}", dead, "earliest", unit.processor]
        reply = yield from self._ask("lease_acquire", names, args, dead)
        if reply[0] == "BUSY":
            self.unsatisfied = True
        if reply[0] != "OK":
            return
        incarnation = host.incarnations[slot]
        cell.slot, cell.for_ = slot, incarnation + (host.dead[slot] == incarnation)
        cell.epoch, cell.nonce = int(reply[1]), int(nonce)
        cell.wanted = cell.held = True
        cell.grant += 1
        world.scheduler.fire(host.signals[slot])

    def _give_up(self, cell: Cell) -> None:
        if cell.held and cell.wanted:
            cell.wanted = False
            self.world.scheduler.fire(self.host.signals[cell.slot])

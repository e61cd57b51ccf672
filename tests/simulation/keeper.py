"""A keeper, as runtime/keeper.py and tenure.py act.

The real code decides: core/membership.py whom to expel, assign.py who runs what, tenancy.py what to do about a lease,
charges.py who pays for a death, and runtime/standins.py who stands in for a slice that is not there.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from runnelctl.core import charges, membership, tenancy
from runnelctl.core.assign import Place, assign
from runnelctl.core.charges import InFlight
from runnelctl.core.tenancy import Claim, Move
from runnelctl.runtime import board as cells
from runnelctl.runtime import standins
from runnelctl.runtime.keeper import LOOK_ANYWAY_S
from runnelctl.runtime.places import abouts
from runnelctl.store.members import JOIN_STANDS_MS
from tests.simulation.board import Cell
from tests.simulation.lane import OVER
from tests.simulation.scheduler import LOST, Actor, Call, Wait

if TYPE_CHECKING:
    from tests.simulation.host import Host

MARGIN = 0.125
PROCESSOR = "billing"  # the only one


@functools.cache
def _assigned(capacity: tuple[tuple[str, int], ...], owners: tuple[Place | None, ...]) -> list[Place | None]:
    """A pure function of few values is asked the same things a million times."""
    return assign(dict(capacity), owners)


def able(said: Mapping[str, bytes]) -> dict[str, int]:
    """What each member may be given, as runtime/places.py has it: of `2`, `0`, and `2r` of one whose slices all rest,
    which has something only if nobody else could."""
    awake = any(word != b"0" and not word.endswith(b"r") for word in said.values())
    return {
        member: 0 if awake and word.endswith(b"r") else int(word.removesuffix(b"r")) for member, word in said.items()
    }


class Broken(Exception):
    """The keeper's connection broke."""


class Keeper:
    """As runtime/keeper.py and tenure.py act; their decisions are the real ones."""

    def __init__(self, host: Host) -> None:
        self.host, self.world = host, host.world
        self.watch: membership.Watch | None = None
        self.members: dict[str, bytes] = {}
        self.said_by: dict[str, bytes] = {}  # their entries without what changes with every beat
        self.joined = False
        self.unsatisfied = False
        self.halted: set[str] = set()
        self.look_anyway_at = 0.0
        self.beat_due, self.counter = 0.0, self.world.rng.randrange(10**6)
        self.said = ""
        self.resting: frozenset[int] = frozenset()
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
        here, self.resting = host.resting != self.resting, host.resting
        changed = host.about != self.said
        if changed or host.news or world.now >= self.beat_due:
            yield from self._beat()
        news, host.news = host.news or world.now >= self.look_anyway_at, False
        if news:
            self.look_anyway_at = world.now + LOOK_ANYWAY_S
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
        if news or released or here or self.unsatisfied or host.wanted > sum(cell.held for cell in host.cells):
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
        expelled = False
        if joins:
            pairs = yield from self._join(entry)
        else:
            args = [host.member, entry, "", "0"]
            status, _, *pairs = yield from self._ask("member_beat", world.membership[:2], args)
            expelled = status == "EXPELLED"
        if expelled:
            host.forfeits += 1
            for cell in host.cells:
                cell.wanted = cell.held = False
            now = world.now
            pairs = yield from self._join(entry)
            self.watch = None
            world.tell(host)
        self.joined = True
        passed = world.now >= host.deadline or expelled
        host.deadline = now + world.ttl_s * (1 - MARGIN)
        host.keeper_beat = now
        if passed:
            for signal in host.signals:
                world.scheduler.fire(signal)
        yield from self._expel({pairs[at]: pairs[at + 1].encode() for at in range(0, len(pairs), 2)})

    def _join(self, entry: str) -> Actor:
        """As store/members.py: a join that arrives late comes to nothing."""
        while True:
            clock = yield Call(self.world.store.now_ms)
            if clock is LOST:
                raise Broken
            args = [self.host.member, entry, "", "1", str(clock + JOIN_STANDS_MS)]
            status, _, *pairs = yield from self._ask("member_beat", self.world.membership[:2], args)
            if status == "OK":
                return pairs

    def _expel(self, found: dict[str, bytes]) -> Actor:
        world, host = self.world, self.host
        self.watch = membership.look(self.watch, found, world.now, world.ttl_s)
        for member, entry in membership.expired(self.watch, host.member, world.now, world.ttl_s):
            if (yield from self._ask("member_expel", world.membership, [member, entry.decode()])):
                found.pop(member, None)
        if host.member not in self.members:
            world.tell(host)
        said_by = abouts(found)
        if said_by != self.said_by:
            host.news = True
        self.members, self.said_by = found, said_by

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
            elif self._orphaned(cell):
                by_slot.setdefault(cell.slot, []).append(cell)
        for slot, orphans in by_slot.items():
            yield from self._bury(slot, orphans)
            found = True
        return found

    def _orphaned(self, cell: Cell) -> bool:
        dead = self.host.q[cell.slot * cells.SLOT_CELLS + cells.S_DEAD] >= cell.for_
        return dead or (not cell.wanted and self.host.slices[cell.slot] is None)

    def _bury(self, slot: int, orphans: list[Cell]) -> Actor:
        """A slice died: release its leases, and charge the event that it was in."""
        cause, judged = self.host.causes[slot]
        flying = [
            InFlight(cell.unit, cell.first, cell.first, judged - cell.since)
            for cell in orphans
            if cell.taken == cell.grant and cell.since
        ]
        due = charges.charged(cause, flying, self.world.timeout_s)
        for cell in orphans:
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
            self.members, self.said_by = found, abouts(found)
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
        host, capacity = self.host, able(self.said_by)
        owners: list[Place | None] = []
        for holding in holdings:
            member, _, number = holding.owner.rpartition("/")
            owners.append((member, int(number)) if member in capacity else None)
        chosen = _assigned(tuple(sorted(capacity.items())), tuple(owners))
        targets = chosen
        if host.resting:
            host.shown.board.show(host.cells)
            stand_ins = standins.StandIns(host.shown)  # type: ignore[arg-type]
            targets = [
                stand_ins.place(unit, place, suspected=holding.suspected)  # type: ignore[arg-type]
                for unit, place, holding in zip(self.world.units, chosen, holdings, strict=True)
            ]
        host.wanted = 0
        for cell, holding, place, now in zip(host.cells, holdings, chosen, targets, strict=True):
            cell.stood_in_for = -1 if now == place or place is None or place[0] != host.member else place[1]
            blocked = holding.record is not None or PROCESSOR in self.halted
            host.wanted += now is not None and now[0] == host.member and not blocked
        return targets

    def _reconcile(self, cell: Cell, holding: Any, target: Place | None) -> Actor:
        host, world = self.host, self.world
        unit = world.units[cell.unit]
        sought = holding.epoch != cell.epoch
        astray = cell.held and target is not None and (sought or target[1] != cell.slot)
        holder = holding.owner.rpartition("/")[0]
        member, stopped = None if target is None else target[0], PROCESSOR in self.halted
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
                halts = holding.record is not None and '"halted"' in holding.record
                if halts and PROCESSOR not in self.halted:
                    self.halted.add(PROCESSOR)
                    yield from self._ask("halt_set", [world.halted], [PROCESSOR, holding.record])
                    world.tell(host)
        return None

    def _take(self, cell: Cell, slot: int, dead: str) -> Actor:
        host, world = self.host, self.world
        unit, nonce = world.units[cell.unit], str(world.rng.randrange(1, 2**40))
        names = [unit.truth.own, unit.truth.events]
        args = [nonce, f"{host.member}/{slot}", dead, "earliest", PROCESSOR]
        reply = yield from self._ask("lease_acquire", names, args, dead)
        if reply[0] == "BUSY":
            self.unsatisfied = True
        if reply[0] != "OK":
            return
        if cell.stood_in_for >= 0:
            self._stands_in(cell, suspected=int(reply[5]) > int(reply[3]), from_the_dead=bool(dead))
        base = slot * cells.SLOT_CELLS
        incarnation = host.q[base + cells.S_INCARNATION]
        cell.slot, cell.for_ = slot, incarnation + (host.q[base + cells.S_DEAD] == incarnation)
        cell.epoch, cell.nonce = int(reply[1]), int(nonce)
        cell.wanted = cell.held = True
        cell.grant += 1
        world.scheduler.fire(host.signals[slot])

    def _stands_in(self, cell: Cell, *, suspected: bool, from_the_dead: bool) -> None:
        """Another slice takes what belongs to one that is not there: nothing that one may have died of, but where the
        lease itself was taken from a host that was lost, which nobody could know of before."""
        self.world.stood_in += 1
        base = cell.stood_in_for * cells.SLOT_CELLS
        died = self.host.q[base + cells.S_SPARED] > max(
            self.host.q[base + cells.S_ASKED], self.host.q[base + cells.S_RECYCLE]
        )
        if suspected and died and not from_the_dead:
            self.world.violated(f"{self.host.member} lets a suspect of partition {cell.unit} go round")

    def _give_up(self, cell: Cell) -> None:
        if cell.held and cell.wanted:
            cell.wanted = False
            self.world.scheduler.fire(self.host.signals[cell.slot])

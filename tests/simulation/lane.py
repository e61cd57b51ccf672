"""A slice process and its lanes: what runnelctl/runtime/slice.py, lane.py and ledger.py do, in fewer words.

What an attempt costs is decided by the real core/policy.py. Kept from the real ones: the suspect's rules, the deadline
before every event, the commit that is sent again unchanged until its outcome is known, and the new read session.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from runnelctl.core import policy
from runnelctl.core.policy import Failure, Step
from runnelctl.runtime import board as cells
from tests.simulation.scheduler import LOST, Actor, Call, Group, Wait

if TYPE_CHECKING:
    from tests.simulation.board import Cell
    from tests.simulation.host import Host

RUN = 4  # events per commit at most
OVER = ("released", "quarantined", "halted", "lost")


class Slice:
    """One process in a slot of a host."""

    def __init__(self, host: Host, slot: int, incarnation: int) -> None:
        self.host, self.slot, self.incarnation = host, slot, incarnation
        self.group = Group()
        self.group.cut_until = host.cut_until
        self.began, self.ready, self.alive = host.world.now, False, True
        self.cause = ""  # why the supervisor put it down
        self.judged = 0.0
        self.suspect: Lane | None = None
        self.leaving = False
        self.lanes: dict[int, Lane] = {}

    def boot(self) -> Actor:
        """Import the handler, then follow the board."""
        host, scheduler = self.host, self.host.world.scheduler
        yield 0.05 + host.world.rng.random() * 0.3
        self.ready = True
        host.is_ready(self.slot, self.incarnation)
        asked = self.slot * cells.SLOT_CELLS + cells.S_ASKED
        while True:
            if host.q[asked] == self.incarnation and not self.leaving:
                self.leaving = True
                host.leaves(self.slot, self.incarnation)
            for cell in host.cells:
                mine = cell.slot == self.slot and cell.for_ == self.incarnation and cell.held
                if mine and cell.taken != cell.grant and cell.unit not in self.lanes and not self.leaving:
                    lane = self.lanes[cell.unit] = Lane(self, cell)
                    scheduler.spawn(lane.drive(), self.group)
            if self.leaving and not self.lanes:
                break
            yield Wait(host.signals[self.slot], 5.0)
            for lane in list(self.lanes.values()):
                scheduler.fire(lane.nudge)
        host.ended(self.slot, self)


class Lane:
    """One lease at work."""

    def __init__(self, slice_: Slice, cell: Cell) -> None:
        world = slice_.host.world
        self.slice, self.cell, self.world = slice_, cell, world
        self.unit = world.units[cell.unit]
        self.grant = cell.taken = cell.grant
        self.epoch, self.nonce = str(cell.epoch), str(cell.nonce)
        cell.state, cell.since = "running", 0.0
        self.nudge = world.new_signal(self.unit)
        self.resync, self.ended = False, ""
        self.moves = self.unit.truth.moves
        self.forfeits, self.busy = slice_.host.forfeits, False
        self.unit.lanes.append(self)
        self.buffer: list[tuple[str, str]] = []
        self.announced = False

    # --- the drive

    def drive(self) -> Actor:
        yield from self._session()
        while not self.ended and self._wanted():
            if self.resync:
                yield from self._session()
                continue
            if self.suspect <= self.done:
                self._tried()
            if not self.buffer:
                yield from self._read()
            else:
                yield from self._run()
        while not self.ended:
            if self.resync:
                yield from self._session()
            else:
                yield from self._commit([], release=True)
        self._over()

    def _tried(self) -> None:
        if self.slice.suspect is self:
            self.slice.suspect = self.slice.host.trying = None

    def _over(self) -> None:
        self._tried()
        self.cell.since = 0.0
        if self.cell.taken == self.grant:
            self.cell.state = self.ended
        self.slice.lanes.pop(self.cell.unit, None)
        self.world.forget(self)
        self.world.scheduler.fire(self.slice.host.wake)
        self.world.scheduler.fire(self.slice.host.signals[self.slice.slot])

    def _wanted(self) -> bool:
        return self.cell.grant == self.grant and self.cell.wanted and not self.slice.leaving

    def _session(self) -> Actor:
        """A new read session: trust nothing but the own hash."""
        self.cell.since = 0.0
        self.resync, self.buffer, self.announced = False, [], False
        moves = self.unit.truth.moves
        while (found := (yield Call(self._own))) is LOST:
            yield 0.05 + self.world.rng.random() * 0.5
        self.moves = moves
        own, lost = found
        if (own.get("epoch"), own.get("nonce")) != (self.epoch, self.nonce):
            self.ended = "lost"
            return
        self.cursor = self.fetched = own["cursor"]
        self.done, self.seq = int(own["count"]), int(own["seq"])
        self.suspect, self.tries, self.sure = int(own["suspect"]), int(own["tries"]), own.get("sure") == "1"
        if lost:
            yield from self._block("trimmed", "", "")

    def _own(self) -> tuple[dict[str, str], int]:
        store, names = self.world.store, self.unit.truth
        own, stream = dict(store.hash(names.own)), store.stream(names.events)
        return own, max(0, (stream.gone if stream else 0) - int(own.get("count", "0")))

    def _read(self) -> Actor:
        found = yield Call(lambda: self.world.read(self.unit, self.fetched, 2 * RUN))
        if found is LOST:
            self.resync = True
            yield 0.05
        elif found:
            self.buffer = found
            self.fetched = found[-1][0]
        else:
            yield Wait(self.nudge, 5.0)

    # --- events

    def _run(self) -> Actor:
        """Some events, then a commit of what they did."""
        size = RUN
        if self.suspect > self.done:
            before = self.suspect - self.done - 1
            size = min(RUN, before) if before else 1
        alone = self.suspect == self.done + 1
        if alone and self.sure and self.tries >= self.world.attempts:
            event, uid = self.buffer.pop(0)
            verdict = policy.decide(Failure.DIED, self.tries + 1, self.world.retry, self.world.policy, 0.0)
            yield from self._final(verdict.step, "died", event, uid, [])
            return
        if alone and not (yield from self._alone()):
            return
        yield from self._handle(size, alone)

    def _alone(self) -> Actor:
        """Reserve the slice for the suspect, one on its machine at a time, and say that it is tried."""
        slice_ = self.slice
        if slice_.suspect is None and slice_.host.trying is None:
            slice_.suspect, slice_.host.trying = self, slice_
        others = any(lane.cell.since for lane in slice_.lanes.values() if lane is not self)
        if slice_.suspect is not self or others:
            yield Wait(self.nudge, 0.05)
            return False
        if not self.announced:
            self.announced = True
            if not self.seq:
                yield from self._commit([])
                return False
        return True

    def _handle(self, size: int, alone: bool) -> Actor:
        handled: list[str] = []
        for event, uid in self.buffer[:size]:
            if not (yield from self._may_start()):
                break
            attempt = self.tries + 1 if alone else 1
            ordinal = self.done + len(handled) + 1
            failure = yield from self._attempts(event, uid, ordinal, attempt)
            if failure:
                del self.buffer[: len(handled) + 1]
                yield from self._final(failure, "raised", event, uid, handled)
                return
            handled.append(event)
        self.cell.since = 0.0
        del self.buffer[: len(handled)]
        if handled:
            yield from self._commit(handled)

    def _may_start(self) -> Actor:
        """What the real lane looks at before an event: revoked, the host's deadline, another lane's suspect."""
        host = self.slice.host
        while True:
            if self.ended or self.resync or not self._wanted():
                return False
            if self.world.now >= host.deadline:
                self.cell.since = 0.0
                yield Wait(self.nudge, 1.0)
            elif self.slice.suspect not in (None, self):
                self.cell.since = 0.0
                yield Wait(self.nudge, 0.05)
            else:
                return True

    def _attempts(self, event: str, uid: str, ordinal: int, attempt: int) -> Actor:
        """The handler, until it is done or the policy speaks; returns a final step or None."""
        world, cell = self.world, self.cell
        while True:
            world.starts(self, event)
            cell.first, cell.since, self.busy = ordinal, world.now, True
            kind = world.kind(uid)
            yield world.rng.random() * (world.handler_s if kind == "ok" else 0.1)
            self.busy = kind in ("dies", "host dies", "hangs")
            if kind == "ok":
                return None
            if kind == "dies":
                world.dies(self.slice, uid)
                yield 1e9
            if kind == "host dies":
                world.host_dies(self.slice.host, uid)
                yield 1e9
            if kind == "hangs":
                world.hung.add(uid)
                world.guilty.add(uid)
                yield 1e9
            verdict = policy.decide(Failure.RAISED, attempt, world.retry, world.policy, world.rng.random())
            if verdict.step is not Step.RETRY:
                return verdict.step
            cell.since = 0.0
            yield verdict.pause_ms / 1000
            attempt += 1
            if not (yield from self._may_start()):
                return Step.RETRY

    def _final(self, step: Step, kind: str, event: str, uid: str, handled: list[str]) -> Actor:
        """What the policy decided, in the same commit as the events before it."""
        self.cell.since = 0.0
        if step is Step.RECORD:
            yield from self._commit([*handled, event])
        elif step in (Step.QUARANTINE, Step.HALT):
            yield from self._commit(handled, release=True, block=self._record(kind, event, uid, step is Step.HALT))
        else:  # its retry was cut short: what was handled before it is committed, the rest read anew
            self.resync = True
            if handled:
                yield from self._commit(handled)

    def _record(self, kind: str, event: str, uid: str, halted: bool) -> str:
        record = {"event": event, "uid": uid, "kind": kind, "state": "halted" if halted else "quarantined"}
        return json.dumps(record, separators=(",", ":"))

    def _block(self, kind: str, event: str, uid: str) -> Actor:
        halted = self.world.policy is policy.Policy.HALT
        yield from self._commit([], release=True, block=self._record(kind, event, uid, halted))

    # --- commits

    def _commit(self, events: list[str], *, release: bool = False, block: str = "") -> Actor:
        """One commit, unchanged until its outcome is known."""
        new = events[-1] if events else self.cursor
        effects: list[str] = [word for event in events for word in ("X", "3", "0", "2", "of", event)]
        args = [
            self.epoch, self.nonce, str(self.seq + 1), self.cursor, new, str(len(events)), self.unit.processor,
            str(int(release)), block, *effects,
        ]  # fmt: skip
        while (reply := (yield Call(lambda: self.world.commit(self.unit, args)))) is LOST:
            self.resync = True
            yield 0.05 + self.world.rng.random() * 0.5
        n = len(events)
        match reply[0]:
            case "OK" | "ALREADY":
                self.world.told(self, events)
                self.seq, self.cursor, self.done = self.seq + 1, args[4], self.done + n
                if release:
                    self.ended = json.loads(block)["state"] if block else "released"
            case "FENCED":
                self.ended = "lost"
            case "TRIMMED":
                yield from self._block("trimmed", "", "")
            case _:
                self.resync = True

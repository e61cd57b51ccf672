"""The keeper: one per host. It beats, competes for leases, hands them to the slices on the board, releases those of the
dead, and reports for `status`. It runs no user code, so a handler that blocks can't cost a lease.

Everything it must know after its own death is on the board or in Redis: a new keeper goes on as the same member.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from runnelctl.core import backoff, membership
from runnelctl.errors import RunnelctlError
from runnelctl.runtime import board as cells
from runnelctl.runtime import defects, leadership, listening, loglines, neighbours, reports, signals, standins
from runnelctl.runtime.drain import Drain
from runnelctl.runtime.host import Host
from runnelctl.runtime.places import abouts
from runnelctl.runtime.rolling import Rolling
from runnelctl.runtime.serverwatch import ServerWatch
from runnelctl.runtime.stall import Stall
from runnelctl.runtime.tenure import Tenure
from runnelctl.runtime.trimmer import Trimmer
from runnelctl.store import members
from runnelctl.store.wire import ConnectionLost, ReplyError, Wire

DRAIN_LOOK_S = 0.1  # how often `up --drain` asks whether all is done
LOOK_ANYWAY_S = 60.0  # without a reason: an acquire that came after its connection was given up told nobody
MARGIN = 0.125  # of the ttl: how much earlier than others may expel us we stop


class Keeper:
    """See the module. `main` runs until the host stops."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.topology = host.plan.topology
        self.board = host.board
        self.ttl_s = self.topology.lease_ttl_ms / 1000
        self.log = logging.getLogger("runnelctl.keeper")
        self.tenure = Tenure(host, self.log)
        self.leadership = leadership.Leadership(host, self.log)
        self.drain = Drain(host, self.tenure, self.leadership) if host.drain else None
        self.stall = Stall(host, self.log)
        self.rolling = Rolling(host)
        self.trimmer = Trimmer(host, self.log)
        self.server = ServerWatch(self.log)
        self._wake = asyncio.Event()
        self._wake.set()
        self._news = True  # membership or ownership may have changed since we looked
        self._beat_due = self._look_due = self._look_anyway_at = 0.0
        self._put_off = False  # a look waits for its time
        self._counter = random.getrandbits(48)
        self._resting: set[int] = set()  # slots whose slice is being replaced
        self._entry = ""  # what we said of ourselves last
        self._watch: membership.Watch | None = None
        self._members: dict[str, bytes] = {}
        self._joined = False
        self._said_stopping = False
        self._failures = 0  # connections in a row; an outage is said once

    async def main(self) -> int:
        """Keep until told to stop and every lease is released; returns the exit code."""
        asyncio.get_running_loop().add_reader(self.host.keeper_wake[0], self._woken)
        control = listening.listen(self.host.endpoint, self.topology.name, "keeper", self._heard)
        listener = asyncio.get_running_loop().create_task(control)
        listener.add_done_callback(_must_not_fail)
        while True:
            try:
                await self._serve()
                return 0
            except (ConnectionLost, ReplyError) as error:
                if not self._failures:
                    self.log.warning("Redis: %s; trying again until it is back", error)
                self._failures += 1
                if self.board.q[cells.H_STOPPING] and self._children_gone():
                    self.log.warning("leaving without Redis; our leases run out after %.0f s", self.ttl_s)
                    return 0
                await self._revive()
                jitter, longest_s = 0.2 + 0.8 * random.random(), min(backoff.LONGEST_S, self.ttl_s / 8)
                await asyncio.sleep(backoff.pause_s(self._failures, jitter, longest_s=longest_s))

    async def _revive(self) -> None:
        """An embedded server that died with its warden has nobody else to start it again."""
        if self.host.embedded_root is None:
            return
        from runnelctl.store import embedded

        root = Path(self.host.embedded_root)
        try:
            # In a thread: it may wait for an ending server. Our own hold on it is the one from before the fork.
            held = await asyncio.to_thread(embedded.ensure, self.topology.name, root=root)
            held.close()
        except RunnelctlError as error:
            self.log.error("%s", error)

    async def _serve(self) -> None:
        """As long as one connection lasts."""
        timeout_ms = max(500, int(self.ttl_s * 1000 / 4))
        wire = await Wire.open(self.host.endpoint, name="runnelctl:keeper", timeout_ms=timeout_ms)
        self._news = True  # what the last connection was to look at, it may not have come to
        try:
            await self._beat(wire)
            self._wake.set()
            while not await self._round(wire):
                if self._failures:
                    self.log.warning("Redis is back")
                    self._failures = 0
        finally:
            wire.close()

    async def _round(self, wire: Wire) -> bool:
        """One turn: beat when it is time, follow the board, make ownership what it should be. True: all done."""
        due = min(self._beat_due, self._look_due) if self._put_off else self._beat_due
        timeout_s = max(0.0, due - monotonic())
        if self.drain is not None:
            timeout_s = min(timeout_s, DRAIN_LOOK_S)
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()
        stopping = bool(self.board.q[cells.H_STOPPING])
        if stopping and not self._said_stopping:
            self._said_stopping = self._news = True
        if self.leadership.changed():
            self._news = True
        resting = {slot.index for slot in self.host.plan.slots if standins.resting(self.host, slot.index)}
        here, self._resting = resting != self._resting, resting  # concerns nobody else: no beat, which takes its time
        changed = reports.entry(self.host) != self._entry  # a slice became ready, so that others may hand over to it
        self._put_off = monotonic() < self._look_due and not stopping
        if self.rolling.done() or changed or (self._news and not self._put_off) or monotonic() >= self._beat_due:
            await self._beat(wire)  # also the way to learn who is there now, and to say that we leave
        released = await self.tenure.reap(wire)
        released = await self.leadership.reap(wire) or released
        self._news = self._news or released
        if self._put_off:
            self._news = self._news or here
        else:
            await self._settle(wire, here=here, stopping=stopping)
        if changed:
            await members.tell(wire, self.topology.name, "changed", member=self.host.member)
        if released:
            await members.tell(wire, self.topology.name, "released", member=self.host.member)
        if stopping and not self.tenure.held and not self.leadership.held and self._children_gone():
            await members.expel(wire, self.topology.name, self.host.member, b"")
            return True
        if not stopping:
            await self.stall.look(wire, monotonic())
            await self.trimmer.look(wire, monotonic())
            await self.server.look(wire, monotonic())
            self._conclude(await self.drain.look(wire) if self.drain is not None else cells.OUTCOME_NONE)
        return False

    async def _settle(self, wire: Wire, *, here: bool, stopping: bool) -> None:
        """Look, if there is a reason, and make ownership what it should be. The next look comes no sooner than this one
        took: of fifty hosts that come or go, each says so, and a look at thousands of partitions takes its time."""
        began = monotonic()
        news, self._news = self._news or began >= self._look_anyway_at, False
        if news:
            self._look_anyway_at = began + LOOK_ANYWAY_S * (0.75 + 0.5 * random.random())
        await self.leadership.settle(wire, self._members, look=news, stopping=stopping)
        await self.tenure.settle(wire, self._members, look=news or here, stopping=stopping)
        now = monotonic()
        self._look_due = now + min(now - began, self.ttl_s / 4)

    def _conclude(self, outcome: int) -> None:
        """Tell the supervisor when there is no reason to go on."""
        if outcome == cells.OUTCOME_NONE:
            outcome = self.tenure.outcome()
        if outcome != cells.OUTCOME_NONE and not self.board.q[cells.H_OUTCOME]:
            self.board.q[cells.H_OUTCOME] = outcome
            signals.wake(self.host.supervisor_wake[1])

    def _children_gone(self) -> bool:
        q = self.board.q
        return all(not q[self.board.slot(slot.index) + cells.S_PID] for slot in self.host.plan.places)

    # --- beats

    async def _beat(self, wire: Wire) -> None:
        """Say that we live, unless the supervisor does not; learn who else does; expel those who stood still."""
        now = monotonic()
        self._beat_due = now + self.ttl_s / 4
        supervised = now - self.board.d[cells.H_SUPERVISOR_BEAT] <= self.ttl_s
        if not supervised:
            # Nobody would restart or kill a slice here: let others have the partitions.
            self.log.warning("the supervisor is silent; not beating")
            return
        self._counter += 1
        about = reports.entry(self.host)
        if about != self._entry:
            self._entry, self._news = about, True
        entry = f"{self._counter}|{about}"
        report = reports.report(self.host, self.tenure)
        answer = await members.beat(
            wire, self.topology.name, self.host.member, entry, report, join=not self._joined and not self._rejoining()
        )
        if not answer.member:
            await self._expelled(wire, entry, report)
            return
        self._joined = True
        self._extend(now)
        await self._judge(wire, answer.members)

    def _extend(self, sent_at: float) -> None:
        """Move the host's deadline, counted from before the beat was sent: others count from when they saw it.

        Who found the old one passed waits to be woken. The clock is read after the store, so none of them is missed.
        """
        before = self.board.d[cells.H_DEADLINE]
        self.board.d[cells.H_DEADLINE] = sent_at + self.ttl_s * (1 - MARGIN)
        self.board.d[cells.H_KEEPER_BEAT] = sent_at
        if monotonic() >= before:
            self._wake_slices()

    def _rejoining(self) -> bool:
        """A keeper that follows a dead one is a member already, or was expelled meanwhile and must notice it."""
        return self.board.d[cells.H_KEEPER_BEAT] > 0.0

    async def _expelled(self, wire: Wire, entry: str, report: bytes) -> None:
        """Others took us for dead. What we held may be theirs: forget it all, and join again with nothing."""
        self.log.error("this host was expelled: it could not beat for %.0f s; joining again", self.ttl_s)
        self.tenure.forfeit()
        self.leadership.forfeit()
        sent_at = monotonic()
        answer = await members.beat(wire, self.topology.name, self.host.member, entry, report, join=True)
        self._members, self._watch, self._joined = answer.members, None, True
        self._extend(sent_at)
        self._wake_slices()
        self._news = True
        await members.tell(wire, self.topology.name, "joined", member=self.host.member)

    async def _judge(self, wire: Wire, found: dict[str, bytes]) -> None:
        """Notice joins and leaves, and expel the dead: by their silence, or by their lock if they lived here."""
        now = monotonic()
        self._watch = membership.look(self._watch, found, now, self.ttl_s)
        self._beat_due = min(self._beat_due, membership.next_look(self._watch, self.host.member, now, self.ttl_s))
        dead = membership.expired(self._watch, self.host.member, now, self.ttl_s)
        dead += neighbours.dead(self.host, found)
        for member, entry in dead:
            if await members.expel(wire, self.topology.name, member, entry):
                self.log.warning("host %s stopped beating and was expelled", member.rsplit(":", 1)[0])
                found.pop(member, None)
        if self.host.member not in self._members:
            await members.tell(wire, self.topology.name, "joined", member=self.host.member)
        if abouts(found) != abouts(self._members):  # who became ready tells us, too, if its connection lasts
            self._news = True
        self._members = found

    # --- wake-ups

    def _woken(self) -> None:
        signals.drain(self.host.keeper_wake[0])
        self._wake.set()

    def _wake_slices(self) -> None:
        for slot in self.host.plan.places:
            signals.wake(self.host.wakes[slot.index][1])

    def _heard(self, message: Mapping[str, str] | None) -> None:
        if message is None:  # what was said meanwhile is in Redis, but no slice may know
            self.tenure.look_anew()
            self._news = True
            self._wake.set()
            return
        if message.get("member") == self.host.member and message.get("what") != "down":
            return
        if message.get("what") == "down":
            self.board.q[cells.H_OUTCOME] = cells.OUTCOME_DOWN
            signals.wake(self.host.supervisor_wake[1])
        if message.get("what") == "replay":
            self.tenure.unblock()
            self.tenure.look_anew()
        if message.get("what") == "restart":
            self.rolling.ask(message)
        else:
            self._news = True
        self._wake.set()


def _must_not_fail(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        defects.die(logging.getLogger("runnelctl.keeper"), error)


def run(host: Host) -> int:
    """The body of the keeper process; returns its exit code."""
    loglines.configure(host.plan.topology.log)
    log = logging.getLogger("runnelctl.keeper")
    with asyncio.Runner(loop_factory=functools.partial(defects.watched, log)) as runner:
        return runner.run(Keeper(host).main())

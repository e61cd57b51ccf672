"""The books of one lane: which events are done, what they did, and which commit carries it to Redis.

`done` runs ahead of `committed`; one commit is under way at a time and is sent again, unchanged, until its outcome is
known. Only `open_run`, `done` and `effects` are touched while handlers run, so a sync handler's thread may do it: it
appends an event's effects before it counts the event as done, and the committer reads in the opposite order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from runnelctl.event import Event
from runnelctl.runtime import board as cells
from runnelctl.runtime import failures
from runnelctl.runtime.effects import Packing, Waiting, size_of
from runnelctl.runtime.states import Effect
from runnelctl.store.leases import Commit, Session, unit_keys
from runnelctl.store.wire import Argument

if TYPE_CHECKING:
    from runnelctl.runtime.lane import Lane

EFFECT_BYTES_HELD = 16 * 1024 * 1024  # of a lane: with more of them not committed, no event is started
EFFECT_BYTES_OF_ALL = 64 * 1024 * 1024  # of all lanes of a slice: with many, each may hold less
LADEN_EVENTS = 64  # that have effects
FULL_PAUSE_S = 0.25
_REFUSALS = {
    b"TYPE": "{} in Redis is of another type than an emit or a state needs",
    b"POISONED": "{} takes no more events: somebody appended one with the highest id there is",
}


class Ledger:
    """See the module. Ordinals count the events of the partition from 1, so that a cursor's count is an ordinal."""

    def __init__(self, lane: Lane, session: Session) -> None:
        self.lane = lane
        self._names = unit_keys(lane.slice.topology.name, lane.unit)
        self.epoch, self.nonce = session.epoch, int(session.nonce)
        self.effects: Waiting = deque()
        self._sizes: deque[int] = deque()  # of the first that wait, as far as they were measured
        self._measured_bytes = 0  # their sum
        self.in_flight_bytes = 0
        self.in_flight: Commit | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._block = ""
        self._block_state = cells.STATE_RELEASED
        self._closing = self._announcing = False
        self.restart(session)

    def restart(self, session: Session) -> None:
        """Begin (again) from what the own hash says."""
        self.done = self.committed = session.count  # ordinals
        self.done_id = self.cursor = session.cursor
        self.seq = session.seq
        self.run: list[Event] = []
        self.first = session.count + 1  # ordinal of run[0]
        self._forget_effects()
        self.dirty_since = 0.0  # 0: everything done is committed
        self._in_flight_done = session.count
        self._void = False  # something done was dropped: nothing after it may be committed before a new session
        self._show_cursor()

    # --- while handlers run

    def open_run(self, run: list[Event]) -> None:
        self.run, self.first = run, self.done + 1

    def close_run(self, index: int) -> None:
        """run[:index] is done; the rest was not started and will be fetched again by whoever goes on."""
        if index:
            self.done_id = self.run[index - 1]._id
        self.run = []
        if self.laden:
            self.ask()

    def pass_over(self, event: Event, effects: list[Effect]) -> None:
        """An event is done by decree of the policy, with these effects."""
        if effects:
            self.effects.append((self.done + 1, event._id, effects))
        self.done += 1
        self.mark_dirty(monotonic())

    def beside(self, effects: list[Effect]) -> None:
        """Effects of an event that is not the next one: they go with the next commit, which need not move the cursor.
        Only between runs."""
        if not self._void:
            self.effects.append((self.done, self.done_id, effects))
            self.mark_dirty(monotonic())

    def _aside(self, done: int) -> bool:
        """Whether effects wait that no event after ordinal `done` brings along."""
        return bool(self.effects) and self.effects[0][0] <= done and not self._void

    def mark_dirty(self, now: float) -> None:
        """There is something to commit since `now`."""
        if not self.dirty_since:
            self.dirty_since = now
        self.ask()

    def ask(self) -> None:
        """Ask for a commit of what is done, when nobody waits for it."""
        self.lane.slice.committer.wake(self.lane)

    # --- waiting

    @property
    def unsettled(self) -> bool:
        return (
            self.in_flight is not None or (self.done > self.committed and not self._void) or self._aside(self.committed)
        )

    async def progress(self) -> None:
        """Wait until a commit's outcome is known; at once if there is nothing to commit."""
        if not (self.unsettled or self._closing or self._block or self._announcing):
            return
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().create_future()
        self.lane.slice.committer.wake(self.lane)
        await self._waiting

    async def announce(self) -> None:
        """Commit nothing: it tells whoever may have to take over that the suspect was tried (lease_acquire.lua)."""
        self._announcing = True
        await self.progress()

    def block(self, record: str, state: int) -> None:
        """Quarantine or halt the partition with the next commit, and let it go."""
        self._block, self._block_state = record, state
        self.lane.stop()

    async def close(self) -> None:
        """Commit the rest and release, in one script if it fits; ends the lane unless it has ended before."""
        self._closing = True
        while self.lane.ended is None:
            if self.lane.resyncing:  # Redis went back in time: a release at the old cursor would be refused for ever
                await self.lane.read_anew()
            else:
                await self.progress()

    @property
    def laden(self) -> bool:
        """Whether what waits for a commit keeps the server busy for longer than a word there and back takes."""
        return len(self.effects) >= LADEN_EVENTS

    @property
    def heavy(self) -> bool:
        """Whether the effects that are not committed take as much as they may. For looks around, not per event."""
        waiting, sizes = self._waiting_effects(), self._sizes
        for index in range(len(sizes), len(waiting)):
            sizes.append(size_of(waiting[index][2]))
            self._measured_bytes += sizes[-1]
        held = self._measured_bytes + (self.in_flight_bytes if self.in_flight is not None else 0)
        return held > min(EFFECT_BYTES_HELD, EFFECT_BYTES_OF_ALL // max(1, len(self.lane.slice.lanes)))

    def _waiting_effects(self) -> Waiting:
        return self.effects

    def _forget_effects(self) -> None:
        self.effects.clear()
        self._sizes.clear()
        self._measured_bytes = 0

    # --- between runs

    def relieve_states(self) -> int:
        """Let states go if the lane keeps too many: under load there is never a moment at which none is in use. Returns
        how many events may have theirs here at once."""
        states, lanes = self.lane.states, len(self.lane.slice.lanes)
        if states.heavy(lanes):
            states.prune(self._needed())
        return states.at_once(lanes)

    def _needed(self) -> set[Argument]:
        """The keys in Redis of the states that must stay, since what is written there is not committed yet."""
        under_way = self.in_flight.keys if self.in_flight is not None else ()
        return {name for _, _, effects in self._waiting_effects() for _, name, _ in effects}.union(under_way)

    # --- what the committer calls

    def next_commit(self) -> Commit | None:
        """The commit to send now: the one whose outcome is unknown, else all that finished since; None if nothing."""
        if self.in_flight is not None:
            return self.in_flight
        target = self.committed if self._void else self.done
        idle = target == self.committed and not self._aside(target)
        if idle and not (self._closing or self._block or self._announcing):
            return None
        self._announcing = False
        packing = Packing([*self._names])
        done, new = self._cut(target, packing)
        self.lane.states.grew(self.in_flight_bytes)
        last = done == target and not self._aside(done) and (self._closing or bool(self._block))
        commit = Commit(
            self.epoch, self.nonce, self.seq + 1, self.cursor, new, done - self.committed,
            release=last, block=self._block if last else "", keys=packing.names, effects=packing.words(),
        )  # fmt: skip
        self.in_flight, self._in_flight_done = commit, done
        return commit

    def _cut(self, done: int, packing: Packing) -> tuple[int, bytes]:
        """Pack the effects up to ordinal `done`, or fewer events if their effects are too much for one script; returns
        how far that goes."""
        last = self._fill(packing, done)
        if last is not None:
            return last
        in_run = done - self.first
        new = self.run[in_run]._id if self.run and in_run >= 0 else self.done_id
        return done, new if done > self.committed else self.cursor

    def _fill(self, packing: Packing, done: float) -> tuple[int, bytes] | None:
        """As Packing.fill, of the effects that wait."""
        last = packing.fill(self.effects, done)
        for _ in range(min(packing.events, len(self._sizes))):
            self._measured_bytes -= self._sizes.popleft()
        self.in_flight_bytes = packing.size
        return last

    def outcome(self, reply: list[Any]) -> float | None:
        """Take a commit's reply; returns a pause in seconds if it has to be sent again later."""
        commit = self.in_flight
        assert commit is not None
        lane, log = self.lane, self.lane.slice.log
        match reply[0]:
            case b"OK" | b"ALREADY":
                self._settled(commit)
            case b"FULL":
                log.warning("%s: %s is at its capacity; the partition waits", lane.name, reply[1].decode())
                lane.count(cells.U_FULL)
                lane.slice.trial.over(lane)  # it may be this slice that makes room there
                return FULL_PAUSE_S
            case b"FENCED":
                log.warning(
                    "%s: commit refused, FENCED: epoch %d was taken over by epoch %s of %s; "
                    "%d event(s) dropped after %s",
                    lane.name, commit.epoch, reply[1].decode(), reply[2].decode() or "nobody",
                    self.done - self.committed, self.cursor.decode(),
                )  # fmt: skip
                lane.end(cells.STATE_LOST)
            case b"TRIMMED":
                failures.block_trimmed(lane, int(reply[1]))
            case b"TYPE" | b"POISONED":
                failures.block_refused(lane, _REFUSALS[reply[0]].format(reply[1].decode()))
            case _:  # CURSOR, HISTORY
                log.error(
                    "%s: what was read is not what Redis has now (%s); reading anew", lane.name, reply[0].decode()
                )
                self._drop()
                lane.resync()
        self._resolve()
        return None

    def _settled(self, commit: Commit) -> None:
        self.in_flight = None
        self.seq, self.cursor, self.committed = commit.seq, commit.new, self._in_flight_done
        # Clean first, then look again: a handler's thread counts an event as done before it looks at dirty_since.
        self.dirty_since = 0.0
        if self.done > self.committed or self._aside(self.committed):
            self.dirty_since = monotonic()
        self._show_cursor()
        if commit.release:
            self.lane.end(self._block_state)

    def _drop(self) -> None:
        """Forget what is not committed, and what was to block after it: it belongs to a history that is gone.

        A handler may still be at work. What it does now comes after events whose effects are gone, so it is void.
        """
        self.in_flight, self._void = None, True
        self._block, self._block_state = "", cells.STATE_RELEASED
        self._forget_effects()
        self.done, self.done_id, self.dirty_since = self.committed, self.cursor, 0.0

    def drop_and_block(self, record: str, state: int) -> None:
        """Redis refused the commit for good: block the partition where its cursor stands."""
        self._drop()
        self.block(record, state)
        self.lane.slice.committer.wake(self.lane)

    def resolve_ended(self) -> None:
        """The lane is over; nobody may wait for a commit any more."""
        self.in_flight = None
        self._resolve()

    def _resolve(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
        self._waiting = None

    def _show_cursor(self) -> None:
        q, base = self.lane.slice.board.q, self.lane.base
        ms, _, seq = self.cursor.partition(b"-")
        q[base + cells.U_CURSOR_SEQ] = int(seq or 0)
        q[base + cells.U_CURSOR_MS] = int(ms)
        q[base + cells.U_COUNT] = self.committed

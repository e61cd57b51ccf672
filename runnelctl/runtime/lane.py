"""A lane: one partition as one slice runs it, under one lease.

    reader --feed--> buffer --> drive: a run of events --> handler (calls.py) --> done --> committer --> lua/commit.lua

Per event there is one clock reading, a store on the board, the handler, and a mark that it is done: no command, no
task, no timer, no lock. Whatever is rare (the lease's deadline, a revoked lease, a commit overdue, a fair turn for the
other lanes) hides behind one comparison with `check_at`, and is looked at in `pause` at least every 10 ms.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TYPE_CHECKING, Any

from runnelctl.core import keys
from runnelctl.core.losses import Known
from runnelctl.event import Event
from runnelctl.runtime import board as cells
from runnelctl.runtime import failures, sessions, suspicion, workload
from runnelctl.runtime.intake import Intake, mend
from runnelctl.runtime.ledger import Ledger
from runnelctl.runtime.parking import Parking
from runnelctl.store.leases import Session

if TYPE_CHECKING:
    from runnelctl.runtime.iterating import Iteration
    from runnelctl.runtime.slice import Slice

TURN_S = 0.010  # how long a lane may run before the others get a turn and the lease is looked at


class Lane:
    """One lease at work. The slice lends handler, reader and committer; everything else here is this partition's."""

    def __init__(self, slice_: Slice, unit: int, grant: int, session: Session) -> None:
        self.slice = slice_
        self.unit, self.grant = slice_.plan.units[unit], grant
        self.base, self.session = slice_.board.unit(unit), session
        self.source = workload.source(self.unit, slice_.codec)
        self.ledger = self.make_ledger(session)
        self.states = slice_.states_for(self.unit)
        self.context = slice_.context_for(self)
        self.intake = Intake(session.cursor, slice_.held)
        self.parking = Parking(self, session.parked)
        self.events_key = keys.events(slice_.topology.name, self.unit.stream, self.unit.partition).encode()
        self.check_at, self._rested = 0.0, False
        # The board's clock of an event may be as old as the last look around: little beside the timeout.
        self._turn_s = min(TURN_S, slice_.processor.timeout_ms / 20_000)
        # Up to these ordinals events run one by one: a batch died or failed, and its culprit is looked for.
        self.alone_until, self.last_try_until = session.alone_until, 0
        self.stopping = False  # finish what runs, commit, release
        self.resyncing = False  # start a new read session before anything else
        self.ended: int | None = None  # a board STATE_ once the lane is over
        self.batch_size, self.batch_within_s = slice_.batch_size, slice_.batch_within_s
        self.iteration: Iteration | None = None
        self.thread: ThreadPoolExecutor | None = None
        self.loop: asyncio.AbstractEventLoop
        self._nudge: asyncio.Future[None] | None = None

    def make_ledger(self, session: Session) -> Ledger:
        """The books that this kind of lane keeps."""
        return Ledger(self, session)

    @property
    def hungry(self) -> bool:
        """Whether the reader should ask for more."""
        return not (self.stopping or self.resyncing) and self.ended is None and self.intake.has_room

    @property
    def ahead(self) -> int:
        """How many events were read and are not done: a new read session reads them again."""
        return max(0, self.session.count + self.intake.total - self.ledger.done)

    def feed(self, entries: list[Any], event_bytes: float) -> None:
        """Take entries as Redis sent them; to be followed by a nudge."""
        self.intake.add(entries, event_bytes)

    # --- from outside -----------------------------------------------------------------------------------------

    def nudge(self) -> None:
        """Something changed that the drive may wait for."""
        if self._nudge is not None and not self._nudge.done():
            self._nudge.set_result(None)

    def stop(self) -> None:
        """Finish the event in the handler, commit, release."""
        self.stopping = True
        self.check_at = 0.0
        self.nudge()

    def resync(self) -> None:
        """The read connection broke, or history changed: drop what was prefetched and read anew from the cursor."""
        self.resyncing = True
        self.check_at = 0.0
        self.nudge()

    def end(self, state: int) -> None:
        """The lease is gone (STATE_LOST) or given up; nothing may be started or committed any more."""
        if self.ended is None:
            self.ended = state
            self.check_at = 0.0
            self.nudge()

    async def wait(self, seconds: float | None) -> None:
        """Sleep until a nudge, or for so many seconds."""
        future = self._nudge = self.loop.create_future()
        if self.stopping or self.resyncing or self.ended is not None:
            return
        if seconds is None:
            await future  # a fifth of the price
        else:
            await asyncio.wait((future,), timeout=seconds)
        # Much may have changed meanwhile: look around before anything else. The others had their turn.
        self.check_at, self._rested = 0.0, True

    # --- the drive --------------------------------------------------------------------------------------------

    async def drive(self) -> None:
        """Handle events until the lease is given up, lost, or blocked by the policy."""
        self.loop = asyncio.get_running_loop()  # asked for once: asking makes a system call
        try:
            sessions.stop_at_gap(self, self.session)
            while self.ended is None and not self.stopping:
                if self.resyncing:
                    await self.read_anew()
                else:
                    await self._turn()
            await self.finish()
            await self.ledger.close()
        finally:
            self.idle()
            if self.thread is not None:
                self.thread.shutdown(wait=False)

    async def _turn(self) -> None:
        if self.slice.trial.lane is self and await suspicion.conclude(self):
            return
        if self.parking.asked and await self.parking.replay():
            return
        if not self.intake.count:
            self.idle()
            await self.wait(None)
        elif run := await self._next_run():
            await self._handle(run)

    async def finish(self) -> None:
        """No more events are to be started: bring to an end what was."""
        self.idle()
        if self.iteration is not None:
            await self.iteration.finish()

    async def _next_run(self) -> list[Event]:
        """The next events to start: one batch, or all that is buffered within the commit bound. May be none."""
        slice_, ledger = self.slice, self.ledger
        room = slice_.commit_events - (ledger.done - ledger.committed)
        if room <= 0:
            self.idle()
            await ledger.progress()
            return []
        size = min(self.batch_size or (self.parking.run if self.parking.keys else room), room)
        if self.states.used:
            size = min(size, ledger.relieve_states())
        if ledger.done < self.session.suspect or ledger.done < self.alone_until or ledger.done < self.last_try_until:
            size = await suspicion.careful_size(self, size)
            if not size:
                return []
        if self.batch_size and 1 < size > self.intake.count:
            self.idle()
            await self._fill(size, self.batch_within_s)
            if self.stopping or self.resyncing or self.ended is not None:
                return []
        run = self._take(size)
        if self.parking.keys and not (run := self.parking.sift(run)):
            return []
        if self.states.used:
            self.idle()
            await slice_.load_states(self.states, run)
        return [] if self.ended is not None or self.resyncing else run

    def _take(self, size: int) -> list[Event]:
        session = self.session
        run = self.source.events(self.intake.take(size, gather=bool(self.batch_size)))
        if self.hungry:
            self.slice.reader.room_made(self)
        if session.suspect == self.ledger.done + 1:
            run[0].attempt = session.tries + 1
        elif self.ledger.done < self.last_try_until:
            run[0].attempt = self.slice.processor.retry.attempts
        if session.edit_id:
            mend(run, session.edit_id, session.edit)
        return run

    async def _fill(self, size: int, within_s: float) -> None:
        """Wait for a batch to fill, at most so long."""
        self.intake.want(size)
        if self.hungry:
            self.slice.reader.room_made(self)
        clock = self.loop.time  # the one that `wait` goes by
        until = clock() + within_s
        while self.intake.count < size and (left := until - clock()) > 0:
            await self.wait(left)
            if self.stopping or self.resyncing or self.ended is not None:
                return

    async def _handle(self, run: list[Event]) -> None:
        """Take a run to its end, or as far as this lease goes."""
        self.ledger.open_run(run)
        if suspicion.convicted(self):
            self.ledger.close_run(failures.settle_dead(self, run))
            await sessions.settle(self)
            return
        call, index = self.slice.call, 0
        while index < len(run) and self.ended is None:
            if monotonic() >= self.check_at and not await self.pause():
                break
            index, error = await call(self, run, index)
            if error is not None:
                index = await failures.settle(self, run, index, error)
                error.__traceback__ = None  # of a call that has it: a circle, which would keep the run for long
        self.ledger.close_run(index)

    async def pause(self) -> bool:
        """What is rare: is the lease still ours and fresh, is a commit overdue; then a turn for the other lanes.

        False: start no more events of this run.
        """
        slice_, ledger = self.slice, self.ledger
        q, d = slice_.board.q, slice_.board.d
        while True:
            if self.ended is not None or self.stopping or self.resyncing:
                return False
            if q[self.base + cells.U_GRANT] != self.grant or not q[self.base + cells.U_WANTED]:
                self.stop()
                return False
            now, deadline = monotonic(), d[cells.H_DEADLINE]
            if slice_.trial.bars(self):
                self.idle()
                await self.wait(None)
            elif now >= deadline:
                self.idle()
                await slice_.woken()
            elif ledger.dirty_since and (now - ledger.dirty_since >= slice_.commit_every_s or ledger.heavy):
                self.idle()
                await ledger.progress()
            else:
                break
        if self._rested:
            self._rested = False
        else:
            self.idle()  # another lane's handler may block the loop now, and that would be put down to our last event
            await asyncio.sleep(0)
            if self.ended is not None or self.stopping or self.resyncing:
                return False  # who said so put `check_at` back, and it must stay there
        self.check_at = min(monotonic() + self._turn_s, deadline)
        return True

    async def read_anew(self) -> None:
        """A new read session: settle what is done, then trust nothing but the own hash."""
        ledger, intake = self.ledger, self.intake
        read = ledger.done + self.ahead
        known = Known(ledger.committed, read, intake.fetched, self.session.added)
        intake.restart(intake.fetched)
        await sessions.settle(self)
        if self.ended is not None:
            return
        session = await sessions.read_again(self, known)
        if session.epoch != ledger.epoch or session.nonce != str(ledger.nonce):
            self.slice.log.warning("%s: the lease is gone (epoch %d now)", self.name, session.epoch)
            self.end(cells.STATE_LOST)
            return
        sessions.stop_at_gap(self, session)
        self.session = session
        self.states.clear()
        self.parking.restart(session.parked)
        ledger.restart(session)
        self.intake.restart(session.cursor)
        self.resyncing = False
        self.slice.reader.room_made(self)

    # --- the board --------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return f"{self.unit.processor}:{self.unit.partition}"

    def idle(self) -> None:
        """Nothing of this lane is in a handler: a death now is not this event's fault, and no timeout runs."""
        self.slice.board.d[self.base + cells.U_SINCE] = 0.0
        if self.slice.trial.lane is not None:
            self.slice.trial.quiet(self)

    def count(self, cell: int, by: int = 1) -> None:
        self.slice.board.q[self.base + cell] += by

    def observe(self, seconds: float, events: int = 1) -> None:
        """Put handler calls into the latency histogram."""
        bucket = min(cells.LATENCY_BUCKETS - 1, int(seconds * 1e6).bit_length())
        self.slice.board.q[self.base + cells.U_LATENCY + bucket] += events

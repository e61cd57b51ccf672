"""A slice: the only kind of process that runs handlers. It takes the leases that the keeper puts on the board for it,
runs a lane for each, and releases them when asked.
"""

from __future__ import annotations

import asyncio
import faulthandler
import functools
import logging
import os
import sys
from time import monotonic
from typing import Any

from runnelctl import errors
from runnelctl.core import keys, lifecycle
from runnelctl.core.model import Order
from runnelctl.core.plan import Unit
from runnelctl.event import Event
from runnelctl.records import Codec, codec_for
from runnelctl.runtime import board as cells
from runnelctl.runtime import calls, defects, loglines, processes, sessions, signals, workload
from runnelctl.runtime.committer import Committer
from runnelctl.runtime.context import Context, States
from runnelctl.runtime.host import Host
from runnelctl.runtime.intake import Held
from runnelctl.runtime.keyed import KeyedLane
from runnelctl.runtime.lane import Lane
from runnelctl.runtime.neighbours import Turn
from runnelctl.runtime.outage import Outage
from runnelctl.runtime.reader import Reader
from runnelctl.runtime.states import load as load_states
from runnelctl.runtime.suspicion import Trial
from runnelctl.store.leases import Session

CONNECT_S = 0.25


class Slice:
    """One slice process; `main` runs until it is told to leave. The attributes are what lanes use."""

    def __init__(self, host: Host, slot: int, incarnation: int) -> None:
        plan = host.plan
        self._host = host
        self.plan, self.board, self.endpoint, self.topology = plan, host.board, host.endpoint, plan.topology
        self.host = host.name
        self.slot = plan.slots[slot]
        self.incarnation = incarnation
        self.processor = plan.topology.processors[self.slot.processor]
        self.log = logging.getLogger("runnelctl")
        self.outage = Outage(self.log)
        self.lanes: dict[int, Lane] = {}
        self.codecs: dict[str, Codec] = {name: codec_for(stream) for name, stream in self.topology.streams.items()}
        self.codec = self.codecs[self.processor.stream]
        self.commit_events = self.processor.commit.events
        self.commit_every_s = self.processor.commit.every_ms / 1000
        self.batch_size = self.processor.batch.size if self.processor.batch else 0
        self.batch_within_s = self.processor.batch.within_ms / 1000 if self.processor.batch else 0.0
        self.committer = Committer(self, max(1_000, self.topology.lease_ttl_ms))
        self.held = Held()
        self.reader = Reader(self)
        self.trial = Trial(self, Turn(host))
        self._woken: asyncio.Future[None] | None = None
        self._leaving = False
        self._looks = self.board.q[cells.H_LOOKS]
        self._opening: set[int] = set()  # units whose first session is being read
        self._tasks: set[asyncio.Task[Any]] = set()
        self._gone = asyncio.Event()

    # --- life -------------------------------------------------------------------------------------------------

    async def main(self) -> None:
        """Import the handler, say ready, run lanes until told to leave and all are released."""
        # An import that hangs is killed for it: show where it hangs shortly before.
        faulthandler.dump_traceback_later(lifecycle.READY_LIMIT_S * 0.9)
        work = await self.load()
        faulthandler.cancel_dump_traceback_later()
        self.start(self.committer.main())
        self.start(self.reader.main())
        self.start(self.reader.ahead())
        # What it takes over need not wait for a connection. If Redis is away, that is no reason not to be ready.
        links = (self.committer.side, *self.reader.links)
        await asyncio.wait([self.start(link.get()) for link in links], timeout=CONNECT_S)
        asyncio.get_running_loop().add_reader(self._host.wakes[self.slot.index][0], self._look)
        self._beat()
        self.board.q[self._cell(cells.S_READY)] = self.incarnation
        signals.wake(self._host.keeper_wake[1])
        signals.wake(self._host.supervisor_wake[1])
        self._look()
        await self._gone.wait()
        await work.close()

    async def load(self) -> workload.Work:
        """Import the handler and open it. Raises HandlerError."""
        work = workload.load(self.topology, self.processor, self.codecs)
        self.use(work)
        self.board.q[self._cell(cells.S_LOADED)] = self.incarnation
        await work.open(self._open_context())
        return work

    def use(self, work: workload.Work) -> None:
        """Call this handler from now on."""
        self.handler, self.form, self.layers = work.handler, work.form, work.layers
        self.checked, self.matches = work.checked, work.matches
        self.call = calls.form_of(self.processor, work.form)

    def _cell(self, cell: int) -> int:
        return self.board.slot(self.slot.index) + cell

    def start(self, coroutine: Any) -> asyncio.Task[Any]:
        """Run a task of ours; if it fails, that is a defect here, and the process must not live on half dead."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            defects.die(self.log, error)

    def _beat(self) -> None:
        """Show on the board that the loop turns, and how large the process is."""
        self.board.d[self._cell(cells.S_BEAT)] = monotonic()
        rss = processes.resident_bytes()
        self.board.q[self._cell(cells.S_RSS)] = rss
        limit, most = self.processor.max_memory_bytes, self.processor.max_events
        if limit is not None and rss > limit:
            self._recycle(f"memory {rss >> 20} MiB is over max_memory {limit >> 20} MiB")
        elif most is not None and self._handled() >= most:
            self._recycle(f"{self._handled():,} events handled, max_events is {most:,}")
        asyncio.get_running_loop().call_later(self.topology.lease_ttl_ms / 4000, self._beat)

    def _handled(self) -> int:
        return sum(lane.ledger.committed - lane.session.count for lane in self.lanes.values())

    def _recycle(self, why: str) -> None:
        if not self._leaving:
            self.log.warning("%s: draining, to be replaced", why)
            self.board.q[self._cell(cells.S_RECYCLE)] = self.incarnation
            self._leaving = True
            self._look()

    # --- leases from the board --------------------------------------------------------------------------------

    def _look(self) -> None:
        """Something changed on the board, or may have: follow it."""
        signals.drain(self._host.wakes[self.slot.index][0])
        q = self.board.q
        if self.incarnation in (q[self._cell(cells.S_ASKED)], q[self._cell(cells.S_OUTDATED)]) and not self._leaving:
            self._recycle("asked to restart")
            return
        if self._looks != q[cells.H_LOOKS]:
            self._looks = q[cells.H_LOOKS]
            for each in self.lanes.values():
                each.resync()  # a read session brings what is parked and to be replayed
        leaving = self._leaving or bool(q[cells.H_STOPPING])
        for unit in self.plan.units_of(self.processor.name):
            base = self.board.unit(unit.index)
            grant, lane = q[base + cells.U_GRANT], self.lanes.get(unit.index)
            wanted = q[base + cells.U_WANTED] and not leaving
            mine = q[base + cells.U_SLOT] == self.slot.index and q[base + cells.U_FOR] == self.incarnation
            if lane is not None and (not mine or not wanted or lane.grant != grant):
                lane.stop()
            elif (
                lane is None
                and mine
                and not leaving  # but also one that is not wanted any more by now: somebody has to let it go
                and q[base + cells.U_HELD]
                and unit.index not in self._opening
                and q[base + cells.U_TAKEN] != grant
            ):
                q[base + cells.U_TAKEN] = grant
                q[base + cells.U_STATE] = cells.STATE_NONE
                self._opening.add(unit.index)
                self.start(self._run_lane(unit, grant))
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)
        if leaving and not self.lanes and not self._opening:
            self._gone.set()

    async def woken(self) -> None:
        """Wait until somebody changes the board."""
        if self._woken is None or self._woken.done():
            self._woken = asyncio.get_running_loop().create_future()
        await self._woken

    async def _run_lane(self, unit: Unit, grant: int) -> None:
        """One lease from its first read session to its release."""
        base = self.board.unit(unit.index)
        looks = self._looks
        session = await sessions.read(self, unit)
        self._opening.discard(unit.index)
        if session.nonce != str(self.board.q[base + cells.U_NONCE]) or self.board.q[base + cells.U_GRANT] != grant:
            self._lane_over(unit, grant, cells.STATE_LOST)
            return
        lane = self.lanes[unit.index] = self.lane_type(session)(self, unit.index, grant, session)
        if looks != self._looks:  # somebody wants a replay that this session may not know of
            lane.resync()
        self.board.q[base + cells.U_STATE] = cells.STATE_RUNNING
        self._look()  # it may have been asked back since
        self.reader.room_made(lane)
        await lane.drive()
        lane.ledger.resolve_ended()
        lane.intake.restart(lane.intake.fetched)  # what it has left waits for nobody
        del self.lanes[unit.index]
        self.trial.over(lane)
        assert lane.ended is not None
        self._lane_over(unit, grant, lane.ended)

    def lane_type(self, session: Session) -> type[Lane]:
        """Keys may run side by side if they are to, or if they did and what is done has gaps."""
        keyed = self.processor.order is Order.KEY or bool(session.above)
        if keyed and self.form.kind == "events":
            self.log.warning("%d event(s) were done out of turn and are handled again", len(session.above))
            return Lane
        return KeyedLane if keyed else Lane

    def _lane_over(self, unit: Unit, grant: int, state: int) -> None:
        q, base = self.board.q, self.board.unit(unit.index)
        if q[base + cells.U_TAKEN] == grant:
            q[base + cells.U_STATE] = state
        signals.wake(self._host.keeper_wake[1])
        asyncio.get_running_loop().call_soon(self._look)

    # --- what lanes use ---------------------------------------------------------------------------------------

    async def load_states(self, states: States, run: list[Event]) -> None:
        """Read the states that a run will need, in one command."""
        try:
            wanted = {event.key for event in run}
        except (errors.RecordError, UnicodeError):  # one of them is too broken to have a key
            wanted = {key for event in run if (key := workload.key_or_none(event)) is not None}
        await load_states(self.committer.side, states, wanted)

    def states_for(self, unit: Unit) -> States:
        # A bound method of the prefix: the key comes last, and this is asked for per event.
        name = keys.state(self.topology.name, unit.stream, unit.partition, unit.processor, "").__add__
        fetch = functools.partial(workload.fetch_now, self.endpoint)
        states = States(name, fetch, self.processor.state_ttl_ms)
        states.used = workload.mentions_state(self.handler)
        return states

    def context_for(self, lane: Lane) -> Context:
        return self._context(lane.unit.partition, lane.session.epoch, lane.states)

    def _open_context(self) -> Context:
        """What `open` gets: no partition, no event; it can log."""
        return self._context(-1, 0, States(str, lambda _: None))

    def _context(self, partition: int, epoch: int, states: States) -> Context:
        log = logging.getLogger(f"runnelctl.handler.{self.processor.name}")
        return Context(
            topology=self.topology.name,
            processor=self.processor.name,
            partition=partition,
            epoch=epoch,
            log=logging.LoggerAdapter(log, {"partition": partition}),
            codecs=self.codecs,
            capacities={name: stream.capacity for name, stream in self.topology.streams.items()},
            states=states,
        )


def run(host: Host, slot: int, incarnation: int) -> int:
    """The body of a slice process; returns its exit code."""
    loglines.configure(host.plan.topology.log)
    faulthandler.enable()  # a SIGSEGV says where the handler was
    log = logging.getLogger("runnelctl.slice")
    with asyncio.Runner(loop_factory=functools.partial(defects.watched, log)) as runner:
        try:
            runner.run(Slice(host, slot, incarnation).main())
        except errors.HandlerError as error:
            workload.explain(error)
            code = errors.EXIT_HANDLER
        else:
            code = errors.EXIT_OK
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # a handler's own threads must not keep a slice that has released everything

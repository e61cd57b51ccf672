"""A processor on stage: real slice, lanes, ledgers, contexts and board in this process, with `Memory` for Redis."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from time import monotonic

from runnelctl.core import keys
from runnelctl.core.plan import Plan, Unit
from runnelctl.event import Event
from runnelctl.runtime import board as cells
from runnelctl.runtime import workload
from runnelctl.runtime.board import Board, Shape
from runnelctl.runtime.context import States
from runnelctl.runtime.host import Host
from runnelctl.runtime.lane import Lane
from runnelctl.runtime.slice import Slice
from runnelctl.store import endpoint
from runnelctl.store.leases import Session
from runnelctl.store.parking import Lot
from runnelctl.store.wire import encoded
from runnelctl.testing.memory import Memory, Own

NONCE = 1
FED_AT_ONCE = 1_000
EVENT_BYTES = 256.0


class _Committer:
    """In place of the runtime's: each commit is done as soon as the loop gets to it."""

    def __init__(self, memory: Memory, changed: Callable[[], None]) -> None:
        self._memory, self._changed = memory, changed
        self.side = self  # what the runtime's committer lends for other commands, and the connection that it gives
        self._due: set[Lane] = set()

    async def get(self) -> _Committer:
        return self

    async def call(self, command: str, name: str, first: int, last: int) -> list[bytes]:
        assert command == "LRANGE"
        return self._memory.lists.get(encoded(name), [])[first : last + 1]

    def wake(self, lane: Lane) -> None:
        if lane not in self._due:
            self._due.add(lane)
            asyncio.get_running_loop().call_soon(self._commit, lane)

    def _commit(self, lane: Lane) -> None:
        self._due.discard(lane)
        if lane.ended is not None:
            lane.ledger.resolve_ended()
        elif (commit := lane.ledger.next_commit()) is not None:
            lane.ledger.outcome(self._memory.commit(commit))
            if lane.ended is None and lane.ledger.unsettled:
                self.wake(lane)
        self._changed()


class _Reader:
    """In place of the runtime's: what a lane has room for is there at once."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def room_made(self, lane: Lane) -> None:
        asyncio.get_running_loop().call_soon(self.feed, lane)

    def feed(self, lane: Lane) -> None:
        if lane.hungry and (entries := self._memory.after(lane.events_key, lane.intake.fetched)[:FED_AT_ONCE]):
            lane.feed([[event_id, list(fields)] for event_id, fields in entries], EVENT_BYTES)
            lane.nudge()


class _Slice(Slice):
    def __init__(self, host: Host, slot: int, memory: Memory, changed: Callable[[], None]) -> None:
        super().__init__(host, slot, 1)
        self.memory = memory
        self.committer = _Committer(memory, changed)  # type: ignore[assignment]
        self.reader = _Reader(memory)  # type: ignore[assignment]

    async def load_states(self, states: States, run: list[Event]) -> None:
        for key in states.missing({key for event in run if (key := workload.key_or_none(event)) is not None}):
            states.fill(key, self.memory.states.get(encoded(states.redis_key(key))))

    def states_for(self, unit: Unit) -> States:
        states = super().states_for(unit)
        states._fetch = lambda name: self.memory.states.get(encoded(name))
        return states

    def own(self, unit: Unit) -> Own:
        return self.memory.own(keys.own(self.topology.name, unit.stream, unit.partition, unit.processor))


def session(own: Own) -> Session:
    """What a lane reads of its own hash before it begins."""
    return Session(
        epoch=own.epoch, nonce=str(NONCE), cursor=own.cursor, count=own.count, seq=own.seq, tries=0, suspect=0,
        alone_until=0, sure=False, death="", edit_id=own.edit_id, edit=own.edit, lost=0,
        parked=Lot(frozenset(own.parked), tuple(own.asked)), added=own.count,
        above=frozenset(own.above.split()),
    )  # fmt: skip


def host_of(plan: Plan) -> Host:
    """A host that is this process."""
    board = Board(Shape(len(plan.slots), len(plan.units)))
    board.d[cells.H_DEADLINE] = math.inf
    return Host(
        plan=plan, endpoint=endpoint.unix("/nowhere"), member="test:0:0", board=board, directory="", wakes={},
        drain=False, digest="", embedded_root=None,
    )  # fmt: skip


class Stage:
    """One processor. `changed` is called whenever something was committed or a lane has ended."""

    def __init__(self, host: Host, processor: str, memory: Memory, changed: Callable[[], None]) -> None:
        slot = host.plan.slots_of(processor)[0]
        self.units = host.plan.units_of(processor)
        self.slice = _Slice(host, slot.index, memory, changed)
        self.processor = self.slice.processor
        self.halted = False
        self.failure: BaseException | None = None  # of ours, not of a handler
        self._memory, self._changed = memory, changed
        self._work: workload.Work | None = None
        self._driving: dict[int, asyncio.Task[None]] = {}
        self._seen: dict[int, tuple[int, float]] = {}  # unit -> the call in flight, and what had been skipped then

    async def start(self) -> None:
        """Import the handler if that was not done, and run every partition that may run. Raises HandlerError."""
        if self._work is None:
            self._work = await self.slice.load()
        for unit in self.units:
            if not self.halted and unit.index not in self._driving and not self.slice.own(unit).block:
                self._run(unit)
        for lane in self.slice.lanes.values():
            self.slice.reader.feed(lane)  # type: ignore[attr-defined]

    def _run(self, unit: Unit) -> None:
        own, base, q = self.slice.own(unit), self.slice.board.unit(unit.index), self.slice.board.q
        own.epoch, own.seq = own.epoch + 1, 0
        q[base + cells.U_GRANT] = q[base + cells.U_WANTED] = 1
        at = session(own)
        lane = self.slice.lanes[unit.index] = self.slice.lane_type(at)(self.slice, unit.index, 1, at)
        task = asyncio.get_running_loop().create_task(lane.drive())
        self._driving[unit.index] = task
        task.add_done_callback(lambda task: self._over(lane, task))

    def _over(self, lane: Lane, task: asyncio.Task[None]) -> None:
        lane.ledger.resolve_ended()
        self.slice.trial.over(lane)
        del self._driving[lane.unit.index], self.slice.lanes[lane.unit.index]
        if not task.cancelled() and task.exception() is not None:
            self.failure = task.exception()
        if lane.ended == cells.STATE_HALTED:
            self.halted = True
            for other in self.slice.lanes.values():
                other.stop()
        self._changed()

    @property
    def idle(self) -> bool:
        """Whether every event is passed, but for those of partitions that are blocked."""
        if self.halted:
            return not self._driving
        return all(unit.index not in self._driving or self._is_passed(unit) for unit in self.units)

    def _is_passed(self, unit: Unit) -> bool:
        lane = self.slice.lanes[unit.index]
        if lane.ended is not None or lane.parking.asked or lane.ledger.unsettled:
            return False
        return lane.ledger.committed == len(self._memory.streams.get(lane.events_key, ()))

    def replay_key(self, key: str) -> bool:
        """Have a parked key replayed; False if it is not parked."""
        for unit in self.units:
            own = self.slice.own(unit)
            if key in own.parked:
                own.asked[key] = None
                if (lane := self.slice.lanes.get(unit.index)) is not None:
                    lane.parking.asked[key] = None
                    lane.nudge()
                return True
        return False

    def late(self, skipped_s: float) -> str | None:
        """The sentence for a handler that is over its timeout, of virtual time; None if none is."""
        timeout_s = self.processor.timeout_ms / 1000
        for index, lane in self.slice.lanes.items():
            since = self.slice.board.d[lane.base + cells.U_SINCE]
            call = self.slice.board.q[lane.base + cells.U_STARTED]
            if not since:
                self._seen.pop(index, None)
                continue
            seen, at_s = self._seen.setdefault(index, (call, skipped_s))
            if seen != call:
                self._seen[index] = (call, skipped_s)
            elif skipped_s - at_s + monotonic() - since > timeout_s:
                return f"{lane.name}: the handler runs longer than its timeout of {timeout_s:g} s"
        return None

    def in_handler(self) -> str:
        """The partitions with an event in the handler, for a message."""
        d, q = self.slice.board.d, self.slice.board.q
        busy = [lane for lane in self.slice.lanes.values() if d[lane.base + cells.U_SINCE]]
        return ", ".join(f"{lane.name} at event number {q[lane.base + cells.U_STARTED]}" for lane in busy)

    async def close(self) -> None:
        """Drain: iterators end, leases are released, the handler is closed."""
        for lane in [*self.slice.lanes.values()]:
            lane.stop()
        if self._driving:
            await asyncio.wait([*self._driving.values()])
        if self._work is not None:
            await self._work.close()

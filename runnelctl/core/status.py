"""What `status` shows: every host and every partition, judged from one reading of Redis.

A partition's state, the worst that holds:

halted       its processor halted, here or by another partition
quarantined  the policy stopped this partition
unowned      nobody has it, or whoever has it is no member any more or has not beaten for a ttl
stuck        it has an owner and unread events, but does not move: no process behind its slice, the slice's loop has
             stood still for two ttls outside a handler, or an event is in the handler beyond the timeout
paused       an operator paused it; nobody has it then, or lets go of it in a moment
running      else, also while the handler of a failed event waits for its next attempt, and while keys are parked
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runnelctl.core import latency, pauses, taskstatus
from runnelctl.core.model import Policy, Processor, Start, Topology
from runnelctl.core.pauses import is_paused
from runnelctl.core.reading import Own, Reading, Record, Report, SlotReport, TotalReport, UnitReport
from runnelctl.core.taskstatus import TaskStatus

MESSAGE_SHOWN = 300  # characters of an error in one line; the whole one is in its record
RATE_WINDOW_MS = 900  # readings closer to each other say too little about a rate


class State(enum.Enum):
    """Of a partition or a processor, worst first."""

    HALTED = "halted"
    QUARANTINED = "quarantined"
    UNOWNED = "unowned"
    STUCK = "stuck"
    PAUSED = "paused"
    RUNNING = "running"

    @property
    def rank(self) -> int:
        """0 is the worst."""
        return _RANKS[self]

    @property
    def is_problem(self) -> bool:
        """Whether `status --check` fails over it."""
        return self not in (State.PAUSED, State.RUNNING)


_RANKS = {state: rank for rank, state in enumerate(State)}


@dataclass(frozen=True, slots=True)
class HostStatus:
    """One `up`. `beating`: its last beat is younger than the ttl."""

    host: str
    pid: int
    beat_age_ms: int
    slices: int
    beating: bool
    stopping: bool


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One processor in one partition. `host`, `pid` and `slice` are those of the owner that Redis names, even if it is
    dead. `processed`, `failed`, `p99_ms`, and `lost` and `undone` by a failover, count since the `up` of the hosts that
    there are; `why` says what is wrong."""

    processor: str
    partition: int
    state: State
    host: str | None
    pid: int | None
    slice: str | None
    epoch: int | None
    cursor: str
    lag: int
    lag_ms: int
    processed: int
    failed: int
    rate: float
    p99_ms: float | None
    restarts: int
    parked_keys: int
    parked_events: int
    error: Record | None
    why: str
    lost: int = 0
    undone: int = 0


@dataclass(frozen=True, slots=True)
class ProcessorStatus:
    """A processor: its state is the worst of its partitions'."""

    name: str
    policy: Policy
    state: State
    partitions: tuple[PartitionStatus, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The topology at one moment of the server's clock."""

    server_ms: int
    hosts: tuple[HostStatus, ...]
    processors: tuple[ProcessorStatus, ...]
    tasks: tuple[TaskStatus, ...] = ()

    @property
    def partitions(self) -> list[PartitionStatus]:
        """All of them, in the order of the file."""
        return [partition for processor in self.processors for partition in processor.partitions]

    @property
    def is_up(self) -> bool:
        """Whether any host beats."""
        return any(host.beating for host in self.hosts)


def judge(topology: Topology, reading: Reading, before: Reading | None = None) -> Snapshot:
    """The snapshot of `reading`. Rates are counted from `before`, an earlier reading, else as the hosts report them."""
    judge_one = _Judge(topology, reading, before)
    processors = []
    for processor in topology.processors.values():
        numbers = range(topology.streams[processor.stream].partitions)
        partitions = tuple(judge_one.partition(processor, number) for number in numbers)
        worst = min((each.state for each in partitions), key=lambda state: state.rank)
        processors.append(ProcessorStatus(processor.name, processor.policy, worst, partitions))
    tasks = taskstatus.judge(topology.tasks.values(), reading, judge_one.beating)
    return Snapshot(reading.server_ms, judge_one.hosts(), tuple(processors), tasks)


class _Judge:
    """One reading, with what the hosts reported found by partition."""

    def __init__(self, topology: Topology, reading: Reading, before: Reading | None) -> None:
        self._ttl_ms = topology.lease_ttl_ms
        self._reading = reading
        self._ages = {member: max(0, reading.server_ms - beat) for member, beat in reading.beats.items()}
        self.beating = {member for member, age_ms in self._ages.items() if age_ms <= self._ttl_ms}
        self._before = before
        self._units: dict[tuple[str, str, int], UnitReport] = {}
        self._slots: dict[tuple[str, str], SlotReport] = {}
        self._totals: dict[tuple[str, int], list[tuple[str, TotalReport]]] = {}
        for member, report in reading.reports.items():
            self._slots |= {(member, slot.slice): slot for slot in report.slots}
            self._units |= {(member, unit.processor, unit.partition): unit for unit in report.units}
            for total in report.totals:
                self._totals.setdefault((total.processor, total.partition), []).append((member, total))

    def hosts(self) -> tuple[HostStatus, ...]:
        found = []
        for member, age_ms in self._ages.items():
            report = self._reading.reports.get(member, Report())
            name, pid = host_of(member), member.rsplit(":", 2)[-2:-1]
            number = report.pid or (int(pid[0]) if pid and pid[0].isdigit() else 0)
            beats = member in self.beating
            found.append(HostStatus(name, number, age_ms, len(report.slots), beats, report.stopping))
        return tuple(sorted(found, key=lambda host: host.host))

    def partition(self, processor: Processor, number: int) -> PartitionStatus:
        own = self._reading.units.get((processor.name, number), Own())
        cursor, lag = position(own, processor.start)
        member, slice_number = own.owner.rpartition("/")[::2]
        name = f"{processor.name}.{slice_number}" if member else ""
        unit = self._units.get((member, processor.name, number), UnitReport(processor.name, number))
        slot = self._slots.get((member, name))
        state, why = self._state(processor, number, own, unit, slot, lag)
        totals = self._totals.get((processor.name, number), [])
        return PartitionStatus(
            processor=processor.name,
            partition=number,
            state=state,
            host=host_of(member) if member else None,
            pid=(slot.pid if slot is not None else unit.pid) or None,
            slice=name or None,
            epoch=own.epoch,
            cursor=cursor,
            lag=lag,
            lag_ms=max(0, self._reading.server_ms - own.unread_ms) if lag and own.unread_ms is not None else 0,
            processed=sum(total.processed for _, total in totals),
            failed=sum(total.failed for _, total in totals),
            lost=sum(total.lost for _, total in totals),
            undone=sum(total.undone for _, total in totals),
            rate=self._rate(processor.name, number, own, totals),
            p99_ms=latency.percentile_ms(latency.merged(total.latency for _, total in totals), 0.99),
            restarts=slot.restarts if slot is not None else unit.restarts,
            parked_keys=own.parked_keys,
            parked_events=own.parked_events,
            error=self._error(processor.name, own),
            why=why,
        )

    def _state(
        self, processor: Processor, number: int, own: Own, unit: UnitReport, slot: SlotReport | None, lag: int
    ) -> tuple[State, str]:
        """The state of a partition, and what is wrong with it."""
        if own.block is not None:
            return blocked_state(own.block), headline(own.block)
        halt = self._reading.halted.get(processor.name)
        if halt is not None:
            blamed = halt.get("partition")
            return State.HALTED, headline(halt) if blamed is None else f"halted by partition {blamed}"
        if is_paused(self._reading.paused, processor.name, number):
            return State.PAUSED, self._pause(processor.name, number)
        member = own.owner.rpartition("/")[0]
        if not member:
            return State.UNOWNED, "no host has it"
        if member not in self._ages:
            return State.UNOWNED, f"{host_of(member)} is gone"
        if member not in self.beating:
            return State.UNOWNED, f"{host_of(member)} is silent for {self._ages[member] / 1000:.0f} s"
        why = self._hindrance(processor, unit, slot) if lag else ""
        return (State.STUCK, why) if why else (State.RUNNING, parked(own))

    def _pause(self, name: str, number: int) -> str:
        """Who paused it and why."""
        paused = self._reading.paused
        return printable(pauses.headline(paused.get(name) or paused.get(pauses.field(name, number), {})))

    def _hindrance(self, processor: Processor, unit: UnitReport, slot: SlotReport | None) -> str:
        """Why an owned partition with unread events does not move; empty if it does, as far as can be seen."""
        if slot is not None and not slot.pid:
            return f"slice {slot.slice} is dead or restarting ({slot.restarts} restarts)"
        if unit.busy_ms > processor.timeout_ms:
            return (
                f"an event is in the handler for {unit.busy_ms / 1000:.0f} s, timeout {processor.timeout_ms / 1000:g} s"
            )
        if unit.silent_ms > 2 * self._ttl_ms and not unit.busy_ms:
            return f"slice {unit.slice} is silent for {unit.silent_ms / 1000:.0f} s"
        return ""

    def _rate(self, name: str, number: int, own: Own, totals: Sequence[tuple[str, TotalReport]]) -> float:
        """Events per second."""
        before = self._before
        if before is not None and self._reading.server_ms - before.server_ms >= RATE_WINDOW_MS:
            earlier = before.units.get((name, number))
            if earlier is not None and earlier.cursor is not None:
                return max(0.0, (own.count - earlier.count) / (self._reading.server_ms - before.server_ms) * 1000)
        # A host that stopped beating reports its last rate for ever.
        return sum((total.rate for member, total in totals if member in self.beating), 0.0)

    def _error(self, processor: str, own: Own) -> Record | None:
        """The record that blocks the partition, or its processor when no partition is to blame; else that of the key
        which was parked first."""
        halt = self._reading.halted.get(processor)
        if own.block is None and halt is not None and halt.get("partition") is None:
            return halt
        return own.block if own.block is not None else own.parked


def host_of(member: str) -> str:
    """`host:pid`, as shown, of a member `host:pid:suffix`."""
    return member.rsplit(":", 1)[0]


def position(own: Own, start: Start) -> tuple[str, int]:
    """The cursor, and how many events wait behind it. Never owned, it stands where its first owner will begin."""
    if own.cursor is not None:
        return own.cursor, max(0, own.added - own.count)
    return ("0-0", own.length) if start is Start.EARLIEST else (own.last, 0)


def parked(own: Own) -> str:
    """What a partition has parked, and why; empty for nothing."""
    if not own.parked_keys:
        return ""
    keys = f"{own.parked_keys:,} key{'s' * (own.parked_keys != 1)} parked ({own.parked_events:,} events)"
    return f"{keys}: {headline(own.parked)}" if own.parked else keys


def blocked_state(record: Mapping[str, object]) -> State:
    """The state that a failure record puts its partition into."""
    states = {"halted": State.HALTED, "paused": State.PAUSED}
    return states.get(str(record.get("state")), State.QUARANTINED)


def headline(record: Mapping[str, object]) -> str:
    """A failure record in one line that a terminal may see: the reason, which counts, before the event's id."""
    message = printable(" ".join(str(record.get("message") or "").split()))
    if len(message) > MESSAGE_SHOWN:
        message = message[: MESSAGE_SHOWN - 1] + "…"
    kind = printable(str(record.get("type") or ""))
    event = f" (event {printable(str(record['event']))})" if record.get("event") else ""
    return (f"{kind}: {message}" if kind and message else kind or message or "no reason was recorded") + event


def printable(text: str) -> str:
    """`text` without what would move a terminal's cursor or change its colours."""
    return (
        text
        if text.isprintable()
        else "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    )

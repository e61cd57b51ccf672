"""What a topology means on one host: its slots (one per slice process) and its units (one per processor and partition).

The numbers are the same in every process of a host, since all of them get the same frozen plan.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from runnelctl.core.model import Processor, Stream, Task, Topology


@dataclass(frozen=True, slots=True)
class Unit:
    """One processor in one partition: what a lease is for."""

    index: int
    processor: str
    stream: str
    partition: int
    retired: bool = False


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one slice process, or of the one that runs the tasks: that has no processor. `name` is what logs
    and status call it, as `billing.0`."""

    index: int
    processor: str
    number: int
    retired: bool = False

    @property
    def runs_tasks(self) -> bool:
        return not self.processor

    @property
    def name(self) -> str:
        return "tasks" if self.runs_tasks else f"{self.processor}.{self.number}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Slots and units of one host, and its tasks, in the order of the topology file. `tasks_slot` is there if there are
    tasks.

    A partial plan has some partitions only. Such a host takes what it came for and competes for nothing else: it shows
    no capacity, so that the others count without it and wait for what it holds.

    An index is a place on the board, and keeps its meaning when the file is reloaded (see `replan`): what is gone stays
    in its place, retired. `gone`: the processors that are in no file any more, as long as something of them is there.
    """

    topology: Topology
    slots: tuple[Slot, ...]
    units: tuple[Unit, ...]
    partial: bool = False
    tasks: tuple[Task, ...] = ()
    tasks_slot: Slot | None = None
    gone: Mapping[str, Processor] = field(default_factory=dict)
    gone_tasks: frozenset[int] = frozenset()  # indices of tasks that are in no file any more, or run at other times now

    @property
    def places(self) -> tuple[Slot, ...]:
        """All slots: those of slices, and that of the tasks."""
        present = len(self.tasks) > len(self.gone_tasks)
        return (*self.slots, self.tasks_slot) if self.tasks_slot is not None and present else self.slots

    def processor(self, of: Unit | Slot) -> Processor:
        found = self.topology.processors.get(of.processor)
        return self.gone[of.processor] if found is None else found

    def stream(self, unit: Unit) -> Stream:
        return self.topology.streams[unit.stream]

    def slots_of(self, processor: str) -> tuple[Slot, ...]:
        return tuple(slot for slot in self.slots if slot.processor == processor and not slot.retired)

    def units_of(self, processor: str) -> tuple[Unit, ...]:
        return tuple(unit for unit in self.units if unit.processor == processor and not unit.retired)

    @property
    def processors(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(slot.processor for slot in self.slots if not slot.retired))


#: Slots that a reload may add; the place of the tasks process lies behind them. Of units and tasks it may add more.
ROOM = 256


def plan(
    topology: Topology,
    only: Collection[str] | None = None,
    partitions: Mapping[str, Collection[int]] | None = None,
) -> Plan:
    """The plan of a host that runs all processors and tasks, or just those named in `only`; a partial one that has just
    these partitions of processors if `partitions` is given."""
    slots: list[Slot] = []
    units: list[Unit] = []
    for processor in topology.processors.values():
        if only is not None and processor.name not in only:
            continue
        every = range(topology.streams[processor.stream].partitions)
        chosen = every if partitions is None else sorted(partitions[processor.name])
        for number in range(processor.processes if partitions is None else min(processor.processes, len(chosen))):
            slots.append(Slot(len(slots), processor.name, number))
        for partition in chosen:
            units.append(Unit(len(units), processor.name, processor.stream, partition))
    tasks = tuple(
        task for task in topology.tasks.values() if partitions is None and (only is None or task.name in only)
    )
    return Plan(
        topology, tuple(slots), tuple(units), partial=partitions is not None,
        tasks=tasks, tasks_slot=Slot(len(slots) + ROOM, "", 0),
    )  # fmt: skip


def replan(old: Plan, topology: Topology, only: Collection[str] | None) -> Plan:
    """The plan after a reload: what was there before keeps its index, what is new comes behind, what is gone is
    retired. A task that is due at other times than before counts as another one: its ticks are."""
    fresh = plan(topology, only)
    slots = _merged(old.slots, fresh.slots, lambda slot: (slot.processor, slot.number))
    units = _merged(old.units, fresh.units, lambda unit: (unit.processor, unit.stream, unit.partition))
    gone = {**old.gone, **old.topology.processors}
    tasks = {_ticks(task): task for task in fresh.tasks}
    at = {_ticks(task): number for number, task in enumerate(old.tasks)}  # the last one where several were alike
    kept_tasks = [tasks.pop(_ticks(task), task) if at[_ticks(task)] == n else task for n, task in enumerate(old.tasks)]
    present = {id(task) for task in fresh.tasks}
    return replace(
        fresh, slots=slots, units=units, tasks_slot=old.tasks_slot, tasks=(*kept_tasks, *tasks.values()),
        gone_tasks=frozenset(number for number, task in enumerate(kept_tasks) if id(task) not in present),
        gone={name: about for name, about in gone.items() if name not in topology.processors},
    )  # fmt: skip


def _ticks(task: Task) -> object:
    """What decides when a task is due, and by which clock."""
    return task.name, task.on_start, task.every_ms, task.cron, task.timezone, task.leader


def _merged(old: Sequence[Any], fresh: Sequence[Any], identity: Callable[[Any], object]) -> tuple[Any, ...]:
    """Slots or units: the old ones in their places, and what is new of the fresh ones behind them."""
    wanted, known = {identity(each) for each in fresh}, {identity(each) for each in old}
    kept = [replace(each, retired=identity(each) not in wanted) for each in old]
    added = [each for each in fresh if identity(each) not in known]
    return (*kept, *(replace(each, index=len(kept) + at) for at, each in enumerate(added)))

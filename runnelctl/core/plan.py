"""What a topology means on one host: its slots (one per slice process) and its units (one per processor and partition).

The numbers are the same in every process of a host, since all of them get the same frozen plan.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from runnelctl.core.model import Processor, Stream, Task, Topology


@dataclass(frozen=True, slots=True)
class Unit:
    """One processor in one partition: what a lease is for."""

    index: int
    processor: str
    stream: str
    partition: int


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one slice process, or of the one that runs the tasks: that has no processor. `name` is what logs
    and status call it, as `billing.0`."""

    index: int
    processor: str
    number: int

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
    """

    topology: Topology
    slots: tuple[Slot, ...]
    units: tuple[Unit, ...]
    partial: bool = False
    tasks: tuple[Task, ...] = ()
    tasks_slot: Slot | None = None

    @property
    def places(self) -> tuple[Slot, ...]:
        """All slots: those of slices, and that of the tasks."""
        return self.slots if self.tasks_slot is None else (*self.slots, self.tasks_slot)

    def processor(self, of: Unit | Slot) -> Processor:
        return self.topology.processors[of.processor]

    def stream(self, unit: Unit) -> Stream:
        return self.topology.streams[unit.stream]

    def slots_of(self, processor: str) -> tuple[Slot, ...]:
        return tuple(slot for slot in self.slots if slot.processor == processor)

    def units_of(self, processor: str) -> tuple[Unit, ...]:
        return tuple(unit for unit in self.units if unit.processor == processor)

    @property
    def processors(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(slot.processor for slot in self.slots))


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
        tasks=tasks, tasks_slot=Slot(len(slots), "", 0) if tasks else None,
    )  # fmt: skip

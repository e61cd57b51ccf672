"""What a topology means on one host: its slots (one per slice process) and its units (one per processor and partition).

The numbers are the same in every process of a host, since all of them get the same frozen plan.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from runnelctl.core.model import Processor, Stream, Topology


@dataclass(frozen=True, slots=True)
class Unit:
    """One processor in one partition: what a lease is for."""

    index: int
    processor: str
    stream: str
    partition: int


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one slice process. `name` is what logs and status call it, as `billing.0`."""

    index: int
    processor: str
    number: int

    @property
    def name(self) -> str:
        return f"{self.processor}.{self.number}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Slots and units of one host, in the order of the topology file.

    A partial plan has some partitions only. Such a host takes what it came for and competes for nothing else: it shows
    no capacity, so that the others count without it and wait for what it holds.
    """

    topology: Topology
    slots: tuple[Slot, ...]
    units: tuple[Unit, ...]
    partial: bool = False

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
    """The plan of a host that runs all processors, or just those named in `only`; a partial one that has just these
    partitions of them if `partitions` is given."""
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
    return Plan(topology, tuple(slots), tuple(units), partial=partitions is not None)

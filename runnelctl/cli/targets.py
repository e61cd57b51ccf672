"""`PROCESSOR[:PARTITION]` as a user writes it."""

from __future__ import annotations

from dataclasses import dataclass

from runnelctl import errors
from runnelctl.client.reads import declared_processor
from runnelctl.core.model import Processor, Topology


@dataclass(frozen=True, slots=True)
class Target:
    """A processor, and the one partition that is meant; None for all of them."""

    processor: Processor
    partition: int | None
    partitions: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.processor.name if self.partition is None else f"{self.processor.name}:{self.partition}"


def parse(of: Topology, text: str) -> Target:
    """Raises UsageError for a processor or a partition that there is not."""
    name, colon, number = text.partition(":")
    processor = declared_processor(of, name)
    partitions = of.streams[processor.stream].partitions
    if not colon:
        return Target(processor, None, tuple(range(partitions)))
    if not (number.isascii() and number.isdigit() and int(number) < partitions):
        raise errors.UsageError(f"{name} has no partition {number!r}: it has 0 to {partitions - 1}")
    return Target(processor, int(number), (int(number),))

"""What `status --check` complains about: one line per problem, few enough for a health check's log."""

from __future__ import annotations

from collections.abc import Iterable

from runnelctl.core.status import PartitionStatus, ProcessorStatus, Snapshot, State


def problems(snapshot: Snapshot) -> list[str]:
    """A line for each partition that is quarantined or has keys parked, and one for all partitions of a processor with
    the same other trouble."""
    lines: list[tuple[int, bool, str]] = []
    for processor in snapshot.processors:
        groups: dict[tuple[State, str], list[PartitionStatus]] = {}
        for partition in processor.partitions:
            if partition.state.is_problem or partition.parked_keys:
                groups.setdefault((partition.state, _cause(partition)), []).append(partition)
        for (state, _), group in groups.items():
            # A partition that a processor halted for comes before those that only share its fate.
            lines.append((state.rank, group[0].error is None, _line(processor, state, group)))
    return [line for _, _, line in sorted(lines, key=lambda line: line[:2])]


def _cause(partition: PartitionStatus) -> str:
    """What partitions must have in common to share a line."""
    if partition.state is State.QUARANTINED or partition.parked_keys:
        return f"{partition.partition}: {partition.why}"
    return partition.why


def _line(processor: ProcessorStatus, state: State, group: list[PartitionStatus]) -> str:
    why = group[0].why
    behind = sum(each.lag for each in group)
    waiting = f"; {behind:,} waiting" if behind else ""
    parked = sum(each.parked_keys for each in group) if state is not State.RUNNING else 0
    keys = f"; {parked:,} key{'s' * (parked != 1)} parked" if parked else ""
    return f"{processor.name}:{ranges(each.partition for each in group)} {state.value}: {why}{waiting}{keys}"


def ranges(numbers: Iterable[int]) -> str:
    """Ascending numbers as people write them: `0-3,7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)

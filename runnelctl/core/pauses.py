"""What is paused, from the fields of `{name}:paused`: `processor` for all of it, `processor:partition` for one."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def field(processor: str, partition: int | None) -> str:
    return processor if partition is None else f"{processor}:{partition}"


def is_paused(paused: Collection[str], processor: str, partition: int) -> bool:
    """Whether a partition is paused, by itself or with its whole processor."""
    return bool(paused) and (processor in paused or field(processor, partition) in paused)


def within(paused: Collection[str], processor: str) -> list[str]:
    """The fields that are about a processor or one of its partitions."""
    return [each for each in paused if each.partition(":")[0] == processor]


def headline(record: Mapping[str, object]) -> str:
    """Who paused it, and why, in a line."""
    who, reason = str(record.get("who") or "somebody"), str(record.get("reason") or "")
    return f"paused by {who}: {reason}" if reason else f"paused by {who}"

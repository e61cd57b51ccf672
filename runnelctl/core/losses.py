"""What a history that was taken back cost a partition, from what its lane knew and what Redis has now."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Known:
    """What a lane knew: it had committed so many events ever, read as far as the `read`-th, whose id is `last`, and the
    stream had had `added` entries."""

    committed: int
    read: int
    last: bytes
    added: int


@dataclass(frozen=True, slots=True)
class Loss:
    """`lost` events were acknowledged and are gone; `undone` events were committed and are open again, those that are
    still there. `last`: the last event that was read of the old history."""

    lost: int
    undone: int
    last: bytes


def loss(known: Known, *, count: int, within: int, added: int) -> Loss | None:
    """None if nothing was taken back. Of the history as it is now: `count` events lie at or before its cursor, `within`
    behind it up to the id `known.last`, and it has had `added` entries. Entries that came later may hide some lost
    ones that nobody here had read; those that were read are counted exactly."""
    lost = max(0, known.read - max(count, 0) - within if known.read > count else 0, known.added - added)
    undone = max(0, known.committed - count)
    return Loss(lost, undone, known.last) if lost or undone else None


def follows(event_id: bytes, cursor: bytes) -> bool:
    """Whether an id lies behind a cursor."""
    return _parts(event_id) > _parts(cursor)


def _parts(event_id: bytes) -> tuple[int, int]:
    ms, _, seq = event_id.partition(b"-")
    return int(ms), int(seq or 0)

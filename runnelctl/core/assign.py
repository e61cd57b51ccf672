"""Who should own which partition. Every host computes it from the same list; the leases settle any disagreement.

Sticky: an owner keeps what it has up to its share, so only what must move moves. Shares follow capacity and differ by
at most one between equals (largest remainder, ties to those who already hold more, then by name).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def shares(capacity: Mapping[str, int], held: Mapping[str, int], total: int) -> dict[str, int]:
    """How many of `total` partitions each member should have; members without capacity get none."""
    able = {member: weight for member, weight in capacity.items() if weight > 0}
    weights = sum(able.values())
    if not weights:
        return dict.fromkeys(capacity, 0)
    share = {member: total * weight // weights for member, weight in able.items()}
    left = total - sum(share.values())
    order = sorted(able, key=lambda member: (-(total * able[member] % weights), -held.get(member, 0), member))
    for member in order[:left]:
        share[member] += 1
    return {member: share.get(member, 0) for member in capacity}


def assign(capacity: Mapping[str, int], owners: Sequence[str | None]) -> list[str | None]:
    """The member that should own each partition. `owners[p]` is who holds it now, if anybody.

    Partitions whose owner is gone or over its share go, in order, to the members furthest below theirs.
    """
    held: dict[str, int] = {}
    for owner in owners:
        if owner is not None:
            held[owner] = held.get(owner, 0) + 1
    share = shares(capacity, held, len(owners))
    target: list[str | None] = [None] * len(owners)
    room = dict(share)
    for partition, owner in enumerate(owners):
        if owner is not None and room.get(owner, 0) > 0:
            target[partition] = owner
            room[owner] -= 1
    takers = [member for member in sorted(room) for _ in range(room[member])]
    free = [partition for partition, member in enumerate(target) if member is None]
    for partition, member in zip(free, takers, strict=False):
        target[partition] = member
    return target

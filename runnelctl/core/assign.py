"""Who should run which partition of a processor. Every host computes it from the same lists; the leases settle any
disagreement.

Two levels: first hosts, by their number of slices; then the slices of each host. Sticky on both: a holder keeps what it
has up to its share, so only what must move moves. Shares of equals differ by at most one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

#: A host and the number of one of its slices for the processor.
Place = tuple[str, int]


def shares(capacity: Mapping[str, int], held: Mapping[str, int], total: int, turn: int = 0) -> dict[str, int]:
    """How many of `total` partitions each host should have, by largest remainder; none without capacity.

    Ties go to those who hold more than their whole share already (so that who got the odd one keeps it), then by name,
    beginning with the `turn`-th, so that many small processors do not all land on the same host.
    """
    able = sorted(host for host, weight in capacity.items() if weight > 0)
    weights = sum(capacity[host] for host in able)
    if not weights:
        return dict.fromkeys(capacity, 0)
    share = {host: total * capacity[host] // weights for host in able}
    place = {host: (rank - turn) % len(able) for rank, host in enumerate(able)}
    surplus = {host: held.get(host, 0) - share[host] for host in able}
    by_claim = sorted(able, key=lambda host: (-(total * capacity[host] % weights), -surplus[host], place[host]))
    for host in by_claim[: total - sum(share.values())]:
        share[host] += 1
    return {host: share.get(host, 0) for host in capacity}


def assign(capacity: Mapping[str, int], owners: Sequence[Place | None], turn: int = 0) -> list[Place | None]:
    """The place where each partition should run. `capacity`: host -> slices. `owners[p]`: where it runs now, if at all.

    None only when no host has capacity.
    """
    hosts = _hosts(capacity, owners, turn)
    target: list[Place | None] = [None] * len(owners)
    by_host: dict[str | None, list[int]] = {}
    for partition, chosen in enumerate(hosts):
        by_host.setdefault(chosen, []).append(partition)
    for host, slices in capacity.items():
        mine = by_host.get(host, [])
        current = {p: owner[1] for p in mine if (owner := owners[p]) is not None and owner[0] == host}
        for partition, number in _slices(slices, mine, current):
            target[partition] = (host, number)
    return target


def _hosts(capacity: Mapping[str, int], owners: Sequence[Place | None], turn: int) -> list[str | None]:
    """The host of each partition. A host over its share gives up evenly from all its slices."""
    by_host: dict[str, list[tuple[int, int, int]]] = {}
    depth: dict[Place, int] = {}
    for partition, owner in enumerate(owners):
        if owner is not None and capacity.get(owner[0], 0) > 0:
            rank = depth[owner] = depth.get(owner, 0) + 1
            by_host.setdefault(owner[0], []).append((rank, owner[1], partition))
    room = shares(capacity, {host: len(held) for host, held in by_host.items()}, len(owners), turn)
    target: list[str | None] = [None] * len(owners)
    for host, held in by_host.items():
        for _, _, partition in sorted(held)[: room[host]]:
            target[partition] = host
    for chosen in target:
        if chosen is not None:
            room[chosen] -= 1
    takers = [host for host in sorted(room) for _ in range(room[host])]
    free = [partition for partition, chosen in enumerate(target) if chosen is None]
    for partition, host in zip(free, takers, strict=False):
        target[partition] = host
    return target


def _slices(slices: int, partitions: Sequence[int], current: Mapping[int, int]) -> list[tuple[int, int]]:
    """The slice of each of a host's partitions."""
    if not slices or not partitions:
        return []
    held = [0] * slices
    for number in current.values():
        if number < slices:
            held[number] += 1
    share = shares(
        {f"{number:06d}": 1 for number in range(slices)},
        {f"{number:06d}": count for number, count in enumerate(held)},
        len(partitions),
    )
    room = [share[f"{number:06d}"] for number in range(slices)]
    placed, homeless = [], []
    for partition in partitions:
        number = current.get(partition, slices)
        if number < slices and room[number] > 0:
            room[number] -= 1
            placed.append((partition, number))
        else:
            homeless.append(partition)
    takers = [number for number in range(slices) for _ in range(room[number])]
    return placed + list(zip(homeless, takers, strict=True))

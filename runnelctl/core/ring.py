"""Consistent hashing: points on a circle of 32 bits, some for every partition; a key belongs to the next point.

    points     MurmurHash3 (x86, 32 bits, seed 0) of the UTF-8 text `<node>-<i>`, i from 0 to vnodes - 1
    nodes      the names of the partitions, in their order; "0", "1", … unless the topology names them
    a key      goes to the first point that is greater than its own MurmurHash3, or else to the smallest point
    a point    that two nodes share belongs to the later node

It is fixed for ever, and what uhashring's HashRing does with that hash function, so that senders in any language agree.
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Callable

_MASK = 0xFFFFFFFF


def murmur3(data: bytes) -> int:
    """MurmurHash3, x86, 32 bits, seed 0, unsigned."""
    c1, c2, h, length = 0xCC9E2D51, 0x1B873593, 0, len(data)
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * c1 & _MASK
        k = ((k << 15) | (k >> 17)) & _MASK
        h ^= k * c2 & _MASK
        h = ((h << 13) | (h >> 19)) & _MASK
        h = (h * 5 + 0xE6546B64) & _MASK
    if whole < length:
        k = int.from_bytes(data[whole:], "little") * c1 & _MASK
        k = ((k << 15) | (k >> 17)) & _MASK
        h ^= k * c2 & _MASK
    h ^= length
    h = (h ^ (h >> 16)) * 0x85EBCA6B & _MASK
    h = (h ^ (h >> 13)) * 0xC2B2AE35 & _MASK
    return h ^ (h >> 16)


@functools.lru_cache(maxsize=64)
def ring(nodes: tuple[str, ...], vnodes: int) -> Callable[[bytes], int]:
    """From a key's bytes to the index of its node. Made once for the same nodes: a point costs about 2 microseconds."""
    owners: dict[int, int] = {}
    for index, node in enumerate(nodes):
        for i in range(vnodes):
            owners[murmur3(f"{node}-{i}".encode())] = index
    points = sorted(owners)
    order = [owners[point] for point in points]
    order.append(order[0])  # behind the last point the circle begins again

    def place(key: bytes) -> int:
        return order[bisect_right(points, murmur3(key))]

    return place

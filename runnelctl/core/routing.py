"""From a record's key to its partition. Fixed and specified, so that producers in any language agree."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from runnelctl.core.model import Partitioner, Ring
from runnelctl.core.ring import ring

_MASK = 0xFFFFFFFF


def crc32(key: bytes) -> int:
    """CRC-32 (IEEE, as zlib) of the key's bytes."""
    return zlib.crc32(key)


def murmur2(key: bytes) -> int:
    """MurmurHash2, 32 bits, with Kafka's seed 0x9747b28c; made positive as Kafka's default partitioner does."""
    m, length = 0x5BD1E995, len(key)
    h = (0x9747B28C ^ length) & _MASK
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(key[i : i + 4], "little") * m & _MASK
        k = (k ^ (k >> 24)) * m & _MASK
        h = (h * m & _MASK) ^ k
    rest = key[whole:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & _MASK
    h = (h ^ (h >> 13)) * m & _MASK
    return (h ^ (h >> 15)) & 0x7FFFFFFF


def placing(partitioner: Partitioner | Ring, partitions: int) -> Callable[[bytes], int]:
    """From a key's bytes to its partition (0-based), for callers that route many keys."""
    if partitioner is Partitioner.RING:
        partitioner = Ring()
    if isinstance(partitioner, Ring):
        nodes = partitioner.nodes if partitioner.nodes is not None else tuple(map(str, range(partitions)))
        return ring(nodes, partitioner.vnodes)
    if partitioner is Partitioner.MURMUR2:
        return lambda key: murmur2(key) % partitions
    return lambda key: zlib.crc32(key) % partitions  # not by way of `crc32`: it is called per record


def dead_letter_partition(partition: int, partitions: int) -> int:
    """Where the dead letters of a partition go: together and in order, also where their stream has fewer partitions."""
    return partition % partitions


def partition_of(key: str, partitions: int, partitioner: Partitioner | Ring) -> int:
    """The partition (0-based) of `key`, which is hashed as UTF-8."""
    return placing(partitioner, partitions)(key.encode("utf-8", "surrogatepass"))

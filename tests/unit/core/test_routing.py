"""The partitioners against values that others published."""

from __future__ import annotations

import pytest

from runnelctl.core import routing
from runnelctl.core.model import Partitioner

# From Kafka's own UtilsTest, as signed 32-bit numbers.
KAFKA = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}
# The check value of CRC-32/ISO-HDLC, and others that any zlib gives.
CRC32 = {"123456789": 0xCBF43926, "": 0, "a": 0xE8B7BE43, "The quick brown fox jumps over the lazy dog": 0x414FA339}


@pytest.mark.parametrize(("key", "signed"), KAFKA.items())
def test_murmur2_is_kafkas(key: str, signed: int) -> None:
    assert routing.murmur2(key.encode()) == signed & 0x7FFFFFFF


@pytest.mark.parametrize(("key", "value"), CRC32.items())
def test_crc32_is_everybodys(key: str, value: int) -> None:
    assert routing.crc32(key.encode()) == value


def test_partitions_of_known_keys_never_change() -> None:
    keys = ["a", "b", "user-42", "é", "日本", "0"]
    assert [routing.partition_of(key, 8, Partitioner.CRC32) for key in keys] == [3, 1, 3, 6, 4, 1]
    assert [routing.partition_of(key, 8, Partitioner.MURMUR2) for key in keys] == [4, 4, 4, 7, 3, 4]


def test_every_partition_is_used() -> None:
    for partitioner in Partitioner:
        used = {routing.partition_of(f"user-{number}", 64, partitioner) for number in range(2_000)}
        assert used == set(range(64))


def test_placing_gives_what_partition_of_uses() -> None:
    for partitioner in Partitioner:
        assert routing.placing(partitioner, 7)(b"key") == routing.partition_of("key", 7, partitioner)

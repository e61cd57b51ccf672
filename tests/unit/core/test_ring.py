"""The ring against values from uhashring (with mmh3's hash, unsigned), and its promises."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest

from runnelctl.core.model import Partitioner, Ring
from runnelctl.core.ring import murmur3, ring
from runnelctl.core.routing import placing

KEYS = ["ada", "bob", "user-1", "user-2", "42", "ключ", "naïve", "thread:7", "", "a"]


def test_murmur3_is_the_published_one() -> None:
    assert [murmur3(key.encode()) for key in KEYS] == [
        1874296814, 2824567794, 4171401059, 3734456267, 3159925814, 2589532226, 992511445, 1180108334, 0, 1009084850,
    ]  # fmt: skip


def test_the_plain_word_is_a_ring_of_numbers() -> None:
    place = placing(Partitioner.RING, 8)
    assert [place(key.encode()) for key in KEYS] == [6, 2, 5, 6, 1, 6, 7, 0, 2, 0]


def test_named_nodes_with_fewer_points() -> None:
    place = placing(Ring(nodes=("queue-a", "queue-b", "queue-c"), vnodes=40), 3)
    assert [place(key.encode()) for key in KEYS] == [0, 2, 2, 1, 2, 1, 2, 1, 2, 1]


def test_ten_thousand_keys_on_64_partitions() -> None:
    place = placing(Partitioner.RING, 64)
    placed = ",".join(str(place(f"key-{number}".encode())) for number in range(10_000))
    assert hashlib.sha256(placed.encode()).hexdigest() == (
        "5c8a6c663f1cccb2c20ea21be40c39c779a0257b1f5cc0467733c9323c7263c0"
    )


@pytest.mark.parametrize("partitions", [2, 8, 31])
def test_another_node_takes_keys_and_moves_none_between_the_others(partitions: int) -> None:
    before, after = placing(Partitioner.RING, partitions), placing(Partitioner.RING, partitions + 1)
    keys = [f"user-{number}".encode() for number in range(3_000)]
    moved = [key for key in keys if before(key) != after(key)]
    assert {after(key) for key in moved} == {partitions}
    assert len(moved) < 2 * len(keys) / (partitions + 1)


def test_the_load_is_even_enough() -> None:
    place = placing(Partitioner.RING, 8)
    loads = Counter(place(f"user-{number}".encode()) for number in range(8_000))
    assert set(loads) == set(range(8))
    assert max(loads.values()) < 1_500


def test_a_ring_is_made_once() -> None:
    assert ring(("0", "1"), 160) is ring(("0", "1"), 160)

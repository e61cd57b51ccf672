"""produce.lua on real servers, the oldest Redis that is supported and the newest Valkey."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from runnelctl.core import keys
from runnelctl.store import connect, scripts
from tests.servers import Server

HUGE = 18446744073709551615


class Partition:
    """One partition of a topology of the test's own."""

    def __init__(self, client: redis.Redis, name: str) -> None:
        self.client = client
        self.events = keys.events(name, "orders", 0)
        self.producer = keys.producer(name, "orders", 0, "p1")

    def produce(
        self, first: int, *data: str, capacity: int = 100, ttl_ms: int = 60_000, words: Any = None, count: int = 1
    ) -> list[Any]:
        entries = words or [word for text in data for word in (text, "k", 0)]
        args = [first, capacity, ttl_ms, count if words else len(data), *entries]
        reply = scripts.run(self.client, scripts.script("produce"), [self.events, self.producer], args)
        return [part.decode() if isinstance(part, bytes) else part for part in reply]

    def data(self) -> list[str]:
        return [fields[b"data"].decode() for _, fields in self.entries()]

    def entries(self) -> Any:
        return self.client.xrange(self.events)

    def add(self, entry_id: str = "*") -> Any:
        return self.client.xadd(self.events, {"data": "stranger"}, entry_id)


@pytest.fixture
def partition(redis_server: Server, app_name: str) -> Iterator[Partition]:
    client = connect.client(redis_server.endpoint)
    yield Partition(client, app_name)
    client.close()


def test_ids_of_a_chunk_are_consecutive(partition: Partition) -> None:
    status, _, skipped, first, count = partition.produce(1, *map(str, range(300)), capacity=1_000)
    assert (status, skipped, count) == ("OK", 0, 300)
    ms, seq = first.split("-")
    assert [entry_id.decode() for entry_id, _ in partition.entries()] == [f"{ms}-{int(seq) + n}" for n in range(300)]
    assert partition.data() == [str(n) for n in range(300)]


def test_an_entry_has_data_then_key_then_headers(partition: Partition) -> None:
    partition.produce(1, words=["1", "k", 2, "h:trace", "t"])
    partition.produce(2, words=["2", "", 2, "h:trace", "t"])
    partition.produce(3, words=["3", "k", 0])
    partition.produce(4, words=["4", "", 0])
    assert [list(fields.items()) for _, fields in partition.entries()] == [
        [(b"data", b"1"), (b"key", b"k"), (b"h:trace", b"t")],
        [(b"data", b"2"), (b"h:trace", b"t")],
        [(b"data", b"3"), (b"key", b"k")],
        [(b"data", b"4")],
    ]


def test_any_bytes_pass_unchanged(partition: Partition) -> None:
    blob = bytes(range(256))
    partition.produce(1, words=[blob, blob, 2, b"h:x", blob])
    assert partition.entries()[0][1] == {b"data": blob, b"key": blob, b"h:x": blob}


def test_a_repeat_stores_nothing_and_gives_the_same_ids(partition: Partition) -> None:
    _, _, _, first, count = partition.produce(1, "a", "b", "c")
    for _ in range(3):
        assert partition.produce(1, "a", "b", "c") == ["OK", first, 3, "", 0]
    assert partition.data() == ["a", "b", "c"]
    assert count == 3


def test_the_part_of_a_chunk_that_is_there_is_skipped(partition: Partition) -> None:
    _, _, _, first, _ = partition.produce(1, "a", "b", "c")
    status, known, skipped, new, count = partition.produce(2, "b", "c", "d")
    ms, seq = first.split("-")
    assert (status, known, skipped, count) == ("OK", f"{ms}-{int(seq) + 1}", 2, 1)
    assert partition.entries()[-1][0].decode() == new
    assert partition.data() == ["a", "b", "c", "d"]


def test_gaps_and_relics_are_refused(partition: Partition) -> None:
    partition.produce(1, "a", "b")
    assert partition.produce(4, "d") == ["GAP", "2"]
    partition.produce(3, "c")
    assert partition.produce(1, "a", "b") == ["STALE", "3"]
    assert partition.data() == ["a", "b", "c"]


def test_a_forgotten_producer_may_go_on(partition: Partition) -> None:
    partition.produce(1, "a")
    assert 0 < partition.client.pttl(partition.producer) <= 60_000
    partition.client.delete(partition.producer)
    assert partition.produce(2, "b")[0] == "OK"
    assert partition.produce(3, "c")[0] == "OK"


def test_numbers_beyond_a_billion_are_not_rounded(partition: Partition) -> None:
    first = 9_007_199_254_740_000
    assert partition.produce(first, "a")[0] == "OK"
    assert partition.produce(first + 1, "b")[0] == "OK"
    assert partition.produce(first + 1, "b")[1:3] == [partition.entries()[1][0].decode(), 1]
    assert partition.produce(first + 3, "d") == ["GAP", str(first + 1)]


def test_capacity_counts_what_the_slowest_group_has_not_read(partition: Partition) -> None:
    partition.produce(1, *"abcd", capacity=5)
    assert partition.produce(5, "e", "f", capacity=5) == ["CAPACITY", "4"]
    partition.client.xgroup_create(partition.events, "fast", id="0")
    partition.client.xgroup_create(partition.events, "slow", id="0")
    last = partition.entries()[-1][0]
    partition.client.execute_command("XGROUP", "SETID", partition.events, "fast", last, "ENTRIESREAD", 4)
    assert partition.produce(5, "e", "f", capacity=5)[0] == "CAPACITY"
    partition.client.execute_command("XGROUP", "SETID", partition.events, "slow", last, "ENTRIESREAD", 3)
    assert partition.produce(5, "e", "f", capacity=5)[0] == "OK"
    assert partition.produce(7, "g", "h", "i", capacity=5) == ["CAPACITY", "3"]
    assert partition.data() == list("abcdef")


def test_a_group_whose_reads_redis_cannot_count_has_read_nothing(partition: Partition) -> None:
    partition.produce(1, *"abcd")
    middle = partition.entries()[1][0]
    partition.client.xgroup_create(partition.events, "odd", id=middle)
    partition.client.xdel(partition.events, partition.entries()[2][0])
    groups = partition.client.execute_command("XINFO", "GROUPS", partition.events)
    assert None in (groups[0].values() if isinstance(groups[0], dict) else groups[0])
    assert partition.produce(5, *"ef", capacity=4) == ["CAPACITY", "3"]


def test_unread_is_never_more_than_there_is(partition: Partition) -> None:
    partition.produce(1, *map(str, range(10)))
    partition.client.xgroup_create(partition.events, "late", id="0")
    partition.client.xtrim(partition.events, maxlen=2, approximate=False)
    assert partition.produce(11, *"abc", capacity=4) == ["CAPACITY", "2"]
    assert partition.produce(11, *"ab", capacity=4)[0] == "OK"


def test_a_repeat_passes_a_partition_that_is_full(partition: Partition) -> None:
    partition.produce(1, *"abcd", capacity=4)
    assert partition.produce(1, *"abcd", capacity=4)[0] == "OK"


def test_another_type_is_named_and_nothing_written(partition: Partition) -> None:
    partition.client.lpush(partition.events, "x")
    assert partition.produce(1, "a") == ["WRONGTYPE", "list"]
    assert not partition.client.exists(partition.producer)


@pytest.mark.parametrize("poison", [f"{HUGE}-{HUGE}", f"5-{HUGE - 1}"])
def test_used_up_ids_are_named_and_nothing_stays(partition: Partition, poison: str) -> None:
    partition.add(poison if not poison.startswith("5-") else f"{HUGE}-{HUGE - 1}")
    status, shown = partition.produce(1, "a", "b")
    assert status == "POISONED"
    assert str(HUGE) in shown
    assert len(partition.entries()) == 1
    assert not partition.client.exists(partition.producer)


def test_an_id_from_the_future_is_counted_on(partition: Partition) -> None:
    partition.add(f"{HUGE}-7")
    assert partition.produce(1, "a", "b") == ["OK", "", 0, f"{HUGE}-8", 2]


@pytest.mark.parametrize(
    "words", ["a k 1 h:x", "a k x", "a k 2 h:x", "a k -2", "a k", "a k f3 x y", "a k ff2 x y", "a k f"]
)
def test_a_malformed_call_writes_nothing(partition: Partition, words: str) -> None:
    with pytest.raises(redis.exceptions.ResponseError, match="produce: "):
        partition.produce(1, words=words.split())
    assert not partition.client.exists(partition.events, partition.producer)


def test_a_flat_record_is_stored_in_its_own_fields_once(partition: Partition) -> None:
    words = ["", "k", "f4", "n", "1", "h:x", "y", "", "", "f2", "n", "2", "", "k", "f0", "data", "k", "0"]
    for _ in range(2):
        assert partition.produce(1, words=words, count=4)[0] == "OK"
    assert [entry for _, entry in partition.client.xrange(partition.events)] == [
        {b"key": b"k", b"n": b"1", b"h:x": b"y"},
        {b"n": b"2"},
        {b"key": b"k"},
        {b"data": b"data", b"key": b"k"},
    ]


def test_a_flushed_script_is_sent_again(start_server: Any) -> None:
    server = start_server("valkey")
    client = connect.client(server.endpoint)
    mine = Partition(client, "t")
    for number in range(1, 4):
        client.script_flush()
        assert mine.produce(number, str(number))[0] == "OK"
    assert mine.data() == ["1", "2", "3"]
    client.close()

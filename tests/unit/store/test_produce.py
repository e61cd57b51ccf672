"""The producer against a model of the produce script and a network that loses, delays and refuses."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import redis

from runnelctl import errors
from runnelctl.core.model import Stream
from runnelctl.records import Encoded
from runnelctl.store.carry import Answer, Failed, Lost, ScriptCall, Unsent
from runnelctl.store.lane import CHUNK_BYTES, CHUNK_ENTRIES, Batch
from runnelctl.store.produce import CALL_BYTES, Call, Pause, Producer

GONE = redis.exceptions.ConnectionError("gone")


class ModelServer:
    """What the produce script promises, in Python."""

    def __init__(self) -> None:
        self.entries: dict[str, list[bytes]] = {}
        self.producers: dict[str, tuple[int, int, int]] = {}
        self.capacity_left = 10**9

    def run(self, call: ScriptCall) -> list[Any]:
        events, producer = call.keys
        first, _, _, count, *words = call.args
        data = [word for word in words[0::3] if isinstance(word, bytes)]
        assert isinstance(first, int)
        assert len(data) == count
        log = self.entries.setdefault(events, [])
        known = self.producers.get(producer)
        if known and first > known[1] + 1:
            return [b"GAP", str(known[1]).encode()]
        if known and first <= known[1]:
            assert (first, first + len(data) - 1) == known[:2], "a chunk changed between two attempts"
            return [b"OK", f"1-{known[2]}".encode(), len(data), b"", 0]
        if len(data) > self.capacity_left:
            return [b"CAPACITY", b"5"]
        self.capacity_left -= len(data)
        self.producers[producer] = (first, first + len(data) - 1, len(log))
        start = len(log)
        log += data
        return [b"OK", b"", 0, f"1-{start}".encode(), len(data)]


def producer(**options: Any) -> Producer:
    names = iter(range(10**6))
    return Producer(
        "shop",
        translate=lambda error: errors.RedisUnreachable(str(error)),
        new_id=lambda: f"p{next(names)}",
        **({"jitter": random.Random(1).random} | options),
    )


def stream(**changes: Any) -> Stream:
    return Stream(**({"name": "orders", "partitions": 4, "key": "id"} | changes))


def encoded(number: int, partition: int = 0, size: int = 0) -> Encoded:
    return Encoded(f"{number}".encode().ljust(size), "k", partition)


def drive(sender: Producer, network: Callable[[ScriptCall], Answer], now_ms: float = 0) -> float:
    """Run the producer's loop until nothing is left to do; returns the time."""
    while (move := sender.next(now_ms)) is not None:
        if isinstance(move, Pause):
            now_ms += max(move.ms, 0.001)
        else:
            sender.took(move, [network(call) for call in move.calls], now_ms)
            now_ms += 1
    return now_ms


def ask(sender: Producer, now_ms: float = 0) -> Call:
    move = sender.next(now_ms)
    assert isinstance(move, Call)
    return move


def test_entries_keep_their_order_and_get_their_ids() -> None:
    server, sender, batch = ModelServer(), producer(), Batch(2_000)
    sender.add(stream(), [encoded(number, number % 4) for number in range(2_000)], (), batch)
    drive(sender, server.run)
    for partition in range(4):
        log = server.entries[f"{{shop:orders:{partition}}}:events"]
        assert [int(data) for data in log] == list(range(partition, 2_000, 4))
    assert batch.ids == [f"1-{number // 4}" for number in range(2_000)]
    assert batch.error is None
    assert not sender.busy


@pytest.mark.parametrize("seed", range(40))
def test_nothing_is_lost_doubled_or_reordered_however_the_network_fails(seed: int) -> None:
    rng = random.Random(seed)
    server, sender = ModelServer(), producer(jitter=rng.random, deadline_ms=10**9)
    batches = []

    def network(call: ScriptCall) -> Answer:
        luck = rng.random()
        if luck < 0.15:
            return Unsent(GONE)
        if luck < 0.3:
            return Lost(GONE)
        if luck < 0.4:
            return Failed("LOADING", GONE)
        reply = server.run(call)
        return Lost(GONE) if luck < 0.6 else reply

    total, now_ms = 0, 0.0
    for _ in range(20):
        count = rng.randint(1, 1_200)
        batch = Batch(count)
        sender.add(stream(), [encoded(total + number, rng.randrange(4)) for number in range(count)], (), batch)
        batches.append(batch)
        total += count
        if rng.random() < 0.5:
            now_ms = drive(sender, network, now_ms)
    drive(sender, network, now_ms)
    stored = [[int(data) for data in log] for log in server.entries.values()]
    assert sorted(number for log in stored for number in log) == list(range(total))
    assert all(log == sorted(log) for log in stored)
    assert all(batch.error is None and None not in batch.ids for batch in batches)


def test_a_chunk_is_bounded_by_count_bytes_and_capacity() -> None:
    sender = producer()
    sender.add(stream(), [encoded(number) for number in range(CHUNK_ENTRIES + 1)], (), Batch(CHUNK_ENTRIES + 1))
    assert ask(sender).calls[0].args[3] == CHUNK_ENTRIES
    sender = producer()
    sender.add(stream(), [encoded(number, size=CHUNK_BYTES // 2 - 10) for number in range(5)], (), Batch(5))
    assert ask(sender).calls[0].args[3] == 2
    sender = producer()
    sender.add(stream(), [encoded(number, size=CHUNK_BYTES * 2) for number in range(5)], (), Batch(5))
    assert ask(sender).calls[0].args[3] == 1
    sender = producer()
    sender.add(stream(capacity=3), [encoded(number) for number in range(5)], (), Batch(5))
    assert ask(sender).calls[0].args[3] == 3


def test_what_travels_together_is_bounded_and_nobody_is_left_behind() -> None:
    sender, server, wide = producer(), ModelServer(), stream(partitions=64)
    sender.add(wide, [encoded(number, number, size=CHUNK_BYTES) for number in range(64)], (), Batch(64))
    assert sum(len(call.args[4]) for call in ask(sender).calls if isinstance(call.args[4], bytes)) <= CALL_BYTES
    drive(sender, server.run)
    assert len(server.entries) == 64


def test_one_chunk_per_partition_is_in_flight() -> None:
    sender, server = producer(), ModelServer()
    sender.add(stream(), [encoded(number) for number in range(1_200)], (), Batch(1_200))
    first = ask(sender)
    assert [call.args[0] for call in first.calls] == [1]
    sender.took(first, [server.run(call) for call in first.calls], 0)
    assert [call.args[0] for call in ask(sender).calls] == [CHUNK_ENTRIES + 1]


def test_a_refused_chunk_takes_what_is_behind_it_along_and_nothing_else() -> None:
    sender, server = producer(), ModelServer()
    server.capacity_left = 600
    first, second, other = Batch(700), Batch(1), Batch(1)
    sender.add(stream(), [encoded(number) for number in range(700)], (), first)
    sender.add(stream(), [encoded(9_999)], (), second)
    sender.add(stream(), [encoded(1, partition=1)], (), other)
    drive(sender, server.run)
    assert isinstance(first.error, errors.CapacityError)
    assert isinstance(second.error, errors.CapacityError)
    assert (other.error, other.ids) == (None, ["1-0"])
    assert [entry_id is not None for entry_id in first.ids] == [True] * 500 + [False] * 200
    # Its numbers were not used: the next chunk goes on where the stored one ended.
    server.capacity_left = 600
    third = Batch(1)
    sender.add(stream(), [encoded(700)], (), third)
    drive(sender, server.run)
    assert third.ids == ["1-500"]
    assert len(server.producers) == 2


def test_waiting_for_room() -> None:
    sender, server = producer(wait_ms=5_000), ModelServer()
    server.capacity_left = 0
    batch = Batch(1)
    sender.add(stream(), [encoded(1)], (), batch)

    def network(call: ScriptCall) -> Answer:
        tries.append(1)
        if len(tries) == 5:
            server.capacity_left = 1
        return server.run(call)

    tries: list[int] = []
    assert drive(sender, network) > 0
    assert batch.ids == ["1-0"]
    batch = Batch(1)
    sender.add(stream(), [encoded(2)], (), batch)
    assert 5_000 <= drive(sender, server.run) <= 7_000
    assert isinstance(batch.error, errors.CapacityError)


def test_a_wait_of_one_partition_does_not_hold_the_others() -> None:
    sender, server = producer(wait_ms=5_000), ModelServer()
    server.capacity_left = 0
    sender.add(stream(), [encoded(1)], (), Batch(1))
    call = ask(sender)
    sender.took(call, [server.run(call.calls[0])], 0)
    assert isinstance(sender.next(0), Pause)
    server.capacity_left, batch = 1, Batch(1)
    sender.add(stream(), [encoded(2, partition=1)], (), batch)
    call = ask(sender)
    assert len(call.calls) == 1
    sender.took(call, [server.run(call.calls[0])], 0)
    assert batch.ids == ["1-0"]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([Unsent(GONE)], errors.RedisUnreachable),
        ([Failed("LOADING", GONE)], errors.RedisUnreachable),
        ([Lost(GONE), Unsent(GONE)], errors.SendOutcomeUnknown),
        ([Lost(GONE), Failed("OOM", GONE)], errors.SendOutcomeUnknown),
        ([Failed("OOM", GONE)], errors.RedisUnreachable),
        ([[b"WRONGTYPE", b"list"]], errors.RedisUnfit),
        ([[b"POISONED", b"18446744073709551615-18446744073709551615"]], errors.RedisUnfit),
        ([Lost(GONE), [b"CAPACITY", b"9"]], errors.CapacityError),
    ],
)
def test_what_a_sender_is_told_in_the_end(answers: list[Answer], expected: type[Exception]) -> None:
    sender, batch = producer(deadline_ms=1_000), Batch(1)
    sender.add(stream(), [encoded(1)], (), batch)
    left = list(answers)
    ended_ms = drive(sender, lambda call: left.pop(0) if len(left) > 1 else left[0])
    assert type(batch.error) is expected
    assert ended_ms < 2_500
    assert not sender.busy


def test_after_an_unknown_fate_nothing_is_mistaken_for_the_lost_chunk() -> None:
    sender, server = producer(deadline_ms=1_000), ModelServer()
    lost, behind = Batch(1), Batch(1)
    sender.add(stream(), [encoded(1)], (), lost)
    call = ask(sender)
    late = call.calls[0]
    sender.add(stream(), [encoded(2)], (), behind)
    sender.took(call, [Lost(GONE)], 0)
    drive(sender, lambda _: Lost(GONE))
    assert isinstance(lost.error, errors.SendOutcomeUnknown)
    assert isinstance(behind.error, errors.RedisUnreachable)
    after = Batch(1)
    sender.add(stream(), [encoded(3)], (), after)
    server.run(late)  # it was on its way all the time
    drive(sender, server.run)
    assert after.ids == ["1-1"]
    assert server.entries["{shop:orders:0}:events"] == [b"1", b"3"]


def test_a_redis_that_lost_acknowledged_records_is_reported_and_used_on(caplog: pytest.LogCaptureFixture) -> None:
    sender, server = producer(), ModelServer()
    sender.add(stream(), [encoded(number) for number in range(10)], (), Batch(10))
    drive(sender, server.run)
    key = next(iter(server.producers))
    server.producers[key] = (1, 4, 0)  # a failover to a replica that had less
    del server.entries["{shop:orders:0}:events"][4:]
    batch = Batch(2)
    sender.add(stream(), [encoded(number) for number in (10, 11)], (), batch)
    drive(sender, server.run)
    assert batch.ids == ["1-4", "1-5"]
    assert "has lost records that it had acknowledged" in caplog.text


def test_a_forgotten_producer_goes_on() -> None:
    sender, server = producer(), ModelServer()
    for round_ in range(3):
        server.producers.clear()  # the key expired
        batch = Batch(2)
        sender.add(stream(), [encoded(round_ * 2 + number) for number in range(2)], (), batch)
        drive(sender, server.run)
        assert batch.error is None
    assert [int(data) for data in server.entries["{shop:orders:0}:events"]] == list(range(6))


def test_pauses_grow_and_stay_bounded() -> None:
    sender = producer(jitter=lambda: 1.0, deadline_ms=20_000)
    sender.add(stream(), [encoded(1)], (), Batch(1))
    now_ms, pauses = 0.0, []
    while (move := sender.next(now_ms)) is not None:
        if isinstance(move, Pause):
            pauses.append(move.ms)
            now_ms += move.ms
        else:
            sender.took(move, [Unsent(GONE)], now_ms)
    assert pauses[:6] == pytest.approx([40, 80, 160, 320, 400, 400])
    assert max(pauses) == 1_000
    assert sum(pauses) == pytest.approx(20_000)


def test_the_first_that_gets_through_hastens_all_that_pause() -> None:
    """Each partition finding out alone, in its own pause, is what a sender would wait for after an outage."""
    jitters = iter([0.1, 1.0, 1.0, 1.0])
    sender, batch, server = producer(jitter=lambda: next(jitters, 1.0)), Batch(4), ModelServer()
    sender.add(stream(), [encoded(number, number) for number in range(4)], (), batch)
    sender.took(ask(sender), [Lost(GONE)] * 4, 0)
    first = ask(sender, 4.0)
    assert len(first.calls) == 1, "the shortest pause is over"
    sender.took(first, [server.run(call) for call in first.calls], 4.0)
    rest = ask(sender, 4.0)
    assert len(rest.calls) == 3, "and so are the others"
    sender.took(rest, [server.run(call) for call in rest.calls], 4.0)
    assert batch.error is None and not batch.left


def test_a_partition_whose_server_is_away_alone_pauses_all_the_same() -> None:
    sender, server, away = producer(jitter=lambda: 1.0), ModelServer(), stream(name="away", partitions=1)
    sender.add(away, [encoded(1)], (), Batch(1))
    attempts = 0
    for now_ms in range(1_000):  # others get through all the time
        sender.add(stream(), [encoded(now_ms)], (), Batch(1))
        call = ask(sender, now_ms)
        attempts += sum("away" in each.keys[0] for each in call.calls)
        answers = [Unsent(GONE) if "away" in each.keys[0] else server.run(each) for each in call.calls]
        sender.took(call, answers, now_ms)
    assert attempts < 10, "its back-off holds, but for one attempt"


def test_headers_and_a_missing_key_travel_as_they_should() -> None:
    sender = producer()
    sender.add(stream(), [Encoded(b"1", "", 0)], ("h:a", "b"), Batch(1))
    assert ask(sender).calls[0].args[4:] == [b"1", "", 2, "h:a", "b"]


def test_abandoning_settles_everything() -> None:
    sender, batch = producer(), Batch(600)
    sender.add(stream(), [encoded(number) for number in range(600)], (), batch)
    ask(sender)
    sender.abandon(errors.SendOutcomeUnknown("closed"))
    assert isinstance(batch.error, errors.SendOutcomeUnknown)
    assert batch.left == 0
    assert sender.next(0) is None

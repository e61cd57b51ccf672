"""stream_trim.lua on real servers: retention is kept, and never goes beyond a cursor."""

from __future__ import annotations

import random

import pytest

from runnelctl.core import keys
from tests.partition import PROCESSOR, STREAM, Partition

LONG_AGO = 1_000_000  # entry ids in these tests are of 1970


def fill(part: Partition, count: int) -> None:
    for number in range(1, count + 1):
        part.client.xadd(part.events, {"data": "{}"}, id=f"{number}-0")


def other(part: Partition, name: str = "shipping") -> str:
    return keys.own(part.topology, STREAM, part.number, name)


def trim(
    part: Partition, events: int | str = "", age_ms: int | str = "", owns: dict[str, str] | None = None,
    most: int = 20_000,
) -> tuple[int, str]:  # fmt: skip
    owns = {part.own: "1"} if owns is None else owns
    removed, more = part.run("stream_trim", [part.events, *owns], [events, age_ms, most, *owns.values()])
    return removed, more


def left(part: Partition) -> list[int]:
    return [int(entry[0].partition(b"-")[0]) for entry in part.client.xrange(part.events)]


def put(part: Partition, own: str, cursor: int) -> None:
    part.client.hset(own, mapping={"cursor": f"{cursor}-0", "count": str(cursor)})


def test_keeps_so_many(part: Partition) -> None:
    fill(part, 20)
    put(part, part.own, 20)
    assert trim(part, events=5) == (15, "0")
    assert left(part) == [16, 17, 18, 19, 20]
    assert trim(part, events=5) == (0, "0")


def test_age_goes_by_the_servers_clock(part: Partition) -> None:
    fill(part, 3)
    young = part.add(2)
    put(part, part.own, int(young[1].partition("-")[0]))
    assert trim(part, age_ms=3_600_000) == (3, "0")
    assert part.client.xlen(part.events) == 2


def test_both_wishes_and_either_removes(part: Partition) -> None:
    fill(part, 10)
    young = part.add(3)
    part.client.hset(part.own, "cursor", young[2])
    assert trim(part, events=2, age_ms=3_600_000)[0] == 11
    assert part.client.xlen(part.events) == 2


@pytest.mark.parametrize("wish", [{"events": 1}, {"age_ms": 1}])
def test_never_beyond_the_slowest_cursor(part: Partition, wish: dict[str, int]) -> None:
    fill(part, 20)
    put(part, part.own, 20)
    put(part, other(part), 7)
    assert trim(part, owns={part.own: "1", other(part): "1"}, **wish)[0] == 6
    assert left(part) == list(range(7, 21))


@pytest.mark.parametrize("wish", [{"events": 1}, {"age_ms": 1}])
def test_a_group_that_nobody_names_holds_it_back(part: Partition, wish: dict[str, int]) -> None:
    fill(part, 20)
    put(part, part.own, 20)
    part.client.xgroup_create(part.events, "theirs", "4-0")
    assert trim(part, **wish)[0] == 3


def test_who_has_yet_to_begin_at_the_first_entry_holds_everything(part: Partition) -> None:
    fill(part, 20)
    put(part, part.own, 20)
    assert trim(part, events=1, owns={part.own: "1", other(part): "1"}) == (0, "0")
    assert trim(part, events=5, owns={part.own: "1", other(part): "0"})[0] == 15


def test_no_stream_no_processor_nothing_to_do(part: Partition) -> None:
    assert trim(part, events=1) == (0, "0")
    fill(part, 3)
    assert trim(part, events=1, owns={}) == (0, "0")
    assert trim(part, events=1) == (0, "0")


@pytest.mark.parametrize("wish", [{"events": 10}, {"age_ms": LONG_AGO}])
def test_much_goes_in_several_calls(part: Partition, wish: dict[str, int]) -> None:
    with part.client.pipeline(transaction=False) as pipe:
        for number in range(1, 6_001):
            pipe.xadd(part.events, {"data": "{}"}, id=f"{number}-0")
        pipe.execute()
    put(part, part.own, 5_500)
    calls, more = 0, "1"
    while more == "1":
        _, more = trim(part, most=1_000, **wish)
        calls += 1
    assert calls > 1
    assert left(part)[0] == 5_500


def test_a_commit_after_it_and_a_new_processor_see_no_loss(part: Partition) -> None:
    fill(part, 20)
    epoch = part.acquire(7)[1]
    assert part.commit(epoch, 7, 1, "0-0", "12-0", 12) == ["OK"]
    assert trim(part, events=3)[0] == 11
    assert part.commit(epoch, 7, 2, "12-0", "20-0", 8) == ["OK"]
    trim(part, events=3)
    assert left(part) == [18, 19, 20]
    granted = part.run("lease_acquire", [other(part), part.events], [9, "a/0", "", "earliest", "shipping"])
    assert granted[2:] == ["0-0", "17", "0", "0", "0"], "it starts at what is left and nothing is lost"


def test_any_mix_of_cursors_and_wishes(part: Partition) -> None:
    dice = random.Random(7)
    for _ in range(60):
        part.client.delete(part.events, part.own, other(part))
        count, cursors = dice.randint(0, 300), [dice.randint(0, 300) for _ in range(2)]
        fill(part, count)
        for own, cursor in zip((part.own, other(part)), cursors, strict=True):
            put(part, own, min(cursor, count))
        keep = dice.randint(1, 300)
        trim(part, events=keep, owns={part.own: "1", other(part): "1"}, most=dice.choice([10, 20_000]))
        least = min(*cursors, count)
        assert left(part) == list(range(max(1, min(least, count - keep + 1)), count + 1))
    assert part.own.endswith(PROCESSOR)

"""cursor_seek.lua and what counts for it, on real servers: the books are right wherever a cursor is put."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from runnelctl.core.model import Processor, Start, Stream, Topology
from runnelctl.errors import RunnelctlError
from runnelctl.store import seeking
from runnelctl.store.seeking import Move, Seeker
from tests.partition import PROCESSOR, STREAM, Partition, failed


def seeker(part: Partition, start: Start = Start.EARLIEST) -> Seeker:
    processor = Processor(name=PROCESSOR, stream=STREAM, handler="h:f", processes=1, start=start)
    of = Topology(
        name=part.topology, file="/t", redis="", processors={PROCESSOR: processor},
        streams={STREAM: Stream(name=STREAM, partitions=1)},
    )  # fmt: skip
    return Seeker(part.client, of, processor)


def fill(part: Partition, count: int) -> None:
    for number in range(1, count + 1):
        part.client.xadd(part.events, {"data": "{}"}, id=f"{number}-0")


def seek(part: Partition, first: str) -> Move:
    moving = seeker(part)
    return moving.move(moving.plan(0, first.encode())).move


def own(part: Partition) -> tuple[str, str]:
    found = part.hash()
    return found["cursor"], found["count"]


@pytest.mark.parametrize(
    ("first", "cursor", "count"),
    [("-", "0-0", 0), ("+", "10-0", 10), ("4-0", "3-0", 3), ("3-1", "3-0", 3), ("1-0", "0-0", 0), ("99-0", "10-0", 10)],
)
def test_the_cursor_stands_right_before_the_event(part: Partition, first: str, cursor: str, count: int) -> None:
    fill(part, 10)
    epoch = part.acquire(7)[1]
    part.commit(epoch, 7, 1, "0-0", "5-0", 5)
    assert seek(part, first).skipped == count - 5
    assert own(part) == (cursor, str(count))
    assert (part.group()["last-delivered-id"].decode(), part.group()["entries-read"]) == (cursor, count)
    granted = part.acquire(8, dead="7")
    assert granted[2:4] == [cursor, str(count)]
    assert granted[4:] == ["0", "0", "0"], "no event is under suspicion, none is lost"


def test_the_holder_is_fenced_and_the_next_one_commits_from_there(part: Partition) -> None:
    fill(part, 10)
    epoch = part.acquire(7)[1]
    part.commit(epoch, 7, 1, "0-0", "5-0", 5)
    seek(part, "3-0")
    assert part.commit(epoch, 7, 2, "5-0", "6-0", 1)[0] == "FENCED"
    assert part.acquire(9)[0] == "BUSY", "whoever holds it still runs a handler"
    later = part.acquire(8, dead="7")[1]
    assert int(later) > int(epoch)
    assert part.commit(later, 8, 1, "2-0", "10-0", 8) == ["OK"]
    assert own(part) == ("10-0", "10")


def test_an_event_under_suspicion_is_not_convicted_elsewhere(part: Partition) -> None:
    fill(part, 10)
    part.acquire(7)
    part.acquire(8, "b/0", dead="7")
    assert part.hash()["suspect"] == "1"
    seek(part, "+")
    assert part.acquire(9, dead="8")[4:] == ["0", "0", "0"]


def test_entries_that_are_gone_count_as_before(part: Partition) -> None:
    fill(part, 10)
    part.client.xtrim(part.events, minid="4-0", approximate=False)
    part.client.xdel(part.events, "8-0")
    seek(part, "-")
    assert own(part) == ("0-0", "4"), "six are left of ten"
    assert part.acquire(7)[6] == "0"
    seek(part, "9-0")
    assert own(part) == ("7-0", "8")
    seek(part, "+")
    assert own(part) == ("10-0", "10")


def test_a_trimmed_away_stream_and_one_that_never_was(part: Partition) -> None:
    seek(part, "+")
    assert own(part) == ("0-0", "0")
    fill(part, 3)
    part.client.xtrim(part.events, maxlen=0, approximate=False)
    seek(part, "+")
    assert own(part) == ("0-0", "3")
    part.client.xadd(part.events, {"data": "{}"}, id="9-0")
    assert part.commit(part.acquire(7)[1], 7, 1, "0-0", "9-0", 1) == ["OK"]


def test_a_processor_that_never_ran_stands_where_it_would_begin(part: Partition) -> None:
    fill(part, 10)
    for start, skipped in ((Start.EARLIEST, 4), (Start.LATEST, -6)):
        planned = seeker(part, start).plan(0, b"5-0")
        assert (planned.skipped, planned.after.cursor) == (skipped, b"4-0")


def test_what_comes_meanwhile_lies_behind_and_what_goes_meanwhile_is_counted_again(part: Partition) -> None:
    fill(part, 10)
    moving = seeker(part)
    planned = moving.plan(0, b"6-0")
    part.client.xadd(part.events, {"data": "{}"}, id="11-0")
    moving.move(planned)
    assert own(part) == ("5-0", "5")
    planned = moving.plan(0, b"6-0")
    part.client.xdel(part.events, "7-0")
    moving.move(planned)
    assert own(part) == ("5-0", "6"), "five of eleven are behind it"


def test_a_stream_that_never_stands_still_is_given_up(part: Partition, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(part, 10)
    moving = seeker(part)
    planned = moving.plan(0, b"6-0")
    stale = replace(planned.after, removed=99)
    monkeypatch.setattr(Seeker, "_counted", lambda *_: stale)
    with pytest.raises(RunnelctlError, match="nothing done"):
        moving.move(replace(planned, after=stale))
    assert part.hash() == {}


@pytest.mark.parametrize(("first", "answer"), [("4-0", "kept"), ("5-0", "kept"), ("6-0", "lifted"), ("+", "lifted")])
def test_a_block_stays_unless_the_cursor_moves_beyond_its_event(part: Partition, first: str, answer: str) -> None:
    fill(part, 10)
    epoch = part.acquire(7)[1]
    part.commit(epoch, 7, 1, "0-0", "4-0", 4, release=True, block=failed("5-0"))
    moving = seeker(part)
    moved = moving.move(moving.plan(0, first.encode()))
    assert (moved.kept, moved.lifted) == (answer == "kept", answer == "lifted")
    assert ("block" in part.hash()) == (answer == "kept")


def test_ids_are_compared_as_numbers_of_64_bits(part: Partition) -> None:
    largest = 2**64 - 1
    for event in (f"9-{largest - 1}", f"9-{largest}", "10-0"):
        part.client.xadd(part.events, {"data": "{}"}, id=event)
    part.client.hset(part.own, mapping={"cursor": "0-0", "count": "0", "block": failed(f"9-{largest}")})
    moving = seeker(part)
    assert moving.move(moving.plan(0, f"9-{largest}".encode())).kept
    assert moving.move(moving.plan(0, b"10-0")).lifted


def test_counting_goes_on_over_many_pages(part: Partition, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeking, "PAGE", 3)
    fill(part, 20)
    part.client.xdel(part.events, "4-0", "15-0")
    for first, then in itertools.pairwise(range(1, 21)):
        spot = seeker(part).plan(0, f"{then}-0".encode()).after
        behind = part.client.xrange(part.events, f"({first}-0", "+")
        assert spot.count == 20 - len(behind)

"""What a lane has read and not yet started."""

from __future__ import annotations

import msgspec

from runnelctl.event import Source
from runnelctl.runtime.intake import (
    BUFFER_BYTES,
    HELD_BYTES,
    LANE_EVENTS_LEAST,
    LANE_EVENTS_MOST,
    READ_EVENTS,
    REPLY_BYTES,
    Held,
    Intake,
    lane_bytes,
    mend,
    read_count,
    read_lanes,
    suspected_bytes,
    window_events,
)


def entries(first: int, last: int) -> list[list[object]]:
    return [[b"%d-0" % number, [b"data", b"{}"]] for number in range(first, last + 1)]


def test_a_read_is_bounded_by_events_and_by_bytes() -> None:
    assert read_count(1, 1, 100.0) == LANE_EVENTS_MOST
    assert read_count(1_000, 1_000, 100.0) == LANE_EVENTS_LEAST
    assert read_count(1_000, 0, 100.0) == LANE_EVENTS_LEAST, "any of them may have much"
    assert read_count(33, 1, 100.0) == LANE_EVENTS_MOST, "one has much, the others most likely nothing"
    assert read_count(16, 16, 100.0) == READ_EVENTS // 16
    assert read_count(1, 1, 4 * 1024 * 1024) == 2
    assert read_count(32, 32, 4 * 1024 * 1024) == 1


def test_lanes_that_are_read_together_are_so_few_that_each_gets_many() -> None:
    assert read_lanes(32, 500.0, 8 * 1024 * 1024) == READ_EVENTS // LANE_EVENTS_MOST
    assert read_lanes(32, 500.0, 25_000.0) == 32, "where each gets few, many"
    assert read_lanes(32, 500.0, 50_000.0) == 20
    assert read_lanes(32, 10.0**9, 100_000.0) == 32


def test_what_the_lanes_of_a_slice_hold_is_counted() -> None:
    held = Held()
    one, other = Intake(b"0-0", held), Intake(b"0-0", held)
    one.add(entries(1, 10), 100.0)
    other.add(entries(1, 5), 100.0)
    taken = one.take(4, gather=False)
    assert (one.count, other.count, held.events) == (6, 5, 11)
    one.put_back(Source("s", 0, bytes, str).events(taken))
    assert held.events == 15
    one.restart(b"0-0")
    assert (one.count, held.events) == (0, 5)


def test_a_lane_with_large_events_is_full_by_bytes() -> None:
    intake = Intake(b"0-0")
    intake.add(entries(1, 2), 3 * 1024 * 1024)
    assert intake.has_room
    intake.add(entries(3, 4), 3 * 1024 * 1024)
    assert not intake.has_room


def test_a_lane_holds_what_was_asked_for_and_as_much_again() -> None:
    intake = Intake(b"0-0")
    intake.ask(200)
    intake.add(entries(1, 200), 10.0)
    assert intake.has_room, "the next read may be under way while this one is handled"
    intake.ask(200)
    intake.add(entries(201, 400), 10.0)
    assert not intake.has_room
    intake.want(1_000)
    assert intake.has_room, "a handler that wants so many at once is not kept from having them"
    intake.ask(200)
    assert intake.has_room


def test_entries_come_out_in_order_cut_and_joined() -> None:
    intake = Intake(b"0-0")
    intake.add(entries(1, 3), 10.0)
    intake.add(entries(4, 6), 10.0)
    assert [entry[0] for entry in intake.take(2, gather=False)] == [b"1-0", b"2-0"]
    assert [entry[0] for entry in intake.take(9, gather=False)] == [b"3-0"]
    intake.add(entries(7, 8), 10.0)
    assert [entry[0] for entry in intake.take(4, gather=True)] == [b"4-0", b"5-0", b"6-0", b"7-0"]
    assert (intake.count, intake.fetched) == (1, b"8-0")
    intake.restart(b"6-0")
    assert (intake.count, intake.fetched) == (0, b"6-0")


def test_many_lanes_hold_no_more_together_than_a_few() -> None:
    assert lane_bytes(1) == BUFFER_BYTES
    assert lane_bytes(2_500) * 2_500 == HELD_BYTES
    assert read_count(32, 32, 1_000.0, lane_bytes(2_500)) == 53
    assert read_count(32, 32, 10**8, lane_bytes(2_500)) == 1, "an event is always welcome"
    intake = Intake(b"0-0")
    intake.ask(100, lane_bytes(2_500))
    intake.add(entries(1, 60), 1_000.0)
    assert not intake.has_room


def test_larger_events_are_believed_at_once_and_smaller_ones_step_by_step() -> None:
    intake = Intake(b"0-0")
    intake.add(entries(1, 2), 500.0)
    assert intake.event_bytes == 500
    intake.expect(64_000)
    assert intake.event_bytes == 64_000
    intake.add(entries(3, 3), 500.0)
    assert intake.event_bytes == 32_000
    for _ in range(20):
        intake.expect(0)
    assert 0 < intake.event_bytes <= 100


def test_what_was_too_much_for_a_reply_is_asked_for_in_ever_fewer_until_it_is_passed() -> None:
    intake, counts = Intake(b"0-0"), [1_000]
    while counts[-1] > 1:
        intake.suspect(2_000, suspected_bytes(counts[-1]))
        counts.append(read_count(1, 1, intake.event_bytes))
    assert len(counts) <= 4
    assert suspected_bytes(32) >= REPLY_BYTES / 2, "of several lanes, one at a time"
    suspected = intake.event_bytes
    intake.restart(b"0-0")
    for number in range(1, 2_000):
        intake.add(entries(number, number), 100.0)
    assert intake.event_bytes == suspected, "however small the first are"
    intake.add(entries(2_000, 2_000), 100.0)
    assert intake.event_bytes < suspected


def test_nothing_is_suspected_of_a_lane_that_has_no_more() -> None:
    intake = Intake(b"0-0")
    intake.suspect(1_000, suspected_bytes(3))
    suspected = intake.event_bytes
    intake.dry()
    assert 0 < intake.event_bytes < suspected


def test_with_order_key_large_events_wait_in_the_intake() -> None:
    assert window_events(1, 500.0) > 1_000
    assert window_events(1, 1024 * 1024) == 32
    assert window_events(1, 10**9) == 1


def test_an_edited_record_counts_though_the_old_one_was_decoded_ahead() -> None:
    """As after a broken connection, in a lane that is at work already."""
    decode = msgspec.json.decode
    source = Source("orders", 0, decode, lambda record: str(record["k"]), decode, 1_000)
    entries = [[b"%d-0" % n, [b"data", b'{"k":"a","n":%d}' % n, b"key", b"a"]] for n in (1, 2)]
    for event in source.events(entries):
        assert event.value["n"]
    source.events(entries)
    run = source.events(entries)
    run[0].attempt = 3
    mend(run, b"1-0", b'{"k":"a","n":100}')
    assert [(event.id, event.attempt, event.value["n"]) for event in run] == [("1-0", 3, 100), ("2-0", 1, 2)]

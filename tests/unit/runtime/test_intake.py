"""What a lane has read and not yet started."""

from __future__ import annotations

from runnelctl.runtime.intake import BUFFER_BYTES, UNKNOWN_EVENT_BYTES, Intake


def entries(first: int, last: int) -> list[list[object]]:
    return [[b"%d-0" % number, [b"data", b"{}"]] for number in range(first, last + 1)]


def test_an_empty_partition_learns_its_size_from_the_others() -> None:
    intake = Intake(b"0-0")
    assert intake.appetite(1_000) == BUFFER_BYTES // UNKNOWN_EVENT_BYTES
    intake.guess(100.0)
    assert intake.appetite(1_000) == 1_000
    intake.guess(float(BUFFER_BYTES))
    assert intake.appetite(1_000) == 1_000, "what is known is not guessed again"


def test_large_events_make_reads_small() -> None:
    intake = Intake(b"0-0")
    intake.add(entries(1, 2), 4 * 1024 * 1024)
    assert intake.appetite(1_000) == 2
    assert not intake.has_room(1_000)


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

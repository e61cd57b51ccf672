"""What other processes wrote is read with patience: a report of another version must not take `status` down."""

from __future__ import annotations

import pytest

from runnelctl.core import reading


@pytest.mark.parametrize(
    ("entry", "ms"), [(b"170|5|{}", 170), (b"170", 170), (b"", 0), (b"x|1|{}", 0), (b"-1|1|{}", 0)]
)
def test_beats(entry: bytes, ms: int) -> None:
    assert reading.beat_ms(entry) == ms


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b'{"pid": "x"}', b"[" * 100_000])
def test_a_report_that_makes_no_sense_counts_as_none(text: bytes) -> None:
    assert reading.report(text) == reading.Report()


def test_a_report_of_another_version() -> None:
    text = b'{"news": 1, "slots": [{"slice": "a.0", "shoe": 43}], "totals": [{"processor": "a", "partition": 1}]}'
    found = reading.report(text)
    assert found.slots == [reading.SlotReport("a.0")]
    assert found.totals == [reading.TotalReport("a", 1)]


@pytest.mark.parametrize("text", [b"not JSON", b"[1]", b"[" * 200_000, b"\xff"])
def test_a_record_that_cannot_be_read_becomes_a_message(text: bytes) -> None:
    assert reading.record(text) == {"message": text.decode("utf-8", "replace")}


def test_a_record() -> None:
    assert reading.record(b'{"event": "1-0"}') == {"event": "1-0"}

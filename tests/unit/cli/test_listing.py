"""A line per event, for eyes and for programs, whatever the event is."""

from __future__ import annotations

import json

import pytest
from rich.cells import cell_len

from runnelctl.cli.listing import Listing
from runnelctl.core.model import Stream
from runnelctl.records import codec_for
from runnelctl.store.excerpt import Entry

CODEC = codec_for(Stream(name="orders", partitions=2, key="user"))


def entry(data: bytes, *more: bytes, event_id: bytes = b"1763791234567-0") -> Entry:
    return Entry(1, event_id, [b"data", data, *more])


def test_json_has_everything_with_numbers_as_written() -> None:
    shown = Listing(CODEC, None).line(entry(b'{"user":"u1",\n "n":1.50}', b"key", b"u1", b"h:trace", b"\xff"))
    assert '"n":1.50' in shown
    assert "\n" not in shown
    assert json.loads(shown) == {
        "id": "1763791234567-0", "partition": 1, "key": "u1", "timestamp": 1763791234567,
        "headers": {"trace": "\ufffd"}, "value": {"user": "u1", "n": 1.5},
    }  # fmt: skip


def test_a_key_that_a_foreign_sender_left_out_is_taken_from_the_record() -> None:
    assert json.loads(Listing(CODEC, None).line(entry(b'{"user":7}')))["key"] == "7"


@pytest.mark.parametrize(
    ("data", "raw", "encoded"),
    [(b"{nope", "{nope", None), (b"\xff\x00", "\ufffd\x00", "/wA="), (b"", "", None)],
)
def test_what_cannot_be_decoded_is_shown_as_such(data: bytes, raw: str, encoded: str | None) -> None:
    shown = json.loads(Listing(CODEC, None).line(entry(data, b"key", b"\xfe")))
    assert "value" not in shown
    assert "not " in shown["error"]
    assert (shown["raw"], shown.get("raw_base64"), shown["key"]) == (raw, encoded, "\ufffd")
    assert "<not " in Listing(CODEC, 80).line(entry(data))


@pytest.mark.parametrize("width", [1, 2, 20, 79, 80, 200])
@pytest.mark.parametrize(
    "data", [b'{"user":"u1"}', '{"user":"漢字漢字漢字漢字"}'.encode(), b"\x1b[31m", b'{"user":"\\u001b[2J"}']
)
def test_a_line_fits_the_terminal_and_moves_nothing(width: int, data: bytes) -> None:
    for event_id in (b"1763791234567-0", b"18446744073709551615-18446744073709551615"):
        shown = Listing(CODEC, width).line(entry(data, b"key", b"\x1b[2J", event_id=event_id))
        assert cell_len(shown) <= width
        assert shown.isprintable()

"""Parked events as bytes, and the room for them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnelctl.core import letters, parking
from runnelctl.core.model import ParkingBounds, Processor, Stream, Topology

FIELDS = [b"data", b'{"a":1}', b"key", b"k\xff", b"h:n", b""]


@given(st.lists(st.binary(), max_size=8), st.integers(0, 2**63), st.integers(0, 2**32))
def test_what_is_packed_is_unpacked(fields: list[bytes], ms: int, seq: int) -> None:
    event_id = b"%d-%d" % (ms, seq)
    stored = parking.pack(event_id, fields)
    found = parking.unpack(stored)
    assert (found.event_id, found.fields, found.size) == (event_id, fields, len(stored))
    assert stored.startswith(found.token + b" ")


def test_a_mended_record_has_another_token_and_keeps_the_rest() -> None:
    old = parking.unpack(parking.pack(b"1-0", FIELDS))
    new = parking.unpack(parking.mended(old, b"new"))
    assert (old.token, new.token) == (b"1-0#0", b"1-0#1")
    assert new.fields == [b"data", b"new", *FIELDS[2:]]
    assert parking.unpack(parking.mended(new, b"newer")).token == b"1-0#2"


@pytest.mark.parametrize(
    "stored", [b"", b"1-0", b"1-0#0", b"1-0#x \x90", b"1-0 \x90", b"1-0#0 \xc1", b"1-0#0 \x91\x01"]
)
def test_anything_else_is_refused(stored: bytes) -> None:
    with pytest.raises(ValueError, match="not a parked event"):
        parking.unpack(stored)


def test_room() -> None:
    bounds = ParkingBounds(events=2, size_bytes=100)
    assert parking.no_room(bounds, 0, 0, 100) is None
    assert parking.no_room(bounds, 1, 50, 50) is None
    assert "2 events are parked here" in str(parking.no_room(bounds, 2, 0, 1))
    assert "beyond max_parked (100)" in str(parking.no_room(bounds, 1, 60, 50))


TOPOLOGY = Topology(
    name="shop", file="/t.yaml", redis="",
    streams={"orders": Stream(name="orders", partitions=4)},
    processors={"bill": Processor(name="bill", stream="orders", handler="h:f", processes=1)},
)  # fmt: skip
DEAD = {
    b"h:dead-stream": b"orders", b"h:dead-partition": b"3", b"h:dead-event": b"5-1", b"h:dead-processor": b"bill",
    b"h:dead-type": b"ValueError", b"h:dead-message": b"no", b"h:dead-attempts": b"3", b"h:dead-time": b"now",
}  # fmt: skip


def letter(**changed: bytes) -> letters.Letter | None:
    head = DEAD | {f"h:dead-{name}".encode(): value for name, value in changed.items()}
    fields = [b"data", b"{}", b"key", b"ann", b"h:mine", b"1", *(part for pair in head.items() for part in pair)]
    return letters.read(TOPOLOGY, "orders.dead", b"9-0", fields)


def test_a_dead_letter_becomes_the_event_that_it_was() -> None:
    found = letter()
    assert found is not None
    assert (found.processor, found.partition, found.key, found.event_id) == ("bill", 3, "ann", "5-1")
    assert found.mark(1) == "orders.dead:1:9-0"
    stored = parking.unpack(found.element)
    assert (stored.event_id, stored.fields) == (b"5-1", [b"data", b"{}", b"key", b"ann", b"h:mine", b"1"])
    record = found.record()
    assert (record["type"], record["attempts"], record["state"], record["event"]) == ("ValueError", 3, "parked", "5-1")


@pytest.mark.parametrize("changed", [{"processor": b"gone"}, {"stream": b"other"}, {"partition": b"4"},
                                     {"partition": b"x"}, {"event": b""}])  # fmt: skip
def test_what_is_no_letter_of_a_processor_here_is_left_alone(changed: dict[str, bytes]) -> None:
    assert letter(**changed) is None


def test_a_letter_without_a_key_gets_none() -> None:
    fields = [b"data", b"{broken", b"key", b"", *(part for pair in DEAD.items() for part in pair)]
    found = letters.read(TOPOLOGY, "orders.dead", b"9-0", fields)
    assert found is not None
    assert parking.unpack(found.element).fields == [b"data", b"{broken"]

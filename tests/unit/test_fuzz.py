"""A little of `python -m tests.fuzz`: junk is refused in words, by the codec and by the loader."""

from __future__ import annotations

import pytest

from runnelctl import errors
from runnelctl.core.model import Stream
from runnelctl.records import codec_for
from tests.fuzz import payloads, topologies


def test_a_record_whose_names_are_numbers_is_refused_in_words() -> None:
    """Found by the fuzz: the sentence about a missing key could not name the fields that are there."""
    codec = codec_for(Stream(name="orders", partitions=1, key="id", codec="msgpack"))
    with pytest.raises(errors.RecordError, match="39"):
        codec.key_of(codec.decode(b"\x81'k"))


@pytest.mark.parametrize("seed", [1, 2])
def test_a_payload_is_a_record_or_is_refused_in_words(seed: int) -> None:
    found = payloads.in_process(5_000, seed)
    assert min(found.values()) > 500, "some of both"


def test_a_topology_file_loads_or_is_refused_in_words() -> None:
    found = topologies.load(300, 1)
    assert found["sound"] > 3
    assert found["refused"] > 100

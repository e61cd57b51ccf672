"""A little of `python -m tests.fuzz`: junk is refused in words, by the codec and by the loader."""

from __future__ import annotations

import pytest

from tests.fuzz import payloads, topologies


@pytest.mark.parametrize("seed", [1, 2])
def test_a_payload_is_a_record_or_is_refused_in_words(seed: int) -> None:
    found = payloads.in_process(5_000, seed)
    assert min(found.values()) > 500, "some of both"


def test_a_topology_file_loads_or_is_refused_in_words() -> None:
    found = topologies.load(300, 1)
    assert found["sound"] > 3
    assert found["refused"] > 100

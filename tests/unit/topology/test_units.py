"""Durations and sizes, there and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnelctl.topology import units

DURATIONS = {"100ms": 100, "10s": 10_000, "5m": 300_000, "2h": 7_200_000, "7d": 604_800_000, "1.5s": 1_500, "0s": 0}
SIZES = {"512MiB": 512 << 20, "64KiB": 64 << 10, "1GiB": 1 << 30, "10MB": 10_000_000, "7B": 7, "1.5KiB": 1536}


@pytest.mark.parametrize("text", DURATIONS)
def test_durations(text: str) -> None:
    assert units.duration_ms(text) == DURATIONS[text]


@pytest.mark.parametrize("text", SIZES)
def test_sizes(text: str) -> None:
    assert units.size_bytes(text) == SIZES[text]


@pytest.mark.parametrize(
    "text", ["", "5", "s", "5 s", "-5s", "5w", "3651d", "٣s", "5s\n", "1e3s", "1.s", "9" * 30 + "s"]
)
def test_no_durations(text: str) -> None:
    assert units.duration_ms(text) is None


@pytest.mark.parametrize("text", ["", "5", "5M", "5mib", "-5MiB", "9999999TiB", "5MiB\n"])
def test_no_sizes(text: str) -> None:
    assert units.size_bytes(text) is None


@given(st.integers(0, units.LONGEST_MS), st.integers(1, units.LARGEST_BYTES))
def test_what_is_written_is_read_back(milliseconds: int, size: int) -> None:
    assert units.duration_ms(units.duration_text(milliseconds)) == milliseconds
    assert units.size_bytes(units.size_text(size)) == size


def test_the_shortest_spelling() -> None:
    assert [units.duration_text(each) for each in (0, 1500, 60_000, 86_400_000)] == ["0ms", "1500ms", "1m", "1d"]
    assert [units.size_text(each) for each in (1000, 1 << 30)] == ["1000B", "1GiB"]

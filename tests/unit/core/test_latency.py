"""Percentiles of histograms, against the calls that they were made from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnelctl.core.latency import merged, percentile_ms


def histogram(calls_us: list[int]) -> list[int]:
    """As the lanes fill it."""
    counts = [0] * 24
    for call in calls_us:
        counts[min(23, call.bit_length())] += 1
    return counts


def test_no_calls_have_no_percentile() -> None:
    assert percentile_ms([], 0.99) is None
    assert percentile_ms([0, 0], 0.99) is None


@pytest.mark.parametrize(
    ("counts", "share", "ms"),
    [
        ([0, 0, 0, 0, 100], 0.5, 0.012),  # all between 8 and 16 us: half way
        ([0, 0, 0, 0, 100], 1.0, 0.016),
        ([100], 1.0, 0.001),
        ([50, 0, 0, 50], 0.5, 0.001),
        ([50, 0, 0, 50], 0.75, 0.006),
    ],
)
def test_interpolation(counts: list[int], share: float, ms: float) -> None:
    assert percentile_ms(counts, share) == pytest.approx(ms)


@given(st.lists(st.integers(0, 4_000_000), min_size=1), st.floats(0.01, 1.0))
def test_it_is_within_the_bucket_of_the_true_percentile(calls_us: list[int], share: float) -> None:
    found = percentile_ms(histogram(calls_us), share)
    assert found is not None
    ordered = sorted(calls_us)
    true = next(call for rank, call in enumerate(ordered, start=1) if rank >= share * len(ordered) - 1e-9)
    low = 2 ** (true.bit_length() - 1) if true else 0
    assert low <= found * 1000 + 1e-6 <= max(1, 2 * low) + 1e-5


def test_merging_adds_up_histograms_of_any_length() -> None:
    assert merged([[1, 2], [1, 2, 3], []]) == [2, 4, 3]
    assert merged([]) == []

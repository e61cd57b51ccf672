"""Percentiles of the latency histograms: bucket b counts the handler calls that took 2**(b-1) to 2**b microseconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest


def merged(histograms: Iterable[Sequence[int]]) -> list[int]:
    """The histogram of all calls together."""
    return [sum(counts) for counts in zip_longest(*histograms, fillvalue=0)]


def percentile_ms(histogram: Sequence[int], share: float) -> float | None:
    """The time in milliseconds that `share` (0 to 1) of the calls stayed below; None where there was no call.

    Exact to the bucket, interpolated inside it. The last bucket has no upper end: what lies there is reported as
    at most twice its lower end.
    """
    total = sum(histogram)
    if total <= 0:
        return None
    rank, below = share * total, 0
    for bucket, count in enumerate(histogram):
        if count > 0 and below + count >= rank:
            low = 2.0 ** (bucket - 1) if bucket else 0.0
            return (low + (2.0**bucket - low) * (rank - below) / count) / 1000
        below += count
    return 2.0 ** (len(histogram) - 1) / 1000

"""Numbers in a table."""

from __future__ import annotations

import pytest

from runnelctl.cli import figures


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (-5, "0"), (0, "0"), (0.0001, "1µs"), (0.0354, "35µs"), (0.9994, "999µs"), (0.9996, "1.0ms"), (1.23, "1.2ms"),
        (9.96, "10ms"), (999.4, "999ms"), (999.6, "1.0s"), (3_240, "3.2s"), (9_960, "10s"), (59_400, "59s"),
        (59_600, "1m"), (310_000, "5m10s"), (3_600_000, "1h"), (12_000_000, "3h20m"), (86_399_000, "23h59m"),
        (1_051_200_000, "12d4h"), (1_700_000_000_000, "19675d22h"),
    ],
)  # fmt: skip
def test_spans(milliseconds: float, text: str) -> None:
    assert figures.span(milliseconds) == text


@pytest.mark.parametrize(
    ("per_second", "text"),
    [(0, "0"), (0.04, "0"), (0.05, "0.1/s"), (9.94, "9.9/s"), (9.96, "10/s"), (210.5, "210/s"), (9_999, "9,999/s"),
     (61_234, "61.2k/s"), (1_234_567, "1,234.6k/s")],
)  # fmt: skip
def test_rates(per_second: float, text: str) -> None:
    assert figures.rate(per_second) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (9_999_999, "9,999,999"), (12_345_678, "12.3M")])
def test_counts(number: int, text: str) -> None:
    assert figures.count(number) == text
